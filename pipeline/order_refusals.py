"""What risk refuses, in one line: which check, what it found, what is allowed, whose limit it is, and what would do.

    position limit: 150,000.00 USD would exceed 100,000.00 USD (strategy 1, AAPL, order 562949953421312): send a ...

`refusal` makes it of the event that risk writes. Requests about stops have their own words (pipeline.stop_refusals).
"""

from typing import NamedTuple

import numpy as np

from pipeline.errors import RiskCheckError
from pipeline.limit_values import amount_text, limit_text
from pipeline.messages import (
    QUANTITY_LOTS_LIMIT,
    REJECT_BAD_REQUEST,
    REJECT_BLACKOUT,
    REJECT_BUYING_POWER,
    REJECT_CONCENTRATION,
    REJECT_DAILY_LOSS,
    REJECT_DRAWDOWN,
    REJECT_DUPLICATE,
    REJECT_ENTRIES_BLOCKED,
    REJECT_EXECUTIONS,
    REJECT_EXIT_WORKING,
    REJECT_FLATTENING,
    REJECT_GROSS_EXPOSURE,
    REJECT_HALTED,
    REJECT_KILLED,
    REJECT_MIN_NOTIONAL,
    REJECT_MIN_QUANTITY,
    REJECT_NET_EXPOSURE,
    REJECT_NO_LIMIT,
    REJECT_NO_MARKET,
    REJECT_NO_ROOM,
    REJECT_NOT_ALLOWED,
    REJECT_NOTIONAL,
    REJECT_OPEN_POSITIONS,
    REJECT_ORDER_RATE,
    REJECT_ORDER_TYPE,
    REJECT_POSITION_LIMIT,
    REJECT_PRICE_COLLAR,
    REJECT_QUANTITY,
    REJECT_REASONS,
    REJECT_REDUCING,
    REJECT_RESTRICTED,
    REJECT_SAME_ORDER,
    REJECT_SESSION,
    REJECT_STALE,
    REJECT_UNKNOWN_INSTRUMENT,
    REJECT_UNKNOWN_ORDER,
    REJECT_VOLATILITY,
    REJECT_WEEKLY_LOSS,
)
from pipeline.money import Money
from pipeline.scopes import Scopes
from pipeline.stop_refusals import Subject
from pipeline.stop_refusals import refusal as stop_refusal
from pipeline.tables import LIMIT_NAMES


class _Text(NamedTuple):
    """The words of one reason; braces are filled from the event."""

    what: str
    remedy: str
    is_limit: bool = False  #: {value} and {limit} are those of the limit that the event names


_SMALLER = "send a smaller order, or raise the limit"
_EXITS_ONLY = "only what makes a position smaller may leave"
_RESUME = "resume it with tools/ctl.py resume once all is well"
_SAME_SOURCES = "run client and instance from the same sources"

_TEXTS: dict[int, _Text] = {
    REJECT_UNKNOWN_INSTRUMENT: _Text("there is no such instrument", _SAME_SOURCES),
    REJECT_NO_MARKET: _Text("no price of {symbol} is known yet", "wait for its first tick, then ask again"),
    REJECT_QUANTITY: _Text("order quantity: {value} would exceed {limit}", _SMALLER, is_limit=True),
    REJECT_NOTIONAL: _Text("order value: {value} would exceed {limit}", _SMALLER, is_limit=True),
    REJECT_MIN_QUANTITY: _Text("order quantity: {value} is below {limit}", "send a larger order", is_limit=True),
    REJECT_MIN_NOTIONAL: _Text("order value: {value} is below {limit}", "send a larger order", is_limit=True),
    REJECT_POSITION_LIMIT: _Text(
        "position limit: {value} would exceed {limit}", "send a smaller order, or wait until working ones end", is_limit=True
    ),
    REJECT_OPEN_POSITIONS: _Text("open positions: {value} would exceed {limit}", "close one first", is_limit=True),
    REJECT_CONCENTRATION: _Text("concentration: {value} of equity in {symbol} would exceed {limit}", _SMALLER, is_limit=True),
    REJECT_GROSS_EXPOSURE: _Text("gross exposure: {value} would exceed {limit}", _SMALLER, is_limit=True),
    REJECT_NET_EXPOSURE: _Text("net exposure: {value} would exceed {limit}", _SMALLER, is_limit=True),
    REJECT_BUYING_POWER: _Text("buying power: leverage of {value} would exceed {limit}", _SMALLER, is_limit=True),
    REJECT_PRICE_COLLAR: _Text(
        "price collar: {value} beyond the reference price exceeds {limit}", "bring the limit price nearer to the market", True
    ),
    REJECT_DAILY_LOSS: _Text("daily loss: {value} is at the limit of {limit}", f"wait for the next day; {_EXITS_ONLY}", True),
    REJECT_WEEKLY_LOSS: _Text(
        "weekly loss: {value} is at the limit of {limit}", f"wait for the next week; {_EXITS_ONLY}", is_limit=True
    ),
    REJECT_DRAWDOWN: _Text("drawdown: {value} is at the limit of {limit}", f"{_EXITS_ONLY} until it recovers", is_limit=True),
    REJECT_VOLATILITY: _Text("volatility: an ATR of {value} exceeds {limit}", "wait for a calmer market", is_limit=True),
    REJECT_EXECUTIONS: _Text(
        "executions: {value} have reached the limit of {limit}", "have a person look at it, then resume it", is_limit=True
    ),
    REJECT_SAME_ORDER: _Text(
        "the same order came within {limit} of the last one", "wait a moment if it is meant", is_limit=True
    ),
    REJECT_ORDER_RATE: _Text("order rate: more than {limit}", "send fewer orders; exits and cancels pass", is_limit=True),
    REJECT_NO_LIMIT: _Text(
        "{limit_name} of {scope} is not set, and what is not set blocks",
        'set it with tools/ctl.py set-limit; "unlimited" must be written out',
    ),
    REJECT_ENTRIES_BLOCKED: _Text("the instance is stopping or halted", f"start it again; {_EXITS_ONLY}"),
    REJECT_REDUCING: _Text("{scope} is REDUCING", f"{_EXITS_ONLY}; {_RESUME}"),
    REJECT_HALTED: _Text("{scope} is HALTED", f"only exits of stops leave; {_RESUME}"),
    REJECT_KILLED: _Text("{scope} is KILLED", f"only cancels pass; {_RESUME}"),
    REJECT_FLATTENING: _Text("the positions of {scope} are being left", "wait until they are flat"),
    REJECT_RESTRICTED: _Text("{symbol} is restricted", f"trade another one; {_EXITS_ONLY}"),
    REJECT_SESSION: _Text("{symbol} is outside its session hours", f"wait for its session; {_EXITS_ONLY}"),
    REJECT_BLACKOUT: _Text("{symbol} is in a blackout window", f"wait until it is over; {_EXITS_ONLY}"),
    REJECT_STALE: _Text("the market of {symbol} is stale", "wait for its next valid tick, then ask again"),
    REJECT_EXIT_WORKING: _Text("an exit of the position in {symbol} is under way", "wait until it has filled"),
    REJECT_UNKNOWN_ORDER: _Text("no such order is working", "list the orders: it may have filled or ended meanwhile"),
    REJECT_NOT_ALLOWED: _Text(
        "a strategy may only tighten, and only its own scope", "loosen it with tools/ctl.py; any strategy may kill the account"
    ),
    REJECT_ORDER_TYPE: _Text("this type of order is not known, or it has no valid price", "send a market or a limit order"),
    REJECT_BAD_REQUEST: _Text("its kind, side, price or scope makes no sense", f"correct it, or {_SAME_SOURCES}"),
    REJECT_NO_ROOM: _Text("there is no room for it; what is left is kept for exits", "ask again in a moment"),
    REJECT_DUPLICATE: _Text("the venue knows this order already", "wait for its report"),
}

