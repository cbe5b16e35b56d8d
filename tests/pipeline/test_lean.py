"""LEAN days: the kernels against a slow decoder that follows the file's description row by row."""

import random
import re
import zipfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from pipeline.errors import RecordingError
from pipeline.ingest import lean
from pipeline.messages import QUOTE, TICK, TRADE
from shm.jit import JIT_ENABLED

DAY = date(2013, 10, 9)
#: Without the JIT the kernels are plain Python and some hundred times slower.
SLICE_ROWS = 50_000 if JIT_ENABLED else 1_000

Q1 = "34200000,475000,200,0,0,P,1,0"
Q2 = "34200000,0,0,484800,3000,P,1,0"


def slow_ns(day: date, ms: int) -> int:
    """Return the UTC nanoseconds of a wall-clock millisecond of a New York day."""
    wall = datetime(day.year, day.month, day.day) + timedelta(milliseconds=ms)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return (wall.replace(tzinfo=ZoneInfo("America/New_York")) - epoch) // timedelta(microseconds=1) * 1_000


def slow_day(quotes: list[str], trades: list[str], day: date = DAY, exchange: str | None = None) -> np.ndarray:
    """Decode a day with nothing but dicts and lists."""
    quote_rows = [row.split(",") for row in quotes if row.split(",")[7] == "0"]
    trade_rows = [row.split(",") for row in trades if row.split(",")[5] == "0"]
    if exchange is None and quote_rows:
        counts = Counter(row[5] for row in quote_rows)
        exchange = min(counts, key=lambda letter: (-counts[letter], letter))
    ticks: list[tuple[int, int, int, tuple[int, ...]]] = []
    sides: dict[tuple[str, str], tuple[int, int]] = {}
    for place, (ms, bid, bid_size, ask, ask_size, letter, _, _) in sorted(enumerate(quote_rows), key=lambda e: int(e[1][0])):
        for side, price, size in (("bid", bid, bid_size), ("ask", ask, ask_size)):
            if int(price):
                sides[letter, side] = int(price), int(size)
        if letter == exchange and (int(bid) or int(ask)) and (letter, "bid") in sides and (letter, "ask") in sides:
            at, (b, bs), (a, as_) = slow_ns(day, int(ms)), sides[letter, "bid"], sides[letter, "ask"]
            ticks.append((at, 0, place, (at, at, 0, 0, QUOTE, 0, ord(letter), b, a, bs, as_)))
    for place, (ms, price, size, letter, conditions, _) in enumerate(trade_rows):
        at, bits = slow_ns(day, int(ms)), int(conditions, 16) if re.fullmatch("[0-9A-Fa-f]{1,15}", conditions) else 0
        ticks.append((at, 1, place, (at, at, 0, 0, TRADE, 0, ord(letter), int(price), int(size), 0, bits)))
    return np.array([fields for _, _, _, fields in sorted(ticks)], TICK)


def zipped(path: Path, lines: list[str], end: str = "\n", name: str = "ticks.csv") -> Path:
    """Write the lines as the one CSV of a zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, end.join(lines) + end if lines else "")
    return path


def decode(folder: Path, quotes: list[str], trades: list[str], exchange: str | None = None, end: str = "\n") -> lean.LeanDay:
    """Decode lines through real zips."""
    return lean.decode_day(
        DAY,
        zipped(folder / "q.zip", quotes, end) if quotes else None,
        zipped(folder / "t.zip", trades, end) if trades else None,
        exchange,
    )


def real_lines(path: Path) -> list[str]:
    """Return all lines of a real file."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(archive.namelist()[0]).decode("ascii").split("\n")


def window(quotes: list[str], trades: list[str], start: int) -> tuple[list[str], list[str]]:
    """Return the quotes from `start` on and the trades of the same time."""
    part = quotes[start : start + SLICE_ROWS]
    first, last = int(part[0].split(",")[0]), int(part[-1].split(",")[0])
    return part, [row for row in trades if first <= int(row.split(",")[0]) <= last]


@pytest.mark.data
@pytest.mark.parametrize("symbol", ["aig", "bac"])
def test_lean_real_slices_equal_slow_decoder(tmp_path: Path, data_folder: Path, symbol: str) -> None:
    """The start of a real day and a random window of it decode to what the slow decoder makes of them."""
    quotes = [row for row in real_lines(data_folder / "lean" / symbol / "20131009_quote.zip") if row]
    trades = [row for row in real_lines(data_folder / "lean" / symbol / "20131009_trade.zip") if row]
    start = random.Random(20131009).randrange(len(quotes) - SLICE_ROWS)
    for at in (0, start):
        some_quotes, some_trades = window(quotes, trades, at)
        for exchange in (None, some_quotes[-1].split(",")[5]):
            day = decode(tmp_path, some_quotes, some_trades, exchange)
            assert slow_day(some_quotes, some_trades, exchange=exchange).tobytes() == day.ticks.tobytes()


