"""Make recordings of real market data, and tell what is in one.

    tools/record.py import lean --symbol AIG --date 2013-10-09 --quotes Q.zip --trades T.zip OUT
    tools/record.py import binance FRAMES.gz OUT
    tools/record.py info RECORDING

A recording is what `tools/run.py --replay` reads; its layout is told in pipeline/ingest/recordings.py.
"""

import argparse
import json
import os
import signal
import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

if __package__ in (None, ""):
    # Run as a script, Python puts tools/ on the path instead of the root that the packages are in.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.errors import RecordingError, UserError
from pipeline.ingest import binance, lean
from pipeline.ingest.recordings import Recording, RecordingWriter, check_target, open_recording
from pipeline.instruments import Instrument, Instruments, parse_decimal, step_fault
from pipeline.messages import QUOTE, TRADE
from tools.progress import progress_bar

EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143
CHUNK_TICKS = 1 << 18
NS_PER_SECOND = 1_000_000_000
PIPE_COLUMNS = 120
#: A narrower terminal gets a list for each symbol instead of the table.
TABLE_COLUMNS = 104


class LineParser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, like all others of the tools."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and leave."""
        print(f"error: {message} ({self.prog}): see {self.prog} --help", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = LineParser(prog="tools/record.py", description="Make recordings of real market data, and tell what is in one.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{import,info}")
    importers = commands.add_parser("import", help="turn files into a recording").add_subparsers(
        dest="format", required=True, metavar="{lean,binance}"
    )
    one = importers.add_parser("lean", help="a day of QuantConnect LEAN equity ticks")
    one.add_argument("--symbol", required=True, help="name of the instrument, such as AIG")
    one.add_argument("--date", required=True, type=_day, dest="day", help="day in New York, YYYY-MM-DD")
    one.add_argument("--quotes", type=Path, metavar="Q.zip", help="zip of the quote rows")
    one.add_argument("--trades", type=Path, metavar="T.zip", help="zip of the trade rows")
    one.add_argument("--exchange", metavar="P", help="letter of the quote book (default: the exchange with the most quotes); "
                     f"{lean.ALL_EXCHANGES} = best bid and offer of all exchanges")  # fmt: skip
    two = importers.add_parser("binance", help="recorded frames: local ns, space, JSON, one a line")
    two.add_argument("frames", type=Path, metavar="FRAMES.gz")
    two.add_argument("--tick-size", type=_step, metavar="0.10", help="price step (default: the decimals as printed)")
    two.add_argument("--lot-size", type=_step, metavar="0.001", help="quantity step (default: the decimals as printed)")
    for importer in (one, two):
        importer.add_argument("--overwrite", action="store_true", help="replace a recording that is there")
        importer.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    info = commands.add_parser("info", help="tell what is in a recording")
    info.add_argument("recording", type=Path, metavar="RECORDING")
    info.add_argument("--json", action="store_true", help="as JSON, for programs")
    return parser


def import_lean(options: argparse.Namespace) -> Recording:
    """Import one day of LEAN files; return the recording.

    Raises:
        UserError: what is wrong with the options, the files or the target.
    """
    if options.quotes is None and options.trades is None:
        raise RecordingError("nothing to import", "import lean", "give --quotes, --trades or both")
    if options.exchange is not None and options.quotes is None:
        raise RecordingError("--exchange picks the quote book", "import lean", "give --quotes too, or leave it out")
    check_target(options.out, options.overwrite)
    # The symbol is checked before a second of work is spent on the files.
    Instrument(options.symbol, lean.TICK_SIZE, lean.LOT_SIZE)
    with progress_bar(f"reading {options.symbol} {options.day}") as report:
        day = lean.decode_day(options.day, options.quotes, options.trades, options.exchange, report)
    if len(day.ticks) == 0:
        raise RecordingError("the files hold no usable row", "import lean", "check the files and --exchange")
    is_merged = day.exchange == lean.ALL_EXCHANGES
    venue = "" if is_merged else day.exchange
    instruments = Instruments([Instrument(options.symbol, lean.TICK_SIZE, lean.LOT_SIZE, venue=venue)])
    book = f"quotes of exchange {day.exchange}" if day.exchange else "trades only"
    if is_merged:
        book = f"best bid and offer of {day.merged[0]} exchanges, {day.merged[1]:,} sides taken as withdrawn"
    description = f"{options.symbol} {options.day}, {book}"
    with (
        RecordingWriter(options.out, instruments, "lean", description, options.overwrite) as writer,
        progress_bar(f"writing {options.out}") as report,
    ):
        writer.left_out.update(day.left_out)
        for start in range(0, len(day.ticks), CHUNK_TICKS):
            writer.append(day.ticks[start : start + CHUNK_TICKS])
            report(min(start + CHUNK_TICKS, len(day.ticks)), len(day.ticks))
    return open_recording(options.out)


def import_binance(options: argparse.Namespace) -> Recording:
    """Import a file of Binance frames; return the recording.

    Raises:
        UserError: what is wrong with the file, the steps or the target.
    """
    check_target(options.out, options.overwrite)
    with progress_bar(f"surveying {options.frames.name}") as report:
        survey = binance.survey_frames(options.frames, options.tick_size, options.lot_size, report)
    decoder = binance.FrameDecoder(survey.instruments)
    description = f"{', '.join(survey.instruments.symbols)} from {options.frames.name}"
    with (
        RecordingWriter(options.out, survey.instruments, "binance", description, options.overwrite) as writer,
        progress_bar(f"decoding {options.frames.name}") as report,
    ):
        for chunk in binance.decode_frames(options.frames, decoder, report):
            writer.append(chunk)
        writer.left_out.update(sorted(decoder.skipped.items()))
        # Binance numbers the trades of a symbol one by one; one that is left out here was not lost.
        writer.trades_numbered = not any(reason.startswith("trade_") for reason in decoder.skipped)
    return open_recording(options.out)


def describe(recording: Recording) -> dict[str, Any]:
    """Return what is in a recording, as plain JSON values; prices are decimal texts, times UTC.

    Prices are those above 0. One-sided: bid or ask is not above 0. Crossed: bid above ask. Locked: bid equals ask.
    An inversion is a tick whose event time is below that of the tick before it.
    """
    symbols = [_SymbolCounts() for _ in recording.instruments]
    inversions, last_ns = 0, int(np.iinfo(np.int64).min)
    for start in range(0, len(recording.ticks), CHUNK_TICKS):
        chunk = np.asarray(recording.ticks[start : start + CHUNK_TICKS])
        event_ns = np.concatenate(([last_ns], chunk["event_ns"]))
        inversions += int(np.count_nonzero(event_ns[1:] < event_ns[:-1]))
        last_ns = int(event_ns[-1])
        for index, counts in enumerate(symbols):
            counts.add(chunk[chunk["instrument"] == index])
    info = recording.info
    first_ns, end_ns = info.get("first_event_ns"), info.get("last_event_ns")
    duration = None if first_ns is None or end_ns is None else (end_ns - first_ns) / NS_PER_SECOND
    return {
        "path": str(recording.path),
        "source": info.get("source", ""),
        "description": info.get("description", ""),
        "created_utc": info.get("created_utc"),
        "tick_count": len(recording.ticks),
        "kinds": info.get("kinds", {}),
        "first_event_utc": utc_text(first_ns),
        "last_event_utc": utc_text(end_ns),
        "duration_seconds": duration,
        "ticks_per_second": len(recording.ticks) / duration if duration else None,
        "event_time_inversions": inversions,
        "left_out": info.get("left_out", {}),
        "symbols": [counts.describe(recording.instruments, index) for index, counts in enumerate(symbols)],
    }


class _SymbolCounts:
    """What `describe` counts of one symbol, chunk by chunk."""

    def __init__(self) -> None:
        self.quotes = self.trades = self.one_sided = self.crossed = self.locked = 0
        self.lowest: int | None = None
        self.highest: int | None = None

    def add(self, ticks: np.ndarray) -> None:
        quotes, trades = ticks[ticks["kind"] == QUOTE], ticks[ticks["kind"] == TRADE]
        bid, ask = quotes["a"], quotes["b"]
        whole = (bid > 0) & (ask > 0)
        self.quotes += len(quotes)
        self.trades += len(trades)
        self.one_sided += int(np.count_nonzero(~whole))
        self.crossed += int(np.count_nonzero(whole & (bid > ask)))
        self.locked += int(np.count_nonzero(whole & (bid == ask)))
        for prices in (bid, ask, trades["a"]):
            real = prices[prices > 0]
            if len(real):
                low, high = int(real.min()), int(real.max())
                self.lowest = low if self.lowest is None else min(self.lowest, low)
                self.highest = high if self.highest is None else max(self.highest, high)

    def describe(self, instruments: Instruments, index: int) -> dict[str, Any]:
        return {
            "symbol": instruments[index].symbol,
            "tick_size": f"{instruments[index].tick_size:f}",
            "lot_size": f"{instruments[index].lot_size:f}",
            "quotes": self.quotes,
            "trades": self.trades,
            "price_min": None if self.lowest is None else instruments.price_text(index, self.lowest),
            "price_max": None if self.highest is None else instruments.price_text(index, self.highest),
            "one_sided": self.one_sided,
            "crossed": self.crossed,
            "locked": self.locked,
        }


def show(description: dict[str, Any], console: Console) -> None:
    """Print what `describe` found as two tables."""
    rate, duration = description["ticks_per_second"], description["duration_seconds"]
    facts = {
        "recording": description["path"],
        "holds": f"{description['description']} (source: {description['source']}, made {description['created_utc']})",
        "ticks": f"{description['tick_count']:,}" + _listed(description["kinds"]),
        "first event": description["first_event_utc"] or "-",
        "last event": description["last_event_utc"] or "-",
        "duration": "-" if duration is None else f"{duration:,.3f} s" + (f", {rate:,.1f} ticks/s" if rate else ""),
        "inversions": f"{description['event_time_inversions']:,} ticks with an event time below the one before",
        "left out": _listed(description["left_out"]).strip(" ()") or "nothing",
    }
    _show_facts(facts, console)
    rows = [{name.replace("_", " "): _cell(value) for name, value in row.items()} for row in description["symbols"]]
    if console.width < TABLE_COLUMNS:
        for row in rows:
            console.print()
            _show_facts(row, console)
        return
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "symbol" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    console.print(table, markup=False, highlight=False)


def _show_facts(facts: dict[str, str], console: Console) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        # As Text, so that brackets in a path are not taken for markup.
        table.add_row(name, Text(value))
    console.print(table, highlight=False)


def _cell(value: int | str | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else value


def utc_text(time_ns: int | None) -> str | None:
    """Write a UTC time in nanoseconds as ISO 8601 with all nine decimals; None stays None."""
    if time_ns is None:
        return None
    seconds, rest_ns = divmod(time_ns, NS_PER_SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"


def _listed(counts: dict[str, int]) -> str:
    text = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f" ({text})" if text else ""


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date, write it as 2013-10-09") from None


def _step(text: str) -> Decimal:
    step = parse_decimal(text)
    if step is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no decimal, write it as 0.01")
    fault = step_fault(step)
    if fault:
        raise argparse.ArgumentTypeError(fault)
    return step


def _terminated(_number: int, _frame: object) -> NoReturn:
    # An exception instead of the default death: the writer then removes what it has begun.
    raise SystemExit(EXIT_TERMINATED)


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; return the exit code."""
    options = build_parser().parse_args(arguments)
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        if options.command == "info":
            description = describe(open_recording(options.recording))
            if options.json:
                print(json.dumps(description, indent=2))
            else:
                show(description, Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS))
            return 0
        started = time.monotonic()
        recording = import_lean(options) if options.format == "lean" else import_binance(options)
        seconds = time.monotonic() - started
        kinds = _listed(recording.info["kinds"])
        print(f"{recording.path}: {len(recording.ticks):,} ticks{kinds} in {seconds:.1f} s")
        return 0
    except UserError as error:
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`| head`): that is no error. Python would complain again at exit without this.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)


if __name__ == "__main__":
    sys.exit(main())
