"""Events in one line each, for the status screen: what fired, which trading state or limit changed, and why."""

import time
from collections.abc import Sequence

import numpy as np
from rich.text import Text

from pipeline.account_view import BREAKER_LIMITS
from pipeline.limit_values import LIMIT_FORMS, amount_text, limit_text
from pipeline.messages import (
    LIMIT_CHANGED,
    STATE_CHANGED,
    STATE_REASONS,
    STOP_KIND_NAMES,
    STOP_TRIGGERED,
    TAKE_PROFIT,
    TRADING_STATES,
    TRIGGER_REASONS,
)
from pipeline.scopes import Scopes
from pipeline.tables import LIMIT_NAMES
from pipeline.view import View

#: How each trading state is shown, by its code.
STATE_STYLES = ("black on green", "black on yellow", "bold white on red", "bold white on magenta")
#: Kinds of events that have a line.
SHOWN = (STOP_TRIGGERED, STATE_CHANGED, LIMIT_CHANGED)


def event_line(view: View, event: np.void) -> Text:
    """Return one line about an EVENT of a kind in SHOWN, with its stream time."""
    seconds, nanoseconds = divmod(int(event["event_ns"]), 1_000_000_000)
    line = Text(time.strftime("%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds // 1_000_000:03d}  ")
    if event["kind"] == STOP_TRIGGERED:
        return line.append_text(_stop_fired(view, event))
    name = Scopes(view.sizes, view.instruments).name(int(event["scope"]))
    line.append(f"{name:<9}", "bold")
    return line.append_text(_state_changed(view, event) if event["kind"] == STATE_CHANGED else _limit_changed(view, event))


def asked_for(event: np.void, control: int) -> bool:
    """Tell whether an EVENT is no change of a trading state, or one that a command asked for, which nobody tells of otherwise.

    Args:
        event: EVENT.
        control: its "requester" of the control socket.
    """
    return bool(event["kind"] != STATE_CHANGED or (event["request_id"] and event["requester"] == control))


def state_badge(state: int, reason: int) -> Text:
    """Return a trading state in its colour, and why where it is not active."""
    badge = _state(state)
    return badge.append(f" {_words(_name(STATE_REASONS, reason))}") if state and reason else badge


def _stop_fired(view: View, event: np.void) -> Text:
    instruments, index = view.instruments, int(event["instrument"])
    side = "long" if event["side"] > 0 else "short"
    price, level = (instruments.watched_text(index, event[name], event["watch"]) for name in ("price_ticks", "level_ticks"))
    cause = f"level {level}" if event["level_ticks"] else TRIGGER_REASONS[event["reason"]]
    kind = STOP_KIND_NAMES[event["stop_kind"]].replace("_", "-")
    line = Text()
    line.append(f"{instruments[index].symbol:<9}", "bold")
    line.append(f"{kind} fired" if event["stop_kind"] == TAKE_PROFIT else f"{kind} stop fired", "bold red")
    return line.append(f" at {price} ({cause}), {side} {instruments.quantity_text(index, event['quantity_lots'])}")


def _state_changed(view: View, event: np.void) -> Text:
    reason = int(event["reason"])
    line = Text.assemble(_state(event["state"]), f" {_words(_name(STATE_REASONS, reason))}")
    limit = BREAKER_LIMITS.get(reason)
    if limit is not None:
        found, allowed = amount_text(limit, event["value"], view.units), limit_text(limit, event["limit"], view.units)
        line.append(f": {found} against a limit of {allowed}")
    return line


def _limit_changed(view: View, event: np.void) -> Text:
    name = _name(LIMIT_NAMES, event["limit_id"])
    if name not in LIMIT_FORMS:
        return Text(f"limit {name} changed")
    before, now = (limit_text(name, int(event[field]), view.units) for field in ("value", "limit"))
    return Text.assemble("limit ", (LIMIT_FORMS[name].title, "bold"), f" from {before} to {now}")


def _state(state: int) -> Text:
    """Return the name of a trading state in its colour; one that is not known is shown as the strictest."""
    # As a span: what is appended to it is to have no colour.
    return Text.assemble((f" {_name(TRADING_STATES, state).upper()} ", STATE_STYLES[min(int(state), len(STATE_STYLES) - 1)]))


def _name(names: Sequence[str], code: int) -> str:
    """Return a code's name; a screen must not end for a code that it does not know."""
    return names[code] if 0 <= code < len(names) else f"unknown ({code})"


def _words(name: str) -> str:
    return name.replace("_", " ")