@pytest.mark.data
@pytest.mark.skipif(not JIT_ENABLED, reason="two million rows take minutes without the JIT")
@pytest.mark.parametrize(
    ("symbol", "exchange", "quote_count", "trade_count", "row_count"),
    [("aig", "N", 663_042, 52_008, 1_424_012), ("bac", "Q", 251_178, 122_832, 644_880)],
)
def test_lean_real_day_accounts_for_every_row(
    data_folder: Path, symbol: str, exchange: str, quote_count: int, trade_count: int, row_count: int
) -> None:
    """Every row of a real day is a tick or counted as left out; the last line, which has no newline, too."""
    folder = data_folder / "lean" / symbol
    day = lean.decode_day(DAY, folder / "20131009_quote.zip", folder / "20131009_trade.zip")
    assert exchange == day.exchange
    assert quote_count == np.count_nonzero(day.ticks["kind"] == QUOTE)
    assert trade_count == np.count_nonzero(day.ticks["kind"] == TRADE)
    assert row_count + trade_count == len(day.ticks) + sum(day.left_out.values())
    assert bool(np.all(day.ticks["event_ns"][1:] >= day.ticks["event_ns"][:-1]))


def test_lean_random_rows_equal_slow_decoder(tmp_path: Path) -> None:
    """Seeded rows with every oddity (out of order, both or no sides, suspicious, odd conditions) decode alike."""
    rng = random.Random(11)
    for _ in range(20):
        quotes, trades = [], []
        for _ in range(rng.randrange(1, 200)):
            ms, letter = rng.randrange(86_400_000 if rng.random() < 0.1 else 50), rng.choice("NPQ")
            bid, ask = rng.choice([0, 99, 100]), rng.choice([0, 101, 102])
            quotes.append(f"{ms},{bid},{rng.randrange(9)},{ask},{rng.randrange(9)},{letter},1,{int(rng.random() < 0.1)}")
            conditions = rng.choice(["", "0", "20000020", "dEaD", "F T", "1" * 15, "1" * 16, "f" * 40])
            trades.append(f"{ms},{rng.randrange(99)},{rng.randrange(9)},{letter},{conditions},{int(rng.random() < 0.1)}")
        quotes.append("1,99,1,101,1,N,1,0")
        assert slow_day(quotes, trades).tobytes() == decode(tmp_path, quotes, trades).ticks.tobytes()


def test_lean_one_side_only_gives_no_quote(tmp_path: Path) -> None:
    """The other exchange's ask completes no quote of this one; only this one's own ask does."""
    other = "34200000,0,0,484700,100,N,1,0"
    day = decode(tmp_path, [Q1, other, Q1, Q2], [])
    assert [(475000, 484800, 200, 3000)] == [tuple(row) for row in day.ticks[["a", "b", "c", "d"]].tolist()]
    assert ("P", 2, 1) == (day.exchange, day.left_out["one_sided_quotes"], day.left_out["quotes_of_other_exchanges"])


def test_lean_zero_side_carries_last_price_and_size(tmp_path: Path) -> None:
    """A zero price is no update of its side, whatever size stands beside it; it deletes nothing."""
    rows = [Q1, Q2, "34200001,475100,500,0,77,P,1,0", "34200002,0,0,0,0,P,1,0"]
    day = decode(tmp_path, rows, [])
    assert [(475000, 484800, 200, 3000), (475100, 484800, 500, 3000)] == day.ticks[["a", "b", "c", "d"]].tolist()


def test_lean_suspicious_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    """Rows with flag 1 neither make a tick nor change the carried book."""
    quotes = [Q1, Q2, "34200001,1,1,0,0,P,1,1", "34200002,0,0,484900,100,P,1,0"]
    trades = ["34200000,480000,100,D,20000020,1", "34200003,480100,100,D,20000020,0"]
    day = decode(tmp_path, quotes, trades)
    assert [475000, 475000, 480100] == day.ticks["a"].tolist()
    assert (1, 1) == (day.left_out["suspicious_quotes"], day.left_out["suspicious_trades"])


def test_lean_equal_times_keep_quotes_first_then_file_order(tmp_path: Path) -> None:
    """Within one millisecond all quotes come before all trades, each in the order of its file."""
    quotes = [Q1, Q2, "34200000,475200,200,0,0,P,1,0"]
    trades = [f"34200000,{price},1,N,1,0" for price in (3, 1, 2)] + ["34199999,9,1,N,1,0"]
    ticks = decode(tmp_path, quotes, trades).ticks
    assert [9, 475000, 475200, 3, 1, 2] == ticks["a"].tolist()
    assert [TRADE, QUOTE, QUOTE, TRADE, TRADE, TRADE] == ticks["kind"].tolist()


def test_lean_trade_fields_are_decoded(tmp_path: Path) -> None:
    """A trade carries its exchange's letter, price in 0.0001, size and conditions as bits."""
    tick = decode(tmp_path, [], ["34200123,480050,143,D,20000020,0"]).ticks[0]
    at = int(datetime(2013, 10, 9, 13, 30, tzinfo=UTC).timestamp()) * 10**9 + 123_000_000
    assert (at, at, 0, 0, TRADE, 0, ord("D"), 480050, 143, 0, 0x20000020) == tick.item()


