"""The commands of the control socket that stop and resume trading, change limits, and take orders back.

What the supervisor orders by itself (the kill switch of a signal, the orders of a strategy that died) takes the same steps.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from pipeline.control_asked import Asked, Place, Step, Steps
from pipeline.control_protocol import ControlError
from pipeline.errors import ConfigurationError, RiskCheckError, StoplineError
from pipeline.limit_values import INSTRUMENT_LIMITS, LIMIT_FORMS, limit_id, limit_text, limit_word, parse_limit
from pipeline.messages import (
    ACTIVE,
    EXIT,
    HALTED,
    KILLED,
    REDUCING,
    REJECT_REASONS,
    REJECT_UNKNOWN_ORDER,
    TRADING_STATES,
)
from pipeline.order_refusals import refusal
from pipeline.topology import ACCOUNT
from pipeline.trading_request import (
    cancel_all_request,
    cancel_order_request,
    flatten_request,
    limit_request,
    state_request,
)

#: Scopes that are named one by one in an answer.
NAMED_MAX = 4
#: What each state means, for people.
_MEANS: Mapping[int, str] = {
    REDUCING: "only what makes a position smaller leaves",
    HALTED: "only exits of stops leave",
    KILLED: "working orders are being cancelled, and nothing new leaves",
}


def halt(place: Place, asked: Asked) -> Steps:
    """Let only exits of stops leave."""
    return _change_state(place, asked, HALTED)


def reduce(place: Place, asked: Asked) -> Steps:
    """Let only what makes a position smaller leave."""
    return _change_state(place, asked, REDUCING)


def kill(place: Place, asked: Asked) -> Steps:
    """Take every working order back and let nothing new leave; with flatten leave the positions as well."""
    return _change_state(place, asked, KILLED, asked.switch("flatten"))


def resume(place: Place, asked: Asked) -> Steps:
    """Let trading go on. A person must say why."""
    if not asked.reason():
        raise ControlError("reason is missing", "say why trading may go on, for the record", "missing", "reason", "resume")
    return _change_state(place, asked, ACTIVE)


def flatten(place: Place, asked: Asked) -> Steps:
    """Take a scope's working orders back and leave its positions, without another trading state."""
    scope, reason = asked.scope(place), asked.reason()
    name = place.scopes.name(scope)
    request = flatten_request(scope, place.scopes.strategy_of(scope) or 0)
    events = yield _step(place, request, f"flatten {name}", reason)
    count = int(events[0]["value"])
    done = f"{_counted(count, 'position')} of {name} {'is' if count == 1 else 'are'} being left"
    return {"scope": name, "positions": count, "text": f"{done}{_because(reason)}"}


def cancel(place: Place, asked: Asked) -> Steps:
    """Take back one working order by its id, or all of a scope."""
    order_id, everything, reason = asked.count("order_id"), asked.switch("all"), asked.reason()
    symbol, strategy = asked.filters(place)
    has_scope = symbol is not None or strategy is not None
    if order_id is not None:
        if has_scope or everything:
            what = "an order's id and a scope are two things"
            raise ControlError(what, "give one of them", "ambiguous", "order_id", "cancel")
        return _cancel_one(place, order_id, reason)
    if everything == has_scope:
        what = "which orders is not said" if not everything else "all and a scope are two things"
        raise ControlError(what, "give an order's id, or strategy, or symbol, or all", "missing", "order_id", "cancel")
    return cancel_scope(place, asked.scope(place), reason)


def cancel_scope(place: Place, scope: int, reason: str, because: str = "") -> Steps:
    """Take back all working orders of a scope.

    Args:
        place: The instance.
        scope: Whose.
        reason: Why, for the record.
        because: What the line for people begins with, where it is not a person who asks.
    """
    name = place.scopes.name(scope)
    request = cancel_all_request(scope, place.scopes.strategy_of(scope) or 0)
    events = yield _step(place, request, f"cancel all orders of {name}", reason)
    count = int(events[0]["value"])
    done = f"{_counted(count, 'working order')} of {name} {'is' if count == 1 else 'are'} being cancelled"
    if because:
        mine = f"its {_counted(count, 'working order')} {'is' if count == 1 else 'are'} being cancelled"
        done = f"{because}: {mine if count else 'it has no working orders'}; its positions keep their stops"
    return {"scope": name, "orders": count, "text": done + ("" if because else _because(reason))}


def kill_switch(place: Place, reason: str) -> Steps:
    """Kill the account for the supervisor.

    Args:
        place: The instance.
        reason: What pulled the switch.
    """
    yield _step(place, state_request(ACCOUNT, KILLED), "kill account", reason)
    return {"text": f"ALERT account is KILLED: {_MEANS[KILLED]}; tools/ctl.py resume --reason TEXT lets it go on ({reason})"}


