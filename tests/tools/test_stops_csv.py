"""stops.csv: every cell becomes the integer that it says, or a fault that says where and what would do."""

import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.config_schema import StopsSection
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import ATR, BID_ASK, LAST, LONG, MID, SHORT, STATIC, TAKE_PROFIT, TIME, TRAILING
from tools.stops_csv import TOLD_MAX, StopRow, StopsFileError, in_order_of_ids, read_stops

TABLE = Instruments([Instrument("AIG", Decimal("0.01"), Decimal(1)), Instrument("BTCUSDT", Decimal("0.10"), Decimal("0.001"))])
DEFAULTS = StopsSection()
HEADER = "stop_id,symbol,side,kind"


def read(folder: Path, *lines: str) -> tuple[StopRow, ...]:
    """Read these lines as a file."""
    path = folder / "stops.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_stops(path, TABLE, DEFAULTS)


def faults(folder: Path, *lines: str) -> list[str]:
    """Return the lines of the error that these lines are."""
    with pytest.raises(StopsFileError) as caught:
        read(folder, *lines)
    return list(caught.value.lines)


def one(folder: Path, **cells: str) -> StopRow:
    """Read a file of one row; a static LONG of AIG at 1% where nothing else is said."""
    given = {"stop_id": "1", "symbol": "AIG", "side": "long", "kind": "static"} | cells
    if given["kind"] in ("static", "trailing") and not {"percent", "stop_price", "offset"} & set(given):
        given["percent"] = "1"
    return read(folder, ",".join(given), ",".join(given.values()))[0]


def test_stops_file_with_every_column_gives_exact_integers(tmp_path: Path) -> None:
    """All columns that a kind takes arrive in ticks, lots, ppm and nanoseconds."""
    row = one(
        tmp_path, kind="trailing", watch="last", entry_price="48.25", quantity="300", entry_time="1381325400000000001",
        stop_price="47.5", offset="0.35", activation_percent="1.25", breakeven_percent="0.0001", fraction_percent="50",
        limit_offset="0.02", escalate_after_ms="750",
    )  # fmt: skip
    expected = StopRow(
        "1", 0, LONG, TRAILING, LAST, 4825, 300, 1381325400000000001, 4750, 35, 0, 12_500, 1, 0, 0, 0, 0, 500_000, 2, 750
    )
    assert expected == row


def test_stops_file_with_only_what_is_needed_takes_the_defaults(tmp_path: Path) -> None:
    """Empty cells and missing columns mean the same: what the configuration says, or nothing given."""
    lean = read(tmp_path, HEADER + ",percent", "a,AIG,short,static,2")[0]
    wide = read(tmp_path, HEADER + ",percent,watch,quantity,entry_time", "a,AIG,short,static,2,,,")[0]
    assert lean == wide
    assert (SHORT, STATIC, BID_ASK, 0, 1, 0, 20_000) == (
        lean.side, lean.kind, lean.watch, lean.entry_units, lean.quantity_lots, lean.entry_ns, lean.percent_ppm,
    )  # fmt: skip
    average = one(tmp_path, kind="atr")
    assert (ATR, 3_000_000, 14, 60, 0) == (
        average.kind, average.atr_ppm, average.atr_period, average.bar_seconds, average.percent_ppm,
    )  # fmt: skip


def test_stops_file_columns_in_any_order_with_marks_and_spaces_are_read(tmp_path: Path) -> None:
    """A byte order mark, CRLF, spaces, quotes, blank lines and capitals change nothing."""
    path = tmp_path / "stops.csv"
    path.write_bytes(b'\xef\xbb\xbfside, kind ,percent,symbol,stop_id\r\n\r\nLONG,"Static",2.0, AIG ,"7"\r\n')
    assert read_stops(path, TABLE, DEFAULTS) == (one(tmp_path, stop_id="7", percent="2"),)


@pytest.mark.parametrize(
    ("side", "kind", "watch", "price", "units"),
    [
        ("long", "static", "last", "47.126", 4712),
        ("short", "static", "last", "47.126", 4713),
        ("long", "static", "mid", "47.126", 9425),
        ("short", "static", "mid", "47.126", 9426),
        ("long", "static", "mid", "47.125", 9425),
        ("long", "take_profit", "last", "47.126", 4713),
        ("short", "take_profit", "last", "47.126", 4712),
        ("long", "trailing", "bid_ask", "47.129", 4712),
    ],
)
def test_stops_file_price_between_steps_keeps_prices_on_their_side(
    tmp_path: Path, side: str, kind: str, watch: str, price: str, units: int
) -> None:
    """A level or target between two steps of its watch is rounded to the one that the same whole prices reach."""
    distance = {"percent": "1"} if kind == "trailing" else {}
    assert units == one(tmp_path, side=side, kind=kind, watch=watch, stop_price=price, **distance).price_units