@pytest.mark.parametrize(
    ("day", "hour", "utc"),
    [
        (date(2013, 10, 9), 0, "2013-10-09T04:00"),
        (date(2013, 12, 9), 0, "2013-12-09T05:00"),
        (date(2013, 12, 9), 23, "2013-12-10T04:00"),
        (date(2013, 3, 10), 1, "2013-03-10T06:00"),
        (date(2013, 3, 10), 3, "2013-03-10T07:00"),
        (date(2013, 11, 3), 0, "2013-11-03T04:00"),
        (date(2013, 11, 3), 2, "2013-11-03T07:00"),
    ],
)
def test_lean_hours_follow_daylight_saving(day: date, hour: int, utc: str) -> None:
    """Wall-clock hours map to UTC in summer, in winter and on the days between."""
    expected = int(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp()) * 10**9
    assert expected == lean.hour_starts_ns(day)[hour]


def test_lean_unknown_exchange_lists_those_present(tmp_path: Path) -> None:
    """An exchange without quotes is refused, and the ones there are named, most quotes first."""
    with pytest.raises(RecordingError, match=r"no quotes of exchange 'X' .*choose one of P, N"):
        decode(tmp_path, [Q1, Q2, "34200000,0,0,484700,100,N,1,0"], [], "X")


@pytest.mark.parametrize("block_bytes", [1, 7, 31, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_lean_block_and_line_ends_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, end: str
) -> None:
    """Blocks cut anywhere, CRLF, blank lines and a missing last newline give the same ticks and the same line numbers."""
    rows = [Q1, Q2, "34200001,475100,500,0,77,P,1,0"]
    expected = slow_day(rows, []).tobytes()
    monkeypatch.setattr(lean, "BLOCK_BYTES", block_bytes)
    assert expected == decode(tmp_path, rows, [], end=end).ticks.tobytes()
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("ticks.csv", end.join(rows))
    assert expected == lean.decode_day(DAY, tmp_path / "cut.zip").ticks.tobytes()
    with pytest.raises(RecordingError, match=f"line {3 if end == chr(10) * 2 else 2}[)]"):
        decode(tmp_path, [Q1, "what?", Q2], [], end=end)


def test_lean_millisecond_beyond_the_day_is_a_wrong_row(tmp_path: Path) -> None:
    """The last millisecond of a day is one, the first of the next is not."""
    assert 1 == len(decode(tmp_path, [], ["86399999,480050,143,D,1,0"]).ticks)
    with pytest.raises(RecordingError, match=r"wrong row '86400000,.*line 2\)"):
        decode(tmp_path, [], ["86399999,480050,143,D,1,0", "86400000,480050,143,D,1,0"])


def slow_verdict(line: str) -> bool:
    """Tell with a regular expression whether a line is a trade row."""
    match = re.fullmatch(r"(\d{1,18}),\d{1,18},\d{1,18},[!-+\--~],[^,\r\n]*,\d{1,18}", line, re.ASCII)
    return match is not None and int(match[1]) < 86_400_000


def test_lean_parser_agrees_with_regular_expression_on_mutations() -> None:
    """Seeded mutations of a good row are taken or refused exactly as the regular expression does."""
    rng = random.Random(5)
    verdicts = Counter[bool]()
    for _ in range(3_000):
        line = list("34200123,480050,143,D,20000020,0")
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(line))
            line[at : at + rng.randrange(2)] = rng.choice(["", ",", "0", "9" * 9, "x", "-", " ", ".", "\x7f"])
        text = "".join(line)
        rows = np.empty((1, 6), np.int64)
        result = lean.parse_rows(np.frombuffer(text.encode() + b"\n", np.uint8), lean.TRADE_COLUMNS, rows)
        assert (1 if slow_verdict(text) else -1) == result, text
        verdicts[slow_verdict(text)] += 1
    assert min(verdicts[True], verdicts[False]) > 300


def test_lean_files_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    """A missing, foreign, cut or ambiguous file is a RecordingError that names it."""
    good = zipped(tmp_path / "good.zip", [Q1, Q2] * 2_000)
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "cut.zip").write_bytes(good.read_bytes()[:-40])
    damaged = bytearray(good.read_bytes())
    damaged[60:90] = bytes(30)
    (tmp_path / "damaged.zip").write_bytes(damaged)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    zipped(tmp_path / "empty.zip", [])
    zipped(tmp_path / "day.zip", [Q1], name="20131010_aig_Quote_Tick.csv")
    zipped(tmp_path / "kind.zip", [Q1], name="20131009_aig_Trade_Tick.csv")
    texts = {
        "absent": "no such file", "text": "not a whole zip", "cut": "not a whole zip", "damaged": "not a whole zip",
        "two": "holds 2 CSV files", "empty": "no usable quote row", "day": "holds the day 20131010", "kind": "holds trades",
    }  # fmt: skip
    for name, text in texts.items():
        with pytest.raises(RecordingError) as caught:
            lean.decode_day(DAY, tmp_path / f"{name}.zip")
        assert text in str(caught.value)
        assert str(tmp_path / f"{name}.zip") in str(caught.value)
        assert 1 == len(str(caught.value).splitlines())
