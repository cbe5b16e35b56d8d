"""Binance frames: fast decoding against json and Decimal, and what is skipped, counted or refused."""

import gzip
import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RecordingError
from pipeline.ingest import binance
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import NON_FINITE, QUOTE, TICK, TRADE

BOOK = {"e": "bookTicker", "u": 5, "s": "BTCUSDT", "b": "61800.20", "B": "2.507", "a": "61800.30", "A": "2.510", "E": 1000}
DEAL = {"e": "trade", "E": 1001, "T": 1001, "s": "BTCUSDT", "t": 7, "p": "61800.30", "q": "0.006", "X": "MARKET", "m": True}


def line(frame: object, recv_ns: int = 77, wrapped: bool = True) -> str:
    """Return one recorded line."""
    return f"{recv_ns} {json.dumps({'stream': 'x', 'data': frame} if wrapped else frame)}"


def write(path: Path, lines: list[str]) -> Path:
    """Write lines as a gzip."""
    path.write_bytes(gzip.compress("".join(text + "\n" for text in lines).encode(), mtime=0))
    return path


def decode(path: Path, tick: str | None = None, lot: str | None = None) -> tuple[np.ndarray, binance.Survey, Counter[str]]:
    """Survey and decode a file as the importer does."""
    survey = binance.survey_frames(path, Decimal(tick) if tick else None, Decimal(lot) if lot else None)
    decoder = binance.FrameDecoder(survey.instruments)
    ticks = np.concatenate(list(binance.decode_frames(path, decoder)))
    return ticks, survey, decoder.skipped


def slow_ticks(path: Path, tick: Decimal, lot: Decimal) -> tuple[np.ndarray, Counter[str]]:
    """Decode a well-formed file of one symbol with json and Decimal."""
    rows, skipped = [], Counter[str]()
    with gzip.open(path, "rt") as file:
        for text in file:
            stamp, frame = text.split(" ", 1)
            data = json.loads(frame)
            data = data.get("data", data)
            head = (data["E"] * 1_000_000, int(stamp))
            if data.get("e") == "bookTicker":
                sides = Decimal(data["b"]) / tick, Decimal(data["a"]) / tick, Decimal(data["B"]) / lot, Decimal(data["A"]) / lot
                rows.append((*head, data["u"], 0, QUOTE, 0, 0, *map(int, sides)))
            elif data.get("e") == "trade" and data["X"] == "MARKET":
                deal = int(Decimal(data["p"]) / tick), int(Decimal(data["q"]) / lot)
                rows.append((*head, data["t"], 0, TRADE, 0, 0, *deal, data["t"], int(data["m"])))
            else:
                skipped[data.get("e", "no_type")] += 1
    return np.array(rows, TICK), skipped


@pytest.mark.data
@pytest.mark.parametrize(("tick", "lot"), [(None, None), ("0.10", "0.001"), ("0.05", "0.0005")])
def test_binance_real_frames_equal_slow_decoder(data_folder: Path, tick: str | None, lot: str | None) -> None:
    """All real frames decode to what json and Decimal make of them, whatever the steps."""
    path = data_folder / "binance" / "btcusdt_usdm_20240808.gz"
    ticks, survey, skipped = decode(path, tick, lot)
    expected, expected_skipped = slow_ticks(path, Decimal(tick or "0.01"), Decimal(lot or "0.001"))
    assert expected.tobytes() == ticks.tobytes()
    assert expected_skipped == skipped
    assert (("BTCUSDT",), 93_954, 0) == (survey.instruments.symbols, survey.line_count, survey.malformed_count)
    assert (66_089, 21_313) == (int(np.count_nonzero(ticks["kind"] == QUOTE)), int(np.count_nonzero(ticks["kind"] == TRADE)))
    # Order of receipt: our clock never runs back, the venue's does.
    assert bool(np.all(np.diff(ticks["recv_ns"]) >= 0))
    assert 648 == np.count_nonzero(np.diff(ticks["event_ns"]) < 0)


