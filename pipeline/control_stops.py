"""The commands of the control socket that set, move and cancel stops."""

from functools import partial
from typing import Any

import numpy as np

from pipeline.control_asked import Answer, Asked, Place, Step, Steps
from pipeline.control_protocol import ControlError
from pipeline.errors import StoplineError
from pipeline.messages import REJECT_NO_POSITION, REJECT_NO_STOP, REJECT_STOP_CROSSED, STOP_KIND_NAMES, WATCH_NAMES
from pipeline.stop_lookup import find_stop
from pipeline.stop_refusals import NoPosition, Subject, refusal
from pipeline.stop_request import StopPlace, cancel_request, market_text, move_request, set_request
from pipeline.stop_terms import watch_text
from pipeline.topology import scope_of_strategy


def set_stop(place: Place, asked: Asked) -> Steps:
    """Add a stop to a position."""
    symbol = asked.needed("symbol", asked.text("symbol"))
    kind = asked.needed("kind", asked.text("kind"))
    strategy = asked.strategy(place)
    if strategy is None:
        strategy = _holder(place, symbol)
    terms = asked.terms()
    request, subject = set_request(place.rules, strategy, symbol, kind, terms, asked.switch("fire_now"))
    events = yield _step(place, request, subject, {"kind": kind} | terms)
    return _told(place, events, "set")


def move_stop(place: Place, asked: Asked) -> Steps:
    """Give a stop another price, percent or offset."""
    stop, terms = _stop(place, asked), asked.terms()
    request, subject = move_request(place.rules, stop, terms, asked.switch("fire_now"))
    events = yield _step(place, request, subject, terms)
    return _told(place, events, "moved")


def cancel_stop(place: Place, asked: Asked) -> Steps:
    """Take a stop back."""
    request, subject = cancel_request(place.rules, _stop(place, asked))
    events = yield _step(place, request, subject, {})
    return _told(place, events, "cancelled")


def _step(place: Place, request: np.ndarray, subject: Subject, terms: dict[str, Any]) -> Step:
    request["scope"] = scope_of_strategy(subject.strategy)
    listed = ", ".join(f"{name} {value}" for name, value in terms.items())
    note = f"{subject.where} of strategy {subject.strategy}" + (f": {listed}" if listed else "")
    return Step(request, subject.where, partial(_refused, place, request, subject), note)


def _refused(place: Place, request: np.ndarray, subject: Subject, event: np.void) -> StoplineError:
    """Return what a refusal of risk comes to; who is refused for the wrong side sees the market."""
    if event["reason"] == REJECT_STOP_CROSSED:
        subject = subject._replace(limit=market_text(place.rules.instruments, request, place.view.marks()))
    return refusal(int(event["reason"]), subject)


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
