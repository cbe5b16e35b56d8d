"""Play a recording with positions and stops given beforehand, through the stages that trade: `tools/backtest.py --help`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

# Run as a script, this file's own folder is on the path and the sources are not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.config import Config, load_config, with_overrides
from pipeline.errors import LaunchError, UserError
from tools.terminal import harmless, say

if TYPE_CHECKING:
    from pipeline.ingest.recordings import Recording

EXIT_OK, EXIT_LOST, EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143

EPILOG = """\
examples:
  tools/backtest.py recordings/aig --stops stops.csv --events out.csv
  tools/backtest.py recordings/aig --every 600 --side both --sweep kind=static,trailing,percent=0.5:5:0.5 --png sweep.png

The columns of stops.csv are told in tools/stops_csv.py, those of out.csv in tools/out_csv.py. A sweep gives each position of
--stops, or one entered every so many seconds, the stop of each cell of the grid in turn, and tells what came of it.
Exit code: 0 all is well, 1 a stop has fired and its exit was lost, 2 a mistake in what was asked for.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors here."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and leave."""
        print(f"error: {message} (command line): see tools/backtest.py --help", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR)


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser("tools/backtest.py", description="Play a recording with positions and their stops.", epilog=EPILOG,
                    formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)  # fmt: skip
    add = parser.add_argument
    add("recording", type=Path, metavar="RECORDING", help="folder that tools/record.py made")
    add("--stops", type=Path, metavar="FILE", help="CSV of positions and stops")
    add("--events", type=Path, metavar="FILE", help="write the stops that fired to this CSV")
    add("--config", metavar="FILE", help="configuration file (default: config.toml beside the sources)")
    add("--latency-us", type=int, metavar="N", help="stream time from an exit to its fill (default: as configured)")
    add("--summary", type=Path, metavar="FILE", help="write the report as JSON")
    add("--quiet", action="store_true", help="print errors only")
    sweep = parser.add_argument_group("sweep")
    add = sweep.add_argument
    add("--sweep", metavar="GRID", help="try a grid of stops: names with values (a,b) or ranges (from:to:step), commas between")
    add("--png", type=Path, metavar="FILE", help="draw what came of it as a heat map")
    add("--every", type=float, metavar="S", help="without --stops: enter a position in each symbol every so many seconds")
    add("--side", choices=("long", "short", "both"), help="of those positions (default: long)")
    add("--quantity", metavar="N", help="of those positions, in units (default: one lot)")
    add("--jobs", type=int, metavar="N", help="processes (default: one for each core)")
    return parser


def check(arguments: argparse.Namespace) -> None:
    """Refuse flags that do not go together, and places that cannot be written, before a second of work is spent.

    Raises:
        LaunchError: as said.
    """
    where = "command line"
    if arguments.sweep is None:
        for name in ("png", "every", "side", "quantity", "jobs"):
            if getattr(arguments, name) is not None:
                raise LaunchError(f"--{name} without --sweep", where, "give --sweep GRID, or leave it out")
        if arguments.stops is None or arguments.events is None:
            missing = "--stops" if arguments.stops is None else "--events"
            raise LaunchError(f"{missing} is missing", where, "give --stops FILE and --events FILE, or --sweep GRID")
    elif arguments.events is not None:
        raise LaunchError("--events with --sweep", where, "leave it out: a sweep tells sums, in --summary and --png")
    elif (arguments.stops is None) == (arguments.every is None):
        raise LaunchError("a sweep needs positions from one place", where, "give --stops FILE, or --every SECONDS")
    elif arguments.stops is not None and (arguments.side or arguments.quantity):
        raise LaunchError("--side and --quantity are of --every", where, "leave them out: --stops tells both")
    if arguments.every is not None and not 0.001 <= arguments.every < float("inf"):
        raise LaunchError(f"--every {arguments.every:g}", where, "give seconds, 0.001 or more")
    if arguments.jobs is not None and not 1 <= arguments.jobs <= 1024:
        raise LaunchError(f"--jobs {arguments.jobs}", where, "give 1 to 1024")
    for name in ("events", "summary", "png"):
        path: Path | None = getattr(arguments, name)
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            raise LaunchError("its folder is not there or not writable", f"--{name} {path}", "choose another place")


def run_once(arguments: argparse.Namespace, config: Config, recording: "Recording") -> bool:
    """Play the recording once; True where nothing was lost.

    Raises:
        UserError: a wrong stops file, or a machine without room.
    """
    from pipeline.backtest.entries import complete
    from pipeline.backtest.run import Backtest
    from pipeline.backtest.summary import summarize
    from pipeline.backtest.warm import warm_up
    from tools.backtest_report import make_console, show, write_json
    from tools.out_csv import event_rows, write_events
    from tools.progress import progress_bar
    from tools.stops_csv import planned_of, read_stops

    rows = read_stops(arguments.stops, recording.instruments, config.risk.stops)
    warm_up(config, (lambda line: None) if arguments.quiet else say)
    with progress_bar("looking up entry prices", arguments.quiet) as report:
        planned = complete(planned_of(rows), recording, config, report)
    run = Backtest(recording, planned, config)
    with progress_bar(f"playing {recording.path.name}", arguments.quiet) as report:
        began = time.perf_counter()
        run.run(report)
        seconds = time.perf_counter() - began
    outcomes = run.outcomes()
    count = len(recording.ticks)
    summary = summarize(run, outcomes) | {
        "speed": {
            "seconds": round(seconds, 6),
            "ticks_per_second": round(count / seconds),
            "ns_per_tick": round(seconds / count * 1e9, 1),
        },
        "stops_file": str(arguments.stops),
        "events_file": str(arguments.events),
    }
    table = recording.instruments
    written = write_events(arguments.events, event_rows([row.stop_id for row in rows], planned, outcomes, table))
    write_json(arguments.summary, summary)
    if not arguments.quiet:
        with harmless():
            show(summary, make_console())
            print(f"  {written:,} {'row' if written == 1 else 'rows'} in {arguments.events}")
    lost = summary["exits"]["rejected"]
    if lost:
        say(f"ALERT {lost:,} exits were rejected by the venue", is_error=True)
    return not lost


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return the exit code."""
    options = make_parser().parse_args(arguments)
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        check(options)
        config = with_overrides(load_config(options.config), {"execution.paper.latency_us": options.latency_us})
        from pipeline.ingest.recordings import open_recording

        recording = open_recording(options.recording)
        if len(recording.ticks) == 0:
            raise LaunchError("the recording holds no tick", str(options.recording), "import it again, or choose another")
        if options.sweep is not None:
            from tools.sweep import run_sweep

            return EXIT_OK if run_sweep(options, config, recording) else EXIT_LOST
        return EXIT_OK if run_once(options, config, recording) else EXIT_LOST
    except UserError as error:
        for line in error.lines:
            say(f"error: {line}", is_error=True)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        say("interrupted: nothing was written", is_error=True)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminated(_number: int, _frame: object) -> NoReturn:
    # An exception instead of the default death: what was begun is then taken back.
    raise SystemExit(EXIT_TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
