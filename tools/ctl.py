"""Act on a running instance from the command line: `tools/ctl.py --help`.

    tools/ctl.py status
    tools/ctl.py stops AAPL
    tools/ctl.py set-stop AAPL trailing --percent 1.5
    tools/ctl.py move-stop 17 --price 262.50
    tools/ctl.py cancel-stop 17
    tools/ctl.py kill --reason "prices make no sense"
    tools/ctl.py resume --reason "feed is fixed"

It talks to the instance's control socket (pipeline/control.py). Exit code: 0 done, 1 refused, 2 a mistake in the
command line or no such instance.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

# Run as a script, this file's own folder is on the path and the sources are not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import orjson

from pipeline.control_client import ANSWER_S, ControlClient
from pipeline.errors import UserError, one_line
from tools import ctl_tables
from tools.ctl_trading import add_trading_commands
from tools.terminal import harmless, say

#: An answer that takes longer is none.
SECONDS_MAX = 3600
EXIT_DONE, EXIT_REFUSED, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130

EPILOG = """\
examples:
  tools/ctl.py status
  tools/ctl.py --instance paper stops AAPL
  tools/ctl.py set-stop AAPL static --price 262.50
  tools/ctl.py set-stop BTCUSDT chandelier --atr-multiplier 3 --bar-seconds 300 --fraction 50
  tools/ctl.py move-stop 17 --percent 0.8
  tools/ctl.py --json positions
  tools/ctl.py account
  tools/ctl.py set-limit max_daily_loss 2500 --strategy 1
  tools/ctl.py kill --flatten --reason "prices make no sense"
  tools/ctl.py resume --reason "feed is fixed, checked with the broker"

Exit code: 0 done, 1 refused (one line says what, why and what would do), 2 a mistake in the command line or no such instance.
"""

SET_STOP_EPILOG = """\
kinds, and what each takes:
  static        --price or --percent: a level that stays
  trailing      --percent or --offset: follows the best price; --price gives it a first level
  atr           --atr-multiplier: so many average true ranges from the entry; until there is an ATR, --percent
  chandelier    --atr-multiplier: the same, from the best price
  time          --max-holding: the position is left after so long
  take_profit   --price or --percent: the position is left with a profit
static, trailing, atr and chandelier also take --activation and --breakeven; all take --watch, --fraction, --limit-offset.
"""

#: Flag of set-stop, term on the socket, its value and its meaning in --help.
TERM_FLAGS = (
    ("--price", "price", "PRICE", "level, target, or first level of a trailing stop"),
    ("--percent", "percent", "PERCENT", "distance, such as 1.5"),
    ("--offset", "offset", "PRICE", "trailing: distance as a difference of prices"),
    ("--watch", "watch", "WHICH", "price to follow: bid_ask (default), last or mid"),
    ("--activation", "activation_percent", "PERCENT", "profit from which it may fire"),
    ("--breakeven", "breakeven_percent", "PERCENT", "profit from which its level is at least the entry price"),
    ("--atr-multiplier", "atr_multiplier", "M", "distance in average true ranges (default: the configured one)"),
    ("--atr-period", "atr_period", "BARS", "bars in the average (default: the configured one)"),
    ("--bar-seconds", "atr_bar_seconds", "S", "length of a bar (default: the configured one)"),
    ("--max-holding", "max_holding_seconds", "S", "time: longest holding, in seconds"),
    ("--fraction", "fraction_percent", "PERCENT", "share of the position that it exits (default: all of it)"),
    ("--limit-offset", "limit_offset", "PRICE", "exit by a limit order so far beyond the price, not by a market order"),
    ("--escalate-after", "escalate_after_ms", "MS", "time after which that limit order becomes a market order"),
)
MOVE_FLAGS = TERM_FLAGS[:3]
FIRE_NOW_HELP = "where the stop is crossed already, have it fire at once instead of being refused"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors here."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and leave."""
        print(f"error: {one_line(message)} (command line): see {self.prog} --help", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR)