def test_stops_file_rounded_price_fires_on_the_same_prices_as_the_exact_one(tmp_path: Path) -> None:
    """Seeded prices: for whole prices around, at-or-beyond the rounded level is the same as beyond the exact one."""
    rng = random.Random(3)
    for _ in range(60):
        text = f"{rng.randrange(40, 60)}.{rng.randrange(10**6):06d}"
        side, kind = rng.choice(["long", "short"]), rng.choice(["static", "take_profit"])
        units = one(tmp_path, side=side, kind=kind, watch="last", stop_price=text).price_units
        exact = Fraction(text) * 100
        falls = (side == "long") == (kind == "static")
        for price in range(int(exact) - 2, int(exact) + 4):
            assert (price <= exact if falls else price >= exact) == (price <= units if falls else price >= units)


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("2013-10-09T09:30:00-04:00", 1381325400 * 10**9),
        ("2013-10-09T13:30:00Z", 1381325400 * 10**9),
        ("2013-10-09 13:30:00.000000001+00:00", 1381325400 * 10**9 + 1),
        ("2013-10-09T13:30:00.5Z", 1381325400 * 10**9 + 500_000_000),
        ("2013-10-09T19:00:00.123456789+05:30", 1381325400 * 10**9 + 123_456_789),
        ("1", 1),
    ],
)
def test_stops_file_entry_time_in_either_form_is_exact(tmp_path: Path, text: str, expected_ns: int) -> None:
    """Nanoseconds and ISO times with their zone give the same integer, to the last of nine decimals."""
    assert expected_ns == one(tmp_path, entry_time=text).entry_ns


def test_stops_file_of_time_and_target_kinds_is_read(tmp_path: Path) -> None:
    """A holding time has nine decimals, and a target may lie far on the winning side of a LONG."""
    row = one(tmp_path, kind="time", max_holding_seconds="0.000000001")
    assert (TIME, 1) == (row.kind, row.holding_ns)
    row = one(tmp_path, kind="take_profit", percent="150")
    assert (TAKE_PROFIT, 1_500_000) == (row.kind, row.percent_ppm)


def test_stops_file_small_lots_and_whole_fractions_are_read(tmp_path: Path) -> None:
    """Quantities are in units of each instrument, and the whole of a position is no fraction."""
    row = one(tmp_path, symbol="BTCUSDT", quantity="1.5", entry_price="61800.30", fraction_percent="100", watch="mid")
    assert (1, 1_500, 1_236_006, 0, MID) == (row.instrument, row.quantity_lots, row.entry_units, row.fraction_ppm, row.watch)


FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "symbol": ({"symbol": "AIQ"}, "symbol = 'AIQ' is not in the recording (WHERE): did you mean AIG?"),
    "side": ({"side": "buy"}, "side = 'buy' is none of them (WHERE): known are long, short"),
    "kind": ({"kind": "trailling"}, "did you mean trailing?"),
    "watch": ({"watch": "bid"}, "watch = 'bid' is none of them"),
    "empty": ({"symbol": ""}, "symbol is empty (WHERE): every stop needs its symbol"),
    "price": ({"entry_price": "48.255"}, "entry_price = '48.255' is no whole number of ticks (WHERE): use steps of 0.01"),
    "half_tick": ({"entry_price": "48.2525", "watch": "mid"}, "no whole number of half ticks (WHERE): use steps of 0.005"),
    "comma": ({"entry_price": "48 25"}, "entry_price = '48 25' is no decimal (WHERE): write it as in"),
    "negative": ({"quantity": "-5"}, "quantity = '-5' is not above 0"),
    "nan": ({"percent": "nan"}, "percent = 'nan' is no decimal"),
    "infinite": ({"percent": "1e9"}, "percent = '1e9' is too large (WHERE): give at most 99 percent"),
    "places": ({"percent": "0.00001"}, "has more than 4 decimal places"),
    "lots": ({"quantity": "1.5"}, "quantity = '1.5' is no whole number of lots"),
    "huge": ({"entry_price": "1e18"}, "entry_price = '1e18' is out of bounds"),
    "low": ({"stop_price": "0.001"}, "stop_price = '0.001' is less than one step of 0.01"),
    "zone": ({"entry_time": "2013-10-09T09:30:00"}, "is no time with its zone (WHERE): write nanoseconds UTC"),
    "epoch": ({"entry_time": "0"}, "entry_time = '0' is out of bounds"),
    "ten_decimals": ({"entry_time": "2013-10-09T09:30:00.1234567890Z"}, "is no time with its zone"),
    "both": ({"percent": "1", "stop_price": "47"}, "percent = '1' is given beside stop_price (WHERE): give one of the two"),
    "trailing_both": ({"kind": "trailing", "percent": "1", "offset": "1"}, "offset = '1' is given beside percent"),
    "foreign": ({"percent": "1", "offset": "1"}, "offset = '1' means nothing to a static stop"),
    "missing": ({"kind": "time"}, "max_holding_seconds is empty, and a time stop needs it"),
    "neither": ({"kind": "take_profit"}, "needs stop_price or percent (WHERE): give stop_price or percent"),
    "asleep": ({"kind": "time", "max_holding_seconds": "1", "activation_percent": "1"}, "means nothing to a time stop"),
    "period": ({"kind": "atr", "atr_period": "0"}, "atr_period = '0' is no whole number from 1 to 1000"),
    "multiplier": ({"kind": "atr", "atr_multiplier": "0.0000001"}, "has more than 6 decimal places"),
    "escalation": ({"percent": "1", "escalate_after_ms": "5"}, "is given without a limit_offset"),
    "short_gain": ({"side": "short", "activation_percent": "100", "percent": "1"}, "give at most 99 percent"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_stops_file_fault_tells_line_column_value_and_remedy(tmp_path: Path, name: str) -> None:
    """Each fault is one line with the place, the value and what would do."""
    cells, text = FAULTS[name]
    given = {"stop_id": "1", "symbol": "AIG", "side": "long", "kind": "static", "percent": ""} | cells
    if given["kind"] == "static" and not {"percent", "stop_price"} & set(cells):
        given["percent"] = "1"
    found = faults(tmp_path, ",".join(given), ",".join(given.values()))
    assert [text] == [text for line in found if text.replace("WHERE", f"{tmp_path}/stops.csv, line 2") in line]
    assert 1 == len(found)


def test_stops_file_with_many_faults_tells_them_all_at_once(tmp_path: Path) -> None:
    """Faults of several lines and cells come together, duplicates of an id with the line of the first."""
    lines = [HEADER + ",percent", "1,AIG,long,static,x", "1,AIG,up,static,1", "2,AIG,long,static", "3,AIG,long,static,1"]
    found = faults(tmp_path, *lines)
    where = f"{tmp_path}/stops.csv, line"
    assert [
        f"percent = 'x' is no decimal ({where} 2): write it as in \"48.25\"",
        f"side = 'up' is none of them ({where} 3): known are long, short",
        f"stop_id = '1' stands in line 2 already ({where} 3): give each stop an id of its own",
        f"4 cells below 5 columns ({where} 4): write a comma for each empty cell too",
    ] == found


def test_stops_file_with_faults_without_end_tells_the_first_and_their_number(tmp_path: Path) -> None:
    """Of a file that is wrong throughout the first faults are told, then how many more there are."""
    found = faults(tmp_path, HEADER + ",percent", *[f"{k},AIG,long,static,x" for k in range(1_000)])
    assert TOLD_MAX + 1 == len(found)
    assert found[-1].startswith(f"{1_000 - TOLD_MAX} more faults like these")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ((HEADER + ",percnt", "1,AIG,long,static,1"), "unknown column 'percnt'"),
        ((HEADER + ",percent,percent", "1,AIG,long,static,1,1"), "column percent stands there 2 times"),
        (("stop_id,symbol,kind", "1,AIG,static"), "column side is missing"),
        ((HEADER,), "no stop"),
        (('stop_id,symbol,side,kind"', "1"), "unknown column"),
    ],
)
def test_stops_file_whose_form_is_wrong_is_refused(tmp_path: Path, lines: tuple[str, ...], text: str) -> None:
    """Unknown, repeated and missing columns, and a file without stops, are faults of their own."""
    assert text in faults(tmp_path, *lines)[0]


def test_stops_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    """A missing file and one that is no text give one line that names it."""
    with pytest.raises(StopsFileError, match="cannot be read: No such file"):
        read_stops(tmp_path / "absent.csv", TABLE, DEFAULTS)
    (tmp_path / "bytes.csv").write_bytes(b"stop_id\xff\n")
    with pytest.raises(StopsFileError, match="is no UTF-8"):
        read_stops(tmp_path / "bytes.csv", TABLE, DEFAULTS)


def test_stops_file_ids_that_are_numbers_are_put_in_order(tmp_path: Path) -> None:
    """Whole numbers are ordered as numbers, and any other id leaves the order of the lines."""
    rows = read(tmp_path, HEADER + ",percent", *[f"{name},AIG,long,static,1" for name in ("10", "9", "100")])
    assert ["9", "10", "100"] == [row.stop_id for row in rows]
    rows = read(tmp_path, HEADER + ",percent", *[f"{name},AIG,long,static,1" for name in ("10", "9", "b")])
    assert ["10", "9", "b"] == [row.stop_id for row in in_order_of_ids(rows)]
