"""The commands of the control socket, one function each, and the table that names them and what each takes.

A command that only tells returns its answer. One that asks risk for something is a generator: it yields a request with its
subject, gets back the events that answer it, and returns its answer; a refusal, or no answer in time, ends it before that.
To add a command, write its function and its row in COMMANDS.
"""

from collections.abc import Callable, Generator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import numpy as np

from pipeline.control_protocol import ControlError
from pipeline.control_tables import position_rows, status, stop_rows
from pipeline.errors import nearest, one_line
from pipeline.launch import Launch
from pipeline.messages import REJECT_NO_POSITION, REJECT_NO_STOP, STOP_KIND_NAMES, WATCH_NAMES
from pipeline.stop_lookup import find_stop
from pipeline.stop_refusals import NoPosition, Subject, refusal
from pipeline.stop_request import StopPlace, cancel_request, move_request, set_request
from pipeline.stop_terms import MOVABLE, StopRules, StopTerms, watch_text
from pipeline.view import View

Answer = dict[str, Any]
#: What a generator asks of risk: the request and its subject; and what it is sent: the events that answer it.
Steps = Generator[tuple[np.ndarray, Subject], np.ndarray, Answer]


class Owner(Protocol):
    """What commands may ask of the supervisor."""

    launch: Launch
    tell: Callable[[str], None]
    is_halted: bool

    def pids(self) -> dict[str, int]:
        """Return the pids of all processes that are up."""


class Place(NamedTuple):
    """What a command works on."""

    view: View
    rules: StopRules
    owner: Owner


