"""The commands of tools/ctl.py that are about trading: its states, limits, orders, the account, strategies."""

import argparse
from collections.abc import Callable

#: Adds a command: its name, what it does, what --help ends with.
AddCommand = Callable[..., argparse.ArgumentParser]

STATES_EPILOG = """\
trading states, from free to strict; of account, strategy and instrument the strictest counts:
  active     everything that the limits allow leaves
  reducing   only what makes a position smaller leaves           tools/ctl.py reduce
  halted     only exits of stops leave                           tools/ctl.py halt
  killed     working orders are cancelled, nothing new leaves    tools/ctl.py kill
Only a person resumes what was killed: tools/ctl.py resume --reason TEXT.
"""

LIMIT_EPILOG = """\
examples:
  tools/ctl.py set-limit max_daily_loss 2500
  tools/ctl.py set-limit max_position_notional 50000 --strategy 1 --reason "half size today"
  tools/ctl.py set-limit price_collar_percent 2 --symbol AAPL
  tools/ctl.py set-limit max_open_positions unlimited

NAME is as in config.toml, and so is VALUE: money in the account's currency, quantities in shares, coins or contracts, percent,
whole numbers, or unlimited. It holds until the instance ends; the next start reads the file again.
"""

CANCEL_EPILOG = """\
examples:
  tools/ctl.py cancel 562949953421312        one order, as `orders` lists it
  tools/ctl.py cancel --strategy 1           all that work for a strategy
  tools/ctl.py cancel --symbol AAPL          all that work in an instrument
  tools/ctl.py cancel --all                  every one
"""


def add_trading_commands(command: AddCommand) -> None:
    """Add all of them to the parser."""
    for name, text in (
        ("halt", "let only exits of stops leave, until resumed"),
        ("reduce", "let only what makes a position smaller leave, until resumed"),
    ):
        _add_scope(command(name, text, STATES_EPILOG))
    one = command("kill", "cancel all working orders and let nothing new leave: the kill switch", STATES_EPILOG)
    _add_scope(one)
    one.add_argument("--flatten", action="store_true", default=None, help="leave the positions as well, at the market")
    one = command("resume", "let trading go on; say why", STATES_EPILOG)
    _add_scope(one, needs_reason=True)
    _add_scope(command("flatten", "cancel working orders and leave the positions, at the market"))
    one = command("cancel", "cancel one working order, or all of a strategy, an instrument or the account", CANCEL_EPILOG)
    one.add_argument("order_id", nargs="?", type=int, metavar="ORDER", help="the order, as `orders` lists it")
    _add_scope(one, of="all that work for or in it")
    one.add_argument("--all", action="store_true", default=None, help="every working order of the account")
    one = command("set-limit", "change one limit while the instance runs", LIMIT_EPILOG)
    one.add_argument("name", metavar="NAME", help="the limit, as `limits` lists it")
    one.add_argument("value", metavar="VALUE", help="as in config.toml; unlimited = none")
    _add_scope(one, of="its limit")
    one = command("limits", "list the limits as they hold now: the account's, each strategy's, and what instruments have")
    _add_filters(one)
    _add_filters(command("orders", "list the orders that work, exits of stops included"))
    command("account", "tell equity, P&L, exposure and trading state, and each strategy's share")
    command("strategies", "list the strategies' slots: who holds each, and how it does")


def _add_scope(parser: argparse.ArgumentParser, needs_reason: bool = False, of: str = "it alone") -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--strategy", type=int, metavar="N", help=f"the strategy in this slot: {of} (default: the account)")
    which.add_argument("--symbol", metavar="SYMBOL", help=f"this instrument: {of}")
    parser.add_argument("--reason", metavar="TEXT", required=needs_reason, help="why, for the record")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strategy", type=int, metavar="N", help="only of the strategy in this slot")
    parser.add_argument("--symbol", metavar="SYMBOL", help="only of this instrument")