def test_binance_fields_are_decoded(tmp_path: Path) -> None:
    """bookTicker is a QUOTE with its update id, trade a TRADE with its id twice and the maker's side as a bit."""
    ticks, survey, _ = decode(write(tmp_path / "f.gz", [line(BOOK, 9), line(DEAL, 8, wrapped=False)]))
    assert [(1_000_000_000, 9, 5, 0, QUOTE, 0, 0, 6180020, 6180030, 2507, 2510)] == ticks[:1].tolist()
    assert [(1_001_000_000, 8, 7, 0, TRADE, 0, 0, 6180030, 6, 7, binance.BUYER_IS_MAKER)] == ticks[1:].tolist()
    expected = Instrument("BTCUSDT", Decimal("0.01"), Decimal("0.001"), currency="USDT", venue="binance")
    assert expected == survey.instruments[0]


def test_binance_steps_take_finest_decimals_of_each_symbol(tmp_path: Path) -> None:
    """Steps follow the decimals as printed, symbols their first tick; depth frames and other trades name no symbol."""
    frames = [
        {"e": "depthUpdate", "s": "XRPUSDT", "E": 1},
        DEAL | {"s": "DOGEUSDT", "p": "0.1", "X": "INSURANCE_FUND"},
        DEAL | {"s": "ETHUSDT", "p": "3000.1", "q": "1"},
        BOOK,
        DEAL | {"s": "ETHUSDT", "p": "3000.125", "q": "1.50"},
    ]
    ticks, survey, skipped = decode(write(tmp_path / "f.gz", [line(frame) for frame in frames]))
    assert ("ETHUSDT", "BTCUSDT") == survey.instruments.symbols
    assert ["0.001", "0.01"] == [str(instrument.tick_size) for instrument in survey.instruments]
    assert ["0.01", "0.001"] == [str(instrument.lot_size) for instrument in survey.instruments]
    assert [(0, 3000100, 100), (1, 6180020, 6180030), (0, 3000125, 150)] == ticks[["instrument", "a", "b"]].tolist()
    assert {"depthUpdate": 1, "trade_INSURANCE_FUND": 1} == skipped


def test_binance_trades_that_are_no_prices_are_counted(tmp_path: Path) -> None:
    """Trades without price or quantity, or outside the book, are skipped by reason; one without X is a price."""
    without_kind = {key: value for key, value in DEAL.items() if key != "X"}
    frames = [DEAL | {"p": "0"}, DEAL | {"p": "0.00"}, DEAL | {"q": "0.000"}, DEAL | {"p": "-1.0"}, DEAL | {"X": "NA"}]
    frames += [{"e": "markPriceUpdate"}, {"lastUpdateId": 1}, without_kind]
    ticks, _, skipped = decode(write(tmp_path / "f.gz", [line(frame) for frame in frames]))
    assert 1 == len(ticks)
    assert {"trade_not_positive": 4, "trade_NA": 1, "markPriceUpdate": 1, "no_type": 1} == skipped


def test_binance_quote_without_number_is_marked(tmp_path: Path) -> None:
    """A word instead of a price stays in the stream as non-finite, for hygiene to count; a zero stays zero."""
    lines = [line(BOOK), line(BOOK | {"b": "NaN", "a": "0.00"})]
    ticks, _, _ = decode(write(tmp_path / "f.gz", lines))
    assert (NON_FINITE, 0) == (ticks["a"][1], ticks["b"][1])


