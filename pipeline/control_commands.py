"""The commands of the control socket, one function each, and the table that names them and what each takes.

A command that only tells returns its answer. One that asks risk for something is a generator: it yields a step (its request and
what a refusal comes to), gets back the events that answer it, and returns its answer; a refusal, or no answer in time, ends it
before. To add a command, write its function and its row in COMMANDS. Here are those that only tell; control_stops and
control_trading have the others.
"""

from collections.abc import Callable
from typing import NamedTuple

from pipeline import control_stops, control_trading
from pipeline.control_asked import Answer, Asked, Place, Steps
from pipeline.control_lists import account_answer, limit_rows, order_rows, strategy_rows
from pipeline.control_protocol import ControlError
from pipeline.control_tables import position_rows, status, stop_rows
from pipeline.errors import nearest
from pipeline.stop_terms import MOVABLE, StopTerms


def ping(place: Place, _asked: Asked) -> Answer:
    """Say that the supervisor listens."""
    return {"instance": place.owner.launch.name, "pid": place.owner.pids()["supervisor"], "epoch": place.view.segment.epoch}


def tell_status(place: Place, _asked: Asked) -> Answer:
    """Tell how the instance is."""
    return status(place.view, place.owner.launch, place.owner.is_halted) | {"pid": place.owner.pids()["supervisor"]}


def tell_positions(place: Place, asked: Asked) -> Answer:
    """List positions."""
    symbol, strategy = asked.filters(place)
    return {"positions": position_rows(place.view, symbol, strategy)}


def tell_stops(place: Place, asked: Asked) -> Answer:
    """List stops, a page at a time: `after` is the last id of the page before."""
    symbol, strategy = asked.filters(place)
    rows, is_more = stop_rows(place.view, symbol, strategy, asked.count("after") or 0)
    return {"stops": rows, "more": is_more}


def tell_orders(place: Place, asked: Asked) -> Answer:
    """List the orders that are at work."""
    return {"orders": order_rows(place.view, *asked.filters(place))}


def tell_account(place: Place, _asked: Asked) -> Answer:
    """Tell how the account is, and each strategy's share of it."""
    return account_answer(place.view)


def tell_limits(place: Place, asked: Asked) -> Answer:
    """List limits: of one scope, or of the account, every strategy, and what instruments have of their own."""
    is_one = any(value is not None for value in asked.filters(place))
    return {"limits": limit_rows(place.view, asked.scope(place) if is_one else None)}


def tell_strategies(place: Place, _asked: Asked) -> Answer:
    """List the strategies' slots: who holds each, and how it does."""
    return {"strategies": strategy_rows(place.view)}


def note(place: Place, asked: Asked) -> Answer:
    """Note down what a strategy did by itself, and why."""
    text, strategy = asked.needed("text", asked.text("text")), asked.strategy(place)
    asked.needed("strategy", strategy)
    return {"text": text}


class Command(NamedTuple):
    """A row of the table."""

    run: Callable[[Place, Asked], Answer | Steps]
    fields: tuple[str, ...] = ()  #: what it takes beside "command" and "id"
    changes: bool = False  #: whether the supervisor tells people that it was done


_TERMS = tuple(StopTerms.__annotations__)
_SCOPE = ("strategy", "symbol", "reason")
COMMANDS: dict[str, Command] = {
    "ping": Command(ping),
    "status": Command(tell_status),
    "positions": Command(tell_positions, ("symbol", "strategy")),
    "stops": Command(tell_stops, ("symbol", "strategy", "after")),
    "orders": Command(tell_orders, ("symbol", "strategy")),
    "account": Command(tell_account),
    "strategies": Command(tell_strategies),
    "limits": Command(tell_limits, ("symbol", "strategy")),
    "set-stop": Command(control_stops.set_stop, ("symbol", "kind", "strategy", "fire_now", *_TERMS), changes=True),
    "move-stop": Command(control_stops.move_stop, ("stop_id", "fire_now", *MOVABLE), changes=True),
    "cancel-stop": Command(control_stops.cancel_stop, ("stop_id",), changes=True),
    "halt": Command(control_trading.halt, _SCOPE, changes=True),
    "reduce": Command(control_trading.reduce, _SCOPE, changes=True),
    "resume": Command(control_trading.resume, _SCOPE, changes=True),
    "kill": Command(control_trading.kill, (*_SCOPE, "flatten"), changes=True),
    "flatten": Command(control_trading.flatten, _SCOPE, changes=True),
    "cancel": Command(control_trading.cancel, (*_SCOPE, "order_id", "all"), changes=True),
    "set-limit": Command(control_trading.set_limit, ("name", "value", *_SCOPE), changes=True),
    "note": Command(note, ("text", "strategy"), changes=True),
}


def command_of(asked: Asked) -> Command:
    """Return the row of what is asked.

    Raises:
        ControlError: There is no such command, or it takes no such field.
    """
    name = asked.needed("command", asked.text("command"))
    found = COMMANDS.get(name)
    if found is None:
        near = nearest(name, COMMANDS, 1)
        remedy = f"did you mean {near[0]}?" if near else f"use {', '.join(COMMANDS)}"
        raise ControlError(f"unknown command {name[:60]!r}", remedy, "unknown_command", "command")
    for field in asked.fields:
        if field not in ("command", "id", *found.fields):
            near = nearest(field, found.fields, 1)
            remedy = f"did you mean {near[0]}?" if near else f"it takes {', '.join(found.fields) or 'nothing'}"
            raise ControlError(f"{name} takes no {field[:60]!r}", remedy, "unknown_field", field[:60], name)
    return found
