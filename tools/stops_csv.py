"""stops.csv: the positions of a backtest and the stop of each, read exactly and with every fault told at once.

    stop_id,symbol,side,kind,watch,entry_price,quantity,entry_time,stop_price,percent,offset,activation_percent,
    breakeven_percent,atr_multiplier,atr_period,bar_seconds,max_holding_seconds,fraction_percent,limit_offset,escalate_after_ms

The first line names the columns, in any order; all but REQUIRED may be missing, and an empty cell is as good as none.

    stop_id              any text, once in the file. Stops that fire on the same tick fire in order of their ids: by number
                         where all ids are whole numbers, else in order of their lines
    side                 long, short
    kind                 static, trailing, atr, chandelier, time, take_profit
    watch                bid_ask, last, mid; empty: the configured one
    entry_price          empty: the first price that the stop watches at or after its entry
    quantity             in units; empty: one lot
    entry_time           nanoseconds UTC, or ISO 8601 with its zone; empty: the first tick
    stop_price           static: its level; take_profit: its target; trailing: a first level, which only tightens. Between two
                         ticks it is rounded so that no price changes sides: a level of a LONG stop down, its target up
    percent              distance; of an atr or chandelier stop until its ATR is known (empty: the configured one)
    offset               trailing: distance in price instead of percent
    activation_percent   profit from which it may fire at all
    breakeven_percent    profit from which its level is at least the entry price
    atr_multiplier, atr_period, bar_seconds          atr, chandelier; empty: the configured ones
    max_holding_seconds  time
    fraction_percent     share of the position that it exits; empty: all
    limit_offset         exit by a limit order, so far beyond the price that fired it; empty: a market order
    escalate_after_ms    stream time after which such a limit order becomes a market order; empty: the configured one
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.backtest.planned import PLANNED
from pipeline.config_schema import StopsSection
from pipeline.errors import UserError, nearest, one_line
from pipeline.instruments import EXACT, Instruments
from pipeline.messages import (
    ATR,
    CHANDELIER,
    LONG,
    MID,
    SHORT,
    STATIC,
    STOP_KIND_NAMES,
    TAKE_PROFIT,
    TIME,
    TRAILING,
    WATCH_NAMES,
)
from tools.cells import DOWN, UP, Cells

REQUIRED = ("stop_id", "symbol", "side", "kind")
COLUMNS = (
    *REQUIRED, "watch", "entry_price", "quantity", "entry_time", "stop_price", "percent", "offset", "activation_percent",
    "breakeven_percent", "atr_multiplier", "atr_period", "bar_seconds", "max_holding_seconds", "fraction_percent",
    "limit_offset", "escalate_after_ms",
)  # fmt: skip
SIDES = {"long": LONG, "short": SHORT}
KINDS = {name: code for code, name in enumerate(STOP_KIND_NAMES) if code}
WATCHES = {name: code for code, name in enumerate(WATCH_NAMES)}

#: Columns that tell a kind how far it is; given to another kind they are a mistake.
TERMS = {
    STATIC: ("stop_price", "percent"),
    TRAILING: ("stop_price", "percent", "offset"),
    ATR: ("percent", "atr_multiplier", "atr_period", "bar_seconds"),
    CHANDELIER: ("percent", "atr_multiplier", "atr_period", "bar_seconds"),
    TIME: ("max_holding_seconds",),
    TAKE_PROFIT: ("stop_price", "percent"),
}
#: Columns of which a kind needs exactly one.
NEEDED = {
    STATIC: ("stop_price", "percent"),
    TRAILING: ("percent", "offset"),
    TIME: ("max_holding_seconds",),
    TAKE_PROFIT: ("stop_price", "percent"),
}
#: Columns that move a level or wake one: they mean nothing to a kind that has none.
LEVEL_COLUMNS = ("activation_percent", "breakeven_percent")
LEVEL_KINDS = (STATIC, TRAILING, ATR, CHANDELIER)
ALL_TERMS = tuple(dict.fromkeys(column for columns in TERMS.values() for column in columns))

#: Faults told one by one; a file of another shape would fill the screen.
TOLD_MAX = 40
YEAR_S = 366 * 86_400


class StopRow(NamedTuple):
    """One line of the file in integers: its id, then the fields of PLANNED in their order."""

    stop_id: str
    instrument: int
    side: int
    kind: int
    watch: int
    entry_units: int
    quantity_lots: int
    entry_ns: int
    price_units: int
    offset_units: int
    percent_ppm: int
    activation_ppm: int
    breakeven_ppm: int
    atr_ppm: int
    atr_period: int
    bar_seconds: int
    holding_ns: int
    fraction_ppm: int
    limit_ticks: int
    escalate_ms: int


assert StopRow._fields[1:] == PLANNED.names, "a row becomes a PLANNED by leaving its id out"


class StopsFileError(UserError):
    """One or more faults of a stops file. `problems` holds each, in order of lines."""

    def __init__(self, problems: Sequence[UserError]) -> None:
        first = problems[0]
        super().__init__(first.what, first.where, first.remedy)
        self.problems = tuple(problems)

    @property
    def lines(self) -> tuple[str, ...]:
        """One printable line for each problem, up to TOLD_MAX of them."""
        told = [line for problem in self.problems[:TOLD_MAX] for line in problem.lines]
        more = len(self.problems) - TOLD_MAX
        if more > 0:
            told.append(
                one_line(f"{more:,} more faults like these ({self.problems[0].where.partition(',')[0]}): mend the file")
            )
        return tuple(told)


def read_stops(path: Path, instruments: Instruments, defaults: StopsSection) -> tuple[StopRow, ...]:
    """Read a stops file.

    Args:
        path: The CSV file.
        instruments: Of the recording: symbols, tick and lot sizes.
        defaults: [risk.stops]: what some empty cells mean.
    Returns:
        The rows in order of their ids, see above.
    Raises:
        StopsFileError: Every fault of the file.
    """
    problems: list[UserError] = []
    rows: list[StopRow] = []
    lines_of: dict[str, int] = {}
    for line, given in _lines(path, problems):
        cells = Cells(given, f"{path}, line {line}", problems)
        row = read_row(cells, instruments, defaults)
        stop_id = given.get("stop_id", "")
        if stop_id in lines_of:
            cells.fault("stop_id", f"stands in line {lines_of[stop_id]} already", "give each stop an id of its own")
        elif stop_id:
            lines_of[stop_id] = line
        if row is not None:
            rows.append(row)
    if not rows and not problems:
        problems.append(UserError("no stop", str(path), "write one line for each stop below the names of the columns"))
    if problems:
        raise StopsFileError(problems)
    return in_order_of_ids(rows)


def planned_of(rows: Sequence[StopRow]) -> np.ndarray:
    """Return rows as an array of PLANNED, in their order."""
    return np.array([row[1:] for row in rows], PLANNED)


def in_order_of_ids(rows: Iterable[StopRow]) -> tuple[StopRow, ...]:
    """Return rows by number of their ids where all are whole numbers, else as they come."""
    kept = tuple(rows)
    if all(row.stop_id.isascii() and row.stop_id.isdigit() for row in kept):
        return tuple(sorted(kept, key=lambda row: int(row.stop_id)))
    return kept


def read_row(cells: Cells, instruments: Instruments, defaults: StopsSection) -> StopRow | None:
    """Turn one line's cells into integers.

    Args:
        cells: The line; learns of every fault.
        instruments: Symbols, tick and lot sizes.
        defaults: What some empty cells mean.
    Returns:
        The row; None where a fault leaves nothing to go on with.
    """
    faults_before = cells.fault_count
    for column in REQUIRED:
        if not cells.has(column):
            cells.fault(column, "is empty", f"every stop needs its {column}")
    side = cells.choice("side", SIDES, LONG)
    kind = cells.choice("kind", KINDS, STATIC)
    watch = cells.choice("watch", WATCHES, WATCHES[defaults.watch])
    instrument = _instrument(cells, instruments)
    if cells.fault_count > faults_before:
        return None
    _check_terms(cells, kind)
    item = instruments[instrument]
    step = EXACT.divide(item.tick_size, Decimal(2)) if watch == MID else item.tick_size
    step_text = "half ticks" if watch == MID else "ticks"
    # A price between two steps is rounded so that whole prices stay on their side of it.
    is_below = (side == LONG) == (kind != TAKE_PROFIT)
    has_atr = kind in (ATR, CHANDELIER)
    gain_percent_max = 1000 if side == LONG else 99
    fraction_ppm = cells.ppm("fraction_percent", 100)
    limit_ticks = cells.steps("limit_offset", item.tick_size, "ticks", limit=1 << 32)
    row = StopRow(
        stop_id=cells.text("stop_id"),
        instrument=instrument,
        side=side,
        kind=kind,
        watch=watch,
        entry_units=cells.steps("entry_price", step, step_text),
        quantity_lots=cells.steps("quantity", item.lot_size, "lots", otherwise=1, limit=1 << 40),
        entry_ns=cells.time_ns("entry_time"),
        price_units=cells.steps("stop_price", step, step_text, DOWN if is_below else UP),
        offset_units=cells.steps("offset", step, step_text),
        percent_ppm=cells.ppm("percent", gain_percent_max if kind == TAKE_PROFIT else 99),
        activation_ppm=cells.ppm("activation_percent", gain_percent_max, zero_is_none=True),
        breakeven_ppm=cells.ppm("breakeven_percent", gain_percent_max, zero_is_none=True),
        atr_ppm=cells.millionths("atr_multiplier", 1000, defaults.atr_ppm) if has_atr else 0,
        atr_period=cells.whole("atr_period", 1, 1000, defaults.atr_period) if has_atr else 0,
        bar_seconds=cells.whole("bar_seconds", 1, 86_400, defaults.atr_bar_seconds) if has_atr else 0,
        holding_ns=cells.nanoseconds("max_holding_seconds", 10 * YEAR_S),
        fraction_ppm=0 if fraction_ppm == 1_000_000 else fraction_ppm,
        limit_ticks=limit_ticks,
        escalate_ms=cells.whole("escalate_after_ms", 1, 600_000, defaults.escalate_after_ms if limit_ticks else 0),
    )
    if cells.has("escalate_after_ms") and not cells.has("limit_offset"):
        cells.fault("escalate_after_ms", "is given without a limit_offset", "give limit_offset too, or leave it empty")
    return row if cells.fault_count == faults_before else None


def _instrument(cells: Cells, instruments: Instruments) -> int:
    """Return the index of the line's symbol; 0 where there is none, which the cells then know."""
    symbol = cells.text("symbol")
    if not symbol or symbol in instruments:
        return instruments.index(symbol) if symbol else 0
    near = nearest(symbol, instruments.symbols)
    known = ", ".join(instruments.symbols[:12]) + (", ..." if len(instruments) > 12 else "")
    cells.fault("symbol", "is not in the recording", f"did you mean {' or '.join(near)}?" if near else f"it holds {known}")
    return 0