def set_limit(place: Place, asked: Asked) -> Steps:
    """Change one limit, validated as the file's."""
    name = asked.needed("name", asked.text("name"))
    text = asked.needed("value", asked.number_text("value"))
    scope, reason, money = asked.scope(place), asked.reason(), place.view.units
    place_of = limit_id(name, "set-limit")
    whose = place.scopes.name(scope)
    if scope > place.view.sizes.book_count and name not in INSTRUMENT_LIMITS:
        what, remedy = f"{name} is no limit of an instrument", f"choose from {', '.join(INSTRUMENT_LIMITS)}"
        raise ConfigurationError(what, "set-limit", remedy)
    value = parse_limit(name, text, money, "set-limit")
    request = limit_request(scope, place_of, value, place.scopes.strategy_of(scope) or 0)
    events = yield _step(place, request, f"set {name} of {whose} to {limit_word(name, value, money)}", reason)
    before = int(events[0]["value"])
    done = f"{name} of {whose} is {limit_text(name, value, money)} now, it was {limit_text(name, before, money)}"
    return {
        "scope": whose,
        "name": name,
        "title": LIMIT_FORMS[name].title,
        "value": limit_word(name, value, money),
        "before": limit_word(name, before, money),
        "text": f"{done}{_because(reason)}",
    }


# ── How it is done ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _change_state(place: Place, asked: Asked, state: int, flattens: bool = False) -> Steps:
    scope, reason = asked.scope(place), asked.reason()
    name, word = place.scopes.name(scope), TRADING_STATES[state]
    request = state_request(scope, state, place.scopes.strategy_of(scope) or 0, flattens)
    verb = {ACTIVE: "resume", REDUCING: "reduce", HALTED: "halt", KILLED: "kill"}[state]
    yield _step(place, request, f"{verb} {name}{' and flatten' if flattens else ''}", reason)
    if state == ACTIVE:
        text = f"{name} is ACTIVE again{_still_strict(place, scope)}"
    else:
        text = f"{name} is {word.upper()}: {_MEANS[state]}" + ("; its positions are being left" if flattens else "")
    return {"scope": name, "state": word, "flatten": flattens, "reason": reason, "text": f"{text}{_because(reason)}"}


def _still_strict(place: Place, resumed: int) -> str:
    """Say what else keeps a scope that was resumed from trading."""
    account = place.view.account()
    others = [scope for number, scope in enumerate(account.scopes) if scope.state != ACTIVE and number != resumed]
    if resumed != ACCOUNT:
        # What else is strict matters to this scope where it is the account; an instrument may be any strategy's.
        others = [scope for scope in others if scope is account.account]
    listed = ", ".join(f"{scope.name} is {TRADING_STATES[scope.state].upper()}" for scope in others[:NAMED_MAX])
    more = f" and {len(others) - NAMED_MAX} more are not ACTIVE" if len(others) > NAMED_MAX else ""
    blocked = "" if place.view.entries_allowed else "; entries stay blocked: the run is stopping, or was halted"
    return (f"; but {listed}{more}" if others else "") + blocked


def _cancel_one(place: Place, order_id: int, reason: str) -> Steps:
    orders = place.view.working_orders()
    found = np.flatnonzero(orders["order_id"] == order_id)
    if len(found) == 0:
        raise RiskCheckError(
            f"no order {order_id} is working", "cancel", "list the orders: it may have filled or ended meanwhile",
            check=REJECT_REASONS[REJECT_UNKNOWN_ORDER], order_id=order_id,
        )  # fmt: skip
    order = orders[found[0]]
    strategy, instrument = divmod(int(order["position"]), len(place.rules.instruments))
    symbol = place.rules.instruments[instrument].symbol
    if order["flags"] & EXIT:
        what = f"order {order_id} is the exit of stop {int(order['stop_id'])}, and would be sent again"
        raise ControlError(what, f"let it fill, or kill {symbol} to keep its exits back", "exit_order", "order_id", "cancel")
    request = cancel_order_request(order_id, strategy, instrument)
    request["scope"] = place.scopes.of(strategy)
    yield _step(place, request, f"cancel order {order_id} of strategy {strategy} in {symbol}", reason)
    text = f"order {order_id} of strategy {strategy} in {symbol} is being cancelled"
    return {"order_id": order_id, "strategy": strategy, "symbol": symbol, "orders": 1, "text": f"{text}{_because(reason)}"}


def _step(place: Place, request: np.ndarray, where: str, reason: str) -> Step:
    return Step(request, where, partial(_refused, place, where), f"{where}: {reason}" if reason else where)


def _refused(place: Place, where: str, event: np.void) -> StoplineError:
    """Return what a refusal of risk comes to, said of the command."""
    error = refusal(event, place.scopes, place.view.units)
    error.where = where
    return error


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}" if count else f"no {what}s"