#: Stands for REJECT_QUANTITY and REJECT_NOTIONAL where no limit is meant but what fits the pipeline's integers.
_OUT_OF_BOUNDS = _Text("quantity {quantity} is out of bounds", f"give one above 0 and below {QUANTITY_LOTS_LIMIT:,} lots")
#: The limit that a reason speaks of must be one of these, or the event names none.
_LIMIT_OF = {
    REJECT_QUANTITY: ("max_order_quantity",),
    REJECT_NOTIONAL: ("max_order_notional",),
}
_RETRYABLE = frozenset((REJECT_NO_MARKET, REJECT_STALE, REJECT_NO_ROOM, REJECT_ORDER_RATE, REJECT_EXIT_WORKING))


def refusal(event: np.void, scopes: Scopes, money: Money) -> RiskCheckError:
    """Return the exception for a refused request.

    Args:
        event: EVENT of kind REQUEST_REFUSED.
        scopes: Of the instance.
        money: Of the account.
    """
    reason = int(event["reason"])
    name = REJECT_REASONS[reason] if reason < len(REJECT_REASONS) else f"reason {reason}"
    index, limit_id, scope = int(event["instrument"]), int(event["limit_id"]), scopes.name(int(event["scope"]))
    instruments = scopes.instruments
    symbol = instruments[index].symbol if index < len(instruments) else ""
    limit_name = LIMIT_NAMES[limit_id] if limit_id < len(LIMIT_NAMES) else ""
    text = _text_of(reason, limit_name)
    where, strategy, order_id = [], f"strategy {int(event['strategy'])}", int(event["order_id"])
    where.append(scope if text.is_limit or "{scope}" in text.what else strategy)
    is_about_order = order_id or bool(event["quantity_lots"])
    if symbol and is_about_order and symbol not in where:
        where.append(symbol)
    if order_id:
        where.append(f"order {order_id}")
    is_measured = text.is_limit or reason == REJECT_NO_LIMIT
    value, limit = _amounts(event, limit_name, money) if text.is_limit else ("", "")
    told = {
        "symbol": symbol or "the instrument", "scope": scope, "limit_name": limit_name, "value": value, "limit": limit,
        "quantity": instruments.quantity_text(index, int(event["quantity_lots"])) if symbol else str(event["quantity_lots"]),
    }  # fmt: skip
    error = RiskCheckError(
        text.what.format_map(told), ", ".join(where), text.remedy.format_map(told), check=name,
        scope=scope if is_measured or "{scope}" in text.what else "", limit_name=limit_name if is_measured else "",
        symbol=symbol if is_about_order else "", order_id=order_id, value=value or None, limit=limit or None,
    )  # fmt: skip
    error.retryable = reason in _RETRYABLE
    return error


def _amounts(event: np.void, limit_name: str, money: Money) -> tuple[str, str]:
    """Write what was found and what is allowed; a limit that these sources do not know as the numbers that they are."""
    found, allowed = int(event["value"]), int(event["limit"])
    if not limit_name:
        return f"{found:,}", f"{allowed:,}"
    return amount_text(limit_name, found, money), limit_text(limit_name, allowed, money)


def _text_of(reason: int, limit_name: str) -> _Text:
    """Return the words of a reason; those about stops are the stops' own."""
    if reason in _LIMIT_OF and limit_name not in _LIMIT_OF[reason]:
        return _OUT_OF_BOUNDS
    found = _TEXTS.get(reason)
    if found is not None:
        return found
    error = stop_refusal(reason, Subject(""))
    return _Text(error.what.replace("{", "{{").replace("}", "}}"), error.remedy)