class Asked:
    """The fields of one question, each read with its type.

    Args:
        fields: The JSON object.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields

    @property
    def command(self) -> str:
        """The name of the command."""
        return self.text("command") or ""

    def text(self, name: str) -> str | None:
        """Return a text, None where it is not given."""
        return self._typed(name, str, "a text")

    def count(self, name: str) -> int | None:
        """Return a whole number from 0 on, None where it is not given."""
        value = self._typed(name, int, "a whole number")
        if value is not None and not 0 <= value < 1 << 62:
            raise self.fault(name, "is out of bounds", "give a whole number from 0 on")
        return value

    def switch(self, name: str) -> bool:
        """Return true or false; false where it is not given."""
        return bool(self._typed(name, bool, "true or false"))

    def terms(self) -> dict[str, Any]:
        """Return the terms of a stop that are given."""
        found = {name: self.fields[name] for name in StopTerms.__annotations__ if self.fields.get(name) is not None}
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
                raise self.fault(name, "is neither a text nor a number", 'write it as in "1.5"')
        return found

    def needed(self, name: str, value: Any) -> Any:
        """Return a value that must be given."""
        if value is None:
            raise ControlError(f"{name} is missing", f"give {name}", "missing", name, self.command)
        return value

    def fault(self, name: str, what: str, remedy: str) -> ControlError:
        """Return the error of one field."""
        shown = one_line(repr(self.fields.get(name)))
        return ControlError(
            f"{name} {shown[:60]} {what}", remedy, "bad_value", name, str(self.fields.get("command", "control"))
        )

    def _typed(self, name: str, kind: type, words: str) -> Any:
        value = self.fields.get(name)
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        raise self.fault(name, f"is not {words}", f"give {words}")


def ping(place: Place, _asked: Asked) -> Answer:
    """Say that the supervisor listens."""
    return {"instance": place.owner.launch.name, "pid": place.owner.pids()["supervisor"], "epoch": place.view.segment.epoch}


def tell_status(place: Place, _asked: Asked) -> Answer:
    """Tell how the instance is."""
    return status(place.view, place.owner.launch, place.owner.is_halted) | {"pid": place.owner.pids()["supervisor"]}


def tell_positions(place: Place, asked: Asked) -> Answer:
    """List positions."""
    symbol, strategy = _filters(place, asked)
    return {"positions": position_rows(place.view, symbol, strategy)}


def tell_stops(place: Place, asked: Asked) -> Answer:
    """List stops, a page at a time: `after` is the last id of the page before."""
    symbol, strategy = _filters(place, asked)
    rows, is_more = stop_rows(place.view, symbol, strategy, asked.count("after") or 0)
    return {"stops": rows, "more": is_more}


def set_stop(place: Place, asked: Asked) -> Steps:
    """Add a stop to a position."""
    symbol = asked.needed("symbol", asked.text("symbol"))
    kind = asked.needed("kind", asked.text("kind"))
    strategy = _strategy(place, asked)
    if strategy is None:
        strategy = _holder(place, symbol)
    request, subject = set_request(place.rules, strategy, symbol, kind, asked.terms(), asked.switch("fire_now"))
    events = yield request, subject
    return _told(place, events, "set")


def move_stop(place: Place, asked: Asked) -> Steps:
    """Give a stop another price, percent or offset."""
    stop = _stop(place, asked)
    events = yield move_request(place.rules, stop, asked.terms(), asked.switch("fire_now"))
    return _told(place, events, "moved")


def cancel_stop(place: Place, asked: Asked) -> Steps:
    """Take a stop back."""
    events = yield cancel_request(place.rules, _stop(place, asked))
    return _told(place, events, "cancelled")


class Command(NamedTuple):
    """A row of the table."""

    run: Callable[[Place, Asked], Answer | Steps]
    fields: tuple[str, ...] = ()  #: what it takes beside "command" and "id"
    changes: bool = False  #: whether the supervisor tells people that it was done


_TERMS = tuple(StopTerms.__annotations__)
COMMANDS: dict[str, Command] = {
    "ping": Command(ping),
    "status": Command(tell_status),
    "positions": Command(tell_positions, ("symbol", "strategy")),
    "stops": Command(tell_stops, ("symbol", "strategy", "after")),
    "set-stop": Command(set_stop, ("symbol", "kind", "strategy", "fire_now", *_TERMS), changes=True),
    "move-stop": Command(move_stop, ("stop_id", "fire_now", *MOVABLE), changes=True),
    "cancel-stop": Command(cancel_stop, ("stop_id",), changes=True),
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


def _filters(place: Place, asked: Asked) -> tuple[str | None, int | None]:
    """Return the symbol and the strategy that a list is to be of."""
    symbol = asked.text("symbol")
    if symbol is not None:
        place.rules.instruments.index(symbol)
    return symbol, _strategy(place, asked)


def _strategy(place: Place, asked: Asked) -> int | None:
    strategy, count = asked.count("strategy"), place.view.sizes.strategies
    if strategy is not None and strategy >= count:
        raise asked.fault("strategy", "is no strategy slot", f"give 0 to {count - 1}")
    return strategy


def _holder(place: Place, symbol: str) -> int:
    """Return the one strategy that holds a position in a symbol.

    Raises:
        NoPosition: None does.
        ControlError: More than one does.
    """
    instrument = place.rules.instruments.index(symbol)
    rows = place.view.positions()
    holders = np.unique(rows["strategy"][(rows["instrument"] == instrument) & (rows["quantity_lots"] != 0)]).tolist()
    if len(holders) == 1:
        return int(holders[0])
    if not holders:
        what, remedy = f"no strategy holds a position in {symbol}", "open one first: a stop guards a position that is there"
        raise NoPosition(what, remedy, REJECT_NO_POSITION, Subject("set-stop", symbol))
    listed = ", ".join(map(str, holders))
    raise ControlError(
        f"strategies {listed} hold positions in {symbol}", "give strategy: which one", "ambiguous", "strategy", "set-stop"
    )


def _stop(place: Place, asked: Asked) -> StopPlace:
    """Return the stop that the question names."""
    stop_id = asked.needed("stop_id", asked.count("stop_id"))
    stop = find_stop(place.view.stops(), stop_id, len(place.rules.instruments))
    if stop is None:
        raise refusal(REJECT_NO_STOP, Subject(asked.command, stop_id=stop_id))
    return stop


def _told(place: Place, events: np.ndarray, done: str) -> Answer:
    """Return the answer to a change, as risk's event tells it."""
    event, instruments = events[0], place.rules.instruments
    index, watch = int(event["instrument"]), int(event["watch"])
    symbol, stop_id, strategy = instruments[index].symbol, int(event["stop_id"]), int(event["strategy"])
    kind, level = STOP_KIND_NAMES[event["stop_kind"]], watch_text(instruments, index, watch, int(event["level_ticks"]))
    text = f"stop {stop_id} {done}: {kind} on {symbol} of strategy {strategy}"
    text += f", level {level}" if level and done != "cancelled" else ""
    return {
        "stop_id": stop_id,
        "symbol": symbol,
        "strategy": strategy,
        "kind": kind,
        "watch": WATCH_NAMES[watch],
        "level": level,
        "text": text,
    }