def make_parser() -> Parser:
    """Return the parser of the whole command line."""
    shared = Parser(add_help=False)
    add = shared.add_argument
    # Before or after the command: where it is not given, neither place may overwrite the other.
    add("--instance", metavar="NAME", default=argparse.SUPPRESS, help="name of the instance (default: default)")
    add("--socket", metavar="PATH", default=argparse.SUPPRESS, help="the control socket itself, where it is elsewhere")
    add("--json", action="store_true", default=argparse.SUPPRESS, help="print the answer as JSON, for programs")
    add(
        "--timeout",
        type=_seconds,
        metavar="S",
        default=argparse.SUPPRESS,
        help=f"wait so long for an answer (default: {ANSWER_S:g})",
    )
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser("tools/ctl.py", description="Act on a running instance.", epilog=EPILOG, parents=[shared],
                    formatter_class=layout, allow_abbrev=False)  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog, parents=[shared],
            formatter_class=layout, allow_abbrev=False,
        )  # fmt: skip

    command("ping", "ask whether the instance listens")
    command("status", "tell how the instance is")
    for name in ("positions", "stops"):
        one = command(name, f"list {name}")
        one.add_argument("symbol", nargs="?", metavar="SYMBOL", help="only of this instrument")
        one.add_argument("--strategy", type=int, metavar="N", help="only of the strategy in this slot")
    one = command("set-stop", "add a stop to an open position", SET_STOP_EPILOG)
    one.add_argument("symbol", metavar="SYMBOL", help="instrument of the position")
    one.add_argument("kind", metavar="KIND", help="static, trailing, atr, chandelier, time or take_profit")
    _add_terms(one, TERM_FLAGS)
    one.add_argument("--strategy", type=int, metavar="N", help="slot whose position it is; needed where several hold one")
    one.add_argument("--fire-now", action="store_true", default=None, help=FIRE_NOW_HELP)
    one = command("move-stop", "give a stop another price, percent or offset; it keeps its id")
    one.add_argument("stop_id", type=int, metavar="ID", help="the stop, as `stops` lists it")
    _add_terms(one, MOVE_FLAGS)
    one.add_argument("--fire-now", action="store_true", default=None, help=FIRE_NOW_HELP)
    one = command("cancel-stop", "take a stop back")
    one.add_argument("stop_id", type=int, metavar="ID", help="the stop, as `stops` lists it")
    add_trading_commands(command)
    return parser


def ask(client: ControlClient, options: argparse.Namespace) -> dict[str, Any]:
    """Ask what the command line says; a list that comes in pages is put together."""
    settings = ("command", "instance", "socket", "json", "timeout")
    fields = {name: value for name, value in vars(options).items() if name not in settings}
    answer = client.ask(options.command, **fields)
    rows = answer.get("stops") if options.command == "stops" else None
    while rows and answer["ok"] and answer.get("more"):
        answer = client.ask(options.command, **fields, after=rows[-1]["stop_id"])
        rows += answer.get("stops", [])
    return answer | ({"stops": rows} if rows and answer["ok"] else {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        with ControlClient(
            getattr(options, "instance", "default"), getattr(options, "socket", ""), getattr(options, "timeout", ANSWER_S)
        ) as client:
            answer = ask(client, options)
    except UserError as error:
        for line in error.lines:
            say(f"error: {line}", is_error=True)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        say("interrupted before it was answered: what was asked may still be done", is_error=True)
        return EXIT_INTERRUPTED
    if getattr(options, "json", False):
        say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
    elif answer["ok"]:
        with harmless():
            ctl_tables.show(options.command, answer)
    if answer["ok"]:
        return EXIT_DONE
    say(f"refused: {one_line('{what} ({where}): {remedy}'.format_map(answer['error']))}", is_error=True)
    return EXIT_REFUSED


def _add_terms(parser: argparse.ArgumentParser, flags: Sequence[tuple[str, str, str, str]]) -> None:
    terms = parser.add_argument_group("terms")
    for flag, term, value, text in flags:
        terms.add_argument(flag, dest=term, metavar=value, help=text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and below {SECONDS_MAX}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
