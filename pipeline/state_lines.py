"""Changes of trading states that no command asked for, as lines for people: breakers, strategies, cooldowns that are over."""

from collections.abc import Iterator

import numpy as np

from pipeline.account_view import BREAKER_LIMITS
from pipeline.limit_values import amount_text, limit_text
from pipeline.messages import (
    ACTIVE,
    BY_COOLDOWN,
    BY_STRATEGY,
    STATE_CHANGED,
    STATE_REASONS,
    TRADING_STATES,
)
from pipeline.money import Money
from pipeline.scopes import Scopes


def state_lines(events: np.ndarray, scopes: Scopes, money: Money, control: int) -> Iterator[str]:
    """Yield a line for each change of a trading state that the control socket did not ask for.

    Args:
        events: EVENT.
        scopes: Of the instance.
        money: Of the account.
        control: EVENT "requester" of the control socket.
    """
    for event in events[events["kind"] == STATE_CHANGED]:
        if event["request_id"] and event["requester"] == control:
            continue
        yield state_line(event, scopes, money)


def state_line(event: np.void, scopes: Scopes, money: Money) -> str:
    """Return the line for one STATE_CHANGED: "ALERT account is REDUCING: daily loss of 2,612.50 USD, the limit is ..."."""
    name, state, reason = scopes.name(int(event["scope"])), int(event["state"]), int(event["reason"])
    word = TRADING_STATES[state].upper() if state < len(TRADING_STATES) else f"state {state}"
    if state == ACTIVE:
        return f"{name} is ACTIVE again" + (": the breaker's cooldown is over" if reason == BY_COOLDOWN else "")
    if reason == BY_STRATEGY:
        return f"ALERT {name} is {word}, by strategy {int(event['requester'])}"
    if reason in BREAKER_LIMITS:
        limit = BREAKER_LIMITS[reason]
        found, allowed = amount_text(limit, int(event["value"]), money), limit_text(limit, int(event["limit"]), money)
        title = STATE_REASONS[reason].replace("_", " ")
        return f"ALERT {name} is {word}: {title} of {found}, the limit is {allowed}"
    return f"ALERT {name} is {word}"