def _check_terms(cells: Cells, kind: int) -> None:
    """Tell what a kind is given that means nothing to it, and what it lacks."""
    name = STOP_KIND_NAMES[kind]
    known = TERMS[kind]
    for column in ALL_TERMS:
        if cells.has(column) and column not in known:
            cells.fault(column, f"means nothing to a {name} stop", f"leave it empty; {name} takes {', '.join(known)}")
    if kind not in LEVEL_KINDS:
        for column in LEVEL_COLUMNS:
            if cells.has(column):
                cells.fault(column, f"means nothing to a {name} stop", "leave it empty; it is for stops with a level")
    needed = NEEDED.get(kind, ())
    given = [column for column in needed if cells.has(column)]
    if needed and not given:
        cells.fault(needed[0], f"is empty, and a {name} stop needs {'it' if len(needed) == 1 else ' or '.join(needed)}",
                    f"give {' or '.join(needed)}")  # fmt: skip
    elif len(given) > 1:
        cells.fault(given[1], f"is given beside {given[0]}", "give one of the two")


def _lines(path: Path, problems: list[UserError]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield each line's number and its cells by column; faults of the file's form go to `problems`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not _check_header(header, str(path), problems):
                return
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) != len(header):
                    what = f"{len(fields)} cells below {len(header)} columns"
                    problems.append(UserError(what, f"{path}, line {reader.line_num}", "write a comma for each empty cell too"))
                    continue
                yield reader.line_num, {name: field.strip() for name, field in zip(header, fields, strict=True)}
    except OSError as error:
        problems.append(UserError(f"cannot be read: {error.strerror}", str(path), "give the path of a CSV file of stops"))
    except UnicodeDecodeError as error:
        problems.append(UserError(f"byte {error.start} is no UTF-8", str(path), "save the file as UTF-8"))
    except csv.Error as error:
        problems.append(UserError(f"no CSV: {error}", str(path), "mend the quotes there"))


def _check_header(header: list[str], where: str, problems: list[UserError]) -> bool:
    """Tell what is wrong with the names of the columns; True when nothing is."""
    before = len(problems)
    place = f"{where}, line 1"
    for name in dict.fromkeys(header):
        if name not in COLUMNS:
            near = nearest(name, COLUMNS, 1)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(COLUMNS)}"
            problems.append(UserError(f"unknown column {name!r}", place, remedy))
        elif header.count(name) > 1:
            problems.append(UserError(f"column {name} stands there {header.count(name)} times", place, "keep one of them"))
    for name in REQUIRED:
        if name not in header:
            problems.append(
                UserError(f"column {name} is missing", place, f"the first line names at least {', '.join(REQUIRED)}")
            )
    return len(problems) == before
