"""From the words and decimals in which people say what a stop shall be, to the integers of one REQUEST.

Strategies (pipeline.client_stops) and people (pipeline.control_commands) come through here. All is checked that needs no
market; risk checks the rest: the position, the side of the market, the room. pipeline.stop_terms has which kind takes what.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import nearest
from pipeline.instruments import Instruments
from pipeline.messages import (
    ATR,
    CANCEL_STOP,
    FIRE_NOW,
    LAST,
    MID,
    MOVE_STOP,
    PRICE_TICKS_LIMIT,
    REQUEST,
    SET_STOP,
    STOP_KIND_NAMES,
    WATCH_NAMES,
)
from pipeline.stop_refusals import Subject
from pipeline.stop_terms import (
    ALL_PPM,
    ALWAYS,
    COLLAR_TICKS_MAX,
    KIND_TERMS,
    MOVABLE,
    NUMBERS,
    StopRules,
    StopTerms,
    check_distance,
    code_of,
    fault,
    listed,
    number_of,
    steps_of,
    watch_step,
)


class StopPlace(NamedTuple):
    """A stop that is there: what a request about it must say."""

    stop_id: int
    instrument: int
    strategy: int
    kind: int
    watch: int


def set_request(
    rules: StopRules, strategy: int, symbol: str, kind: str, terms: Mapping[str, Any], fire_now: bool = False
) -> tuple[np.ndarray, Subject]:
    """Build the request for a new stop.

    Args:
        rules: Of the instance.
        strategy: Slot whose position it guards.
        symbol: An instrument.
        kind: "static", "trailing", "atr", "chandelier", "time" or "take_profit".
        terms: See StopTerms; a term of None is not given.
        fire_now: Whether a stop that is crossed when it is set fires at once instead of being refused.
    Returns:
        REQUEST, shape (1,), and its subject for messages.
    Raises:
        InstrumentError: There is no such symbol.
        InvalidStop: A term is wrong, missing or one too many.
    """
    instrument = rules.instruments.index(symbol)
    subject = Subject("set-stop", symbol, strategy)
    given = {name: value for name, value in terms.items() if value is not None}
    code = code_of(subject, "kind", kind, STOP_KIND_NAMES[1:]) + 1
    one_of, also = KIND_TERMS[code]
    named = f"{'an' if code == ATR else 'a'} {kind} stop"
    _check_names(subject, named, given, (*one_of, *also, *ALWAYS))
    _check_one_of(subject, named, given, one_of)
    if "escalate_after_ms" in given and "limit_offset" not in given:
        raise fault(
            subject, "escalate_after_ms", given["escalate_after_ms"], "has no limit exit to escalate", "give limit_offset"
        )
    watch = code_of(subject, "watch", given.pop("watch", WATCH_NAMES[0]), WATCH_NAMES)
    request = _new(SET_STOP, instrument, strategy, fire_now)
    request["stop_kind"], request["watch"] = code, watch
    _fill(request, rules, subject, given)
    # All of the position is written as 0, so that there is one way to say it.
    if request["fraction_ppm"][0] == ALL_PPM:
        request["fraction_ppm"] = 0
    return request, _deciding(subject, given)


def move_request(
    rules: StopRules, stop: StopPlace, terms: Mapping[str, Any], fire_now: bool = False
) -> tuple[np.ndarray, Subject]:
    """Build the request that gives a stop another price, percent or offset; see `set_request`.

    Args:
        rules: Of the instance.
        stop: The stop.
        terms: One of price, percent, offset.
        fire_now: Whether it fires at once where it is crossed then.
    """
    symbol = rules.instruments[stop.instrument].symbol
    subject = Subject("move-stop", symbol, stop.strategy, stop.stop_id)
    given = {name: value for name, value in terms.items() if value is not None}
    one_of, also = KIND_TERMS[stop.kind]
    named = f"stop {stop.stop_id} ({STOP_KIND_NAMES[stop.kind]})"
    movable = tuple(name for name in MOVABLE if name in one_of or name in also)
    if not movable:
        raise fault(subject, "", "", f"{named} has no distance to move", "cancel it and set another")
    _check_names(subject, f"moving {named}", given, movable)
    if not given:
        raise fault(subject, "", "", f"nothing to move {named} to", f"give {listed(movable, 'or')}")
    _check_one_of(subject, f"moving {named}", given, movable)
    request = _new(MOVE_STOP, stop.instrument, stop.strategy, fire_now)
    request["stop_id"], request["stop_kind"], request["watch"] = stop.stop_id, stop.kind, stop.watch
    _fill(request, rules, subject, given)
    return request, _deciding(subject, given)


def cancel_request(rules: StopRules, stop: StopPlace) -> tuple[np.ndarray, Subject]:
    """Build the request that takes a stop back; see `set_request`."""
    request = _new(CANCEL_STOP, stop.instrument, stop.strategy, False)
    request["stop_id"], request["stop_kind"], request["watch"] = stop.stop_id, stop.kind, stop.watch
    return request, Subject("cancel-stop", rules.instruments[stop.instrument].symbol, stop.strategy, stop.stop_id)


def market_text(instruments: Instruments, request: np.ndarray, marks: np.ndarray) -> str:
    """Write the present prices of a request's instrument for a message, such as "bid 99.98, ask 100.02"; empty = none known.

    Args:
        instruments: The table.
        request: REQUEST, shape (1,).
        marks: MARK of every instrument.
    """
    instrument = int(request["instrument"][0])
    names = ("last",) if request["watch"][0] == LAST else ("bid", "ask")
    prices = {name: int(marks[instrument][f"{name}_ticks"]) for name in names}
    return ", ".join(f"{name} {instruments.price_text(instrument, price)}" for name, price in prices.items() if price)


def _new(kind: int, instrument: int, strategy: int, fire_now: bool) -> np.ndarray:
    request = np.zeros(1, REQUEST)
    request["kind"], request["instrument"], request["strategy"] = kind, instrument, strategy
    request["flags"] = FIRE_NOW if fire_now else 0
    return request


def _fill(request: np.ndarray, rules: StopRules, subject: Subject, given: Mapping[str, Any]) -> None:
    """Write each given term into its field."""
    instrument, watch = int(request["instrument"][0]), int(request["watch"][0])
    step, tick = watch_step(rules.instruments, instrument, watch), rules.instruments[instrument].tick_size
    units_limit = PRICE_TICKS_LIMIT * (2 if watch == MID else 1)
    for name, value in given.items():
        if name == "price":
            request["price_ticks"] = steps_of(subject, name, value, step, units_limit)
        elif name == "offset":
            request["offset_ticks"] = steps_of(subject, name, value, step, units_limit)
        elif name == "limit_offset":
            request["limit_ticks"] = steps_of(subject, name, value, tick, COLLAR_TICKS_MAX + 1)
        else:
            if name == "percent":
                check_distance(rules, subject, value)
            request[NUMBERS[name].field] = number_of(subject, name, value)


def _check_names(subject: Subject, named: str, given: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for name in given:
        if name not in allowed:
            known = name in StopTerms.__annotations__
            near = [] if known else nearest(name, allowed, 1)
            remedy = f"did you mean {near[0]}?" if near else f"leave it out; there may be {listed(allowed, 'and')}"
            raise fault(subject, name, given[name], f"does not belong to {named}" if known else "is no term of a stop", remedy)


def _check_one_of(subject: Subject, named: str, given: Mapping[str, Any], one_of: Sequence[str]) -> None:
    found = [name for name in one_of if name in given]
    if one_of and len(found) != 1:
        what = f"{named} takes one of {listed(one_of, 'and')}, not both" if found else f"{named} needs {listed(one_of, 'or')}"
        raise fault(subject, "", "", what, f"give {'only one of them' if found else 'it'}")


def _deciding(subject: Subject, given: Mapping[str, Any]) -> Subject:
    """Return the subject with the term on which risk's answer hangs."""
    name = next((name for name in ("price", "offset", "percent", "atr_multiplier") if name in given), "")
    return subject._replace(field=name, value=str(given[name])) if name else subject
