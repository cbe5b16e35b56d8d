"""Start an instance and watch it until Ctrl-C, the end of its feed or of its time: `tools/run.py --help`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

# Run as a script, this file's own folder is on the path and the sources are not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.config import Config, load_config, with_overrides, with_symbols
from pipeline.errors import LaunchError, UserError
from tools.terminal import say

if TYPE_CHECKING:
    from tools.session import Session

EXIT_OK, EXIT_LOST, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130

EPILOG = """\
examples:
  tools/run.py                                        the demo of config.toml, until Ctrl-C
  tools/run.py --scenario flash-crash --duration 20   stops fire five seconds in
  tools/run.py --replay recordings/aig --speed max    a recorded day, as fast as it goes

Ctrl-C stops in order: entries are blocked, exits under way are finished, the rest is stored. A second Ctrl-C stops at once.
SIGUSR1 is the kill switch: all working orders are cancelled and nothing new leaves, until tools/ctl.py resume.
Exit code: 0 all is well, 1 something was lost or halted, 2 a mistake in what was asked for.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors here."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and leave."""
        print(f"error: {message} (command line): see tools/run.py --help", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR)


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser("tools/run.py", description="Run Stopline: a feed, the stops, a venue and their records.", epilog=EPILOG,
                    formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)  # fmt: skip
    add = parser.add_argument
    add("--config", metavar="FILE", help="configuration file (default: config.toml beside the sources)")
    feed = parser.add_argument_group("market data")
    add = feed.add_argument
    add("--feed", metavar="KIND", help="simulator or replay")
    add("--replay", metavar="FOLDER", help="replay this recording, made by tools/record.py")
    add("--speed", metavar="SPEED", help="1x is the speed of the market, 10x ten times that, max as fast as it goes")
    add("--scenario", metavar="NAME", help="simulator: normal, flash-crash, rally, consolidation or gap")
    add("--symbols", metavar="A,B", help="only these instruments")
    add("--rate", type=float, metavar="N", help="simulator: ticks per second, all instruments together")
    add("--seed", type=int, metavar="N", help="simulator: the same seed gives the same ticks")
    run = parser.add_argument_group("this run")
    add = run.add_argument
    add("--duration", type=float, metavar="S", help="stop in order after so many seconds (default: at Ctrl-C)")
    add("--instance", metavar="NAME", help="name of the instance; two at once need two names")
    add("--fresh", action="store_true", default=None, help="forget what a crashed run of this name left")
    add("--db", metavar="FILE", help="DuckDB file for ticks, orders, fills and stop events")
    add("--metrics-port", type=int, metavar="PORT", help="port of /metrics; 0 = any that is free")
    add("--summary", type=Path, metavar="FILE", help="write the final report as JSON")
    add("--quiet", action="store_true", help="print alerts and errors only")
    return parser


def settings(arguments: argparse.Namespace) -> tuple[Config, tuple[str, ...]]:
    """Return the configuration with the flags applied, and the symbols to choose from a recording.

    Raises:
        UserError: the file or a flag is wrong.
    """
    overrides = {
        "feed.kind": "replay" if arguments.replay is not None else arguments.feed,
        "feed.recording": arguments.replay,
        "feed.speed": arguments.speed,
        "feed.simulator.scenario": arguments.scenario,
        "feed.simulator.rate": arguments.rate,
        "feed.simulator.seed": arguments.seed,
        "instance.name": arguments.instance,
        "instance.fresh": arguments.fresh,
        "sidecar.database": arguments.db,
        "sidecar.metrics_port": arguments.metrics_port,
    }
    if arguments.replay is not None and arguments.feed not in (None, "replay"):
        raise LaunchError(f"--replay with --feed {arguments.feed}", "command line", "leave one of them out")
    if arguments.duration is not None and not 0 < arguments.duration < float("inf"):
        raise LaunchError(f"--duration {arguments.duration:g}", "command line", "give seconds above 0")
    if arguments.summary is not None and not os.access(arguments.summary.absolute().parent, os.W_OK):
        raise LaunchError("its folder is not there or not writable", f"--summary {arguments.summary}", "choose another place")
    config = with_overrides(load_config(arguments.config), overrides)
    symbols = tuple(part.strip() for part in (arguments.symbols or "").split(",") if part.strip())
    if arguments.symbols is not None and (config.feed.kind == "simulator" or not symbols):
        config = with_symbols(config, symbols, "--symbols")
        symbols = ()
    return config, symbols


def catch_signals(session: "Session") -> None:
    """Turn Ctrl-C, SIGTERM and a closed terminal into an ordered stop, and SIGUSR1 into the kill switch of the account."""

    def stop(number: int, _frame: object) -> None:
        session.supervisor.stop_signals += 1
        session.supervisor.stop_signal_name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    signal.signal(signal.SIGUSR1, lambda _number, _frame: session.supervisor.kill_switch.pull())
    # Under nohup a closed terminal is to change nothing.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)


def load() -> "Callable[..., Session]":
    """Import what needs the folder of compiled kernels.

    Raises:
        LaunchError: that folder cannot be made.
    """
    try:
        from tools.session import Session
    except OSError as error:
        what = f"cannot make the cache of compiled kernels: {error.strerror}"
        remedy = "make it writable, or set XDG_CACHE_HOME to another folder"
        raise LaunchError(what, str(error.filename), remedy) from None
    return Session


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an instance; return the exit code."""
    parsed = make_parser().parse_args(arguments)
    began = time.monotonic()
    try:
        config, symbols = settings(parsed)
        session = load()(config, symbols, parsed, began)
        catch_signals(session)
        return EXIT_OK if session.run() else EXIT_LOST
    except UserError as error:
        for line in error.lines:
            say(f"error: {line}", is_error=True)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        say("stopped before it was ready", is_error=True)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