MALFORMED = {
    "no_json": "77 {",
    "no_stamp": line(BOOK, 77).removeprefix("77 "),
    "stamp_too_large": line(BOOK, 1 << 63),
    "stamp_a_word": "now {}",
    "no_frame": "77",
    "price_a_word": line(BOOK | {"b": "abc"}),
    "price_underscored": line(BOOK | {"b": "1_000"}),
    "price_empty": line(DEAL | {"p": ""}),
    "price_a_number": line(BOOK | {"b": 1.5}),
    "price_missing": line({key: value for key, value in BOOK.items() if key != "b"}),
    "event_time_negative": line(BOOK | {"E": -1}),
    "event_time_too_large": line(BOOK | {"E": 1 << 62}),
    "quantity_a_word": line(DEAL | {"q": "x"}),
    "decimals_too_many": line(BOOK | {"b": "1.0000000000001"}),
    "a_list": "77 [1, 2]",
    "not_utf8": "77 \udcff",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_binance_malformed_line_is_skipped_and_counted(tmp_path: Path, name: str) -> None:
    """One malformed line in a hundred costs itself alone, and leaves the steps alone."""
    lines = [line(BOOK)] * 99
    lines.insert(40, MALFORMED[name])
    text = "".join(each + "\n" for each in lines).encode("utf-8", "surrogateescape")
    (tmp_path / "f.gz").write_bytes(gzip.compress(text))
    ticks, survey, skipped = decode(tmp_path / "f.gz")
    assert (99, 1, {"malformed": 1}) == (len(ticks), survey.malformed_count, skipped)
    assert Decimal("0.01") == survey.instruments[0].tick_size


def test_binance_too_many_malformed_lines_name_the_first(tmp_path: Path) -> None:
    """Above one percent the file is refused, with the number of the first malformed line."""
    lines = [line(BOOK)] * 99
    lines[10] = lines[50] = "what?"
    with pytest.raises(RecordingError, match="2 of 99 lines are no frames, the first is line 11: ") as caught:
        decode(write(tmp_path / "f.gz", lines))
    assert 1 == len(str(caught.value).splitlines())


def test_binance_files_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    """A missing, foreign, cut or useless file is a RecordingError that names it."""
    rng = random.Random(3)
    good = write(tmp_path / "good.gz", [line(BOOK, rng.randrange(1 << 60)) for _ in range(500)])
    (tmp_path / "text.gz").write_text(line(BOOK))
    (tmp_path / "cut.gz").write_bytes(good.read_bytes()[:-100])
    (tmp_path / "folder.gz").mkdir()
    (tmp_path / "nothing.gz").write_bytes(b"")
    write(tmp_path / "depth.gz", [line({"e": "depthUpdate"})])
    write(tmp_path / "empty.gz", [])
    texts = {
        "absent": "no such file", "text": "not a whole gzip", "cut": "not a whole gzip", "folder": "cannot be read",
        "nothing": "no bookTicker and no trade", "depth": "no bookTicker and no trade", "empty": "no bookTicker and no trade",
    }  # fmt: skip
    for name, text in texts.items():
        with pytest.raises(RecordingError) as caught:
            decode(tmp_path / f"{name}.gz")
        assert text in str(caught.value)
        assert str(tmp_path / f"{name}.gz") in str(caught.value)
        assert 1 == len(str(caught.value).splitlines())


def test_binance_price_off_the_given_step_names_its_line(tmp_path: Path) -> None:
    """A step that is too coarse is refused where it first fails, never rounded away."""
    path = write(tmp_path / "f.gz", [line(BOOK), line(BOOK | {"b": "61800.25"})])
    with pytest.raises(RecordingError, match=r"61800\.25 is no multiple of 0\.10 .*f\.gz, line 2\): give a finer --tick-size"):
        decode(path, "0.10")


def test_binance_decimals_beyond_the_bounds_ask_for_a_step(tmp_path: Path) -> None:
    """Eight printed decimals put a large price out of bounds; the message names the option that helps, and it does."""
    path = write(tmp_path / "f.gz", [line(BOOK | {"b": "61800.20000000", "a": "61800.30000000"})])
    with pytest.raises(RecordingError, match=r"out of bounds .*--tick-size"):
        decode(path)
    assert 6180020 == decode(path, "0.01")[0]["a"][0]


def test_binance_decoder_of_other_symbols_gives_no_tick() -> None:
    """A live feed meets symbols that it was not told of; they are counted."""
    decoder = binance.FrameDecoder(Instruments([Instrument("ETHUSDT", Decimal("0.01"), Decimal("0.001"))]))
    assert decoder.row(binance.decode_payload(json.dumps(BOOK).encode()), 1) is None
    assert {"unknown_symbol": 1} == decoder.skipped


@given(
    steps=st.integers(-(10**15), 10**15),
    step=st.decimals("0.00000001", "1000", places=8),
    zeros=st.integers(0, 3),
)
@settings(max_examples=500, deadline=None, derandomize=True)
def test_step_counter_inverts_multiplication(steps: int, step: Decimal, zeros: int) -> None:
    """Any multiple of any step, with trailing zeros or not, counts back exactly; half a step more is refused."""
    text = f"{step * steps:f}" + "0" * zeros
    assert steps == binance.step_counter(step)(text)
    with pytest.raises(binance.StepError):
        binance.step_counter(step)(f"{step * steps + step / 2:f}")


@pytest.mark.parametrize("text", ["", ".", "1.", ".5", "+1", "1e5", "1,0", " 1", "1 ", "0x1", "1.2.3", "--1", "١"])
def test_split_decimal_of_other_notations_is_refused(text: str) -> None:
    """Only plain digits with at most one point between them are prices."""
    with pytest.raises(binance.FrameError):
        binance.split_decimal(text)
