"""Trading states: how the account, a strategy or an instrument becomes ACTIVE, REDUCING, HALTED or KILLED, and who may do it.

A person may change any state to any other, a strategy may only tighten its own (risk.scope_requests), and so may the breaker.
Only the breaker's own cooldown loosens by itself, and only what the breaker found ACTIVE and nobody changed since.
"""

import numpy as np

from pipeline.messages import ACTIVE, BY_DAILY_LOSS, BY_REJECTS, STATE_CHANGED
from pipeline.risk.account import profit_of, scope_word, set_scope_word
from pipeline.risk.breaker import LASTING, is_broken
from pipeline.risk.event_pen import new_event, pen_of
from pipeline.tables import (
    SCOPE_CANCELS,
    SCOPE_COOLDOWN_NS,
    SCOPE_EXECUTIONS,
    SCOPE_FORGIVEN,
    SCOPE_LOSSES,
    SCOPE_ORDERS,
    SCOPE_REASON,
    SCOPE_REJECTS,
    SCOPE_SINCE_NS,
    SCOPE_STATE,
    SCOPE_WINDOW_NS,
)
from pipeline.topology import RISK_COUNTERS, RISK_NOW_NS
from shm.counters import stage_add
from shm.jit import njit, njit_inline, njit_inner

STATES_CHANGED = RISK_COUNTERS.index("states_changed")
BREAKER_TRIPS = RISK_COUNTERS.index("breaker_trips")


@njit_inline
def is_by_breaker(reason):
    """Tell whether a BY_* reason is a trip of the breaker."""
    return BY_DAILY_LOSS <= reason <= BY_REJECTS


@njit
def change_state(review, scope, new_state, reason, value, limit):
    """Stage a scope's new trading state and the event that tells of it. The caller commits, then wakes the readers of events.

    It decides nothing: who may change what is the caller's to know. Call it once for a scope in one transaction.

    Args:
        review: Review, or RiskState.
        scope: Whose state.
        new_state: ACTIVE, REDUCING, HALTED, KILLED.
        reason: BY_*.
        value: Of a trip: what was found; else 0.
        limit: Of a trip: what is allowed; else 0.
    Returns:
        Slot of the event, for what only the caller knows: request_id, requester.
    """
    now_ns = review.words[RISK_NOW_NS]
    cooldown_ns = np.int64(0)
    if is_by_breaker(reason):
        stage_add(review.transaction, review.counters, BREAKER_TRIPS, 1)
        may_resume = review.limits.auto_resumes and review.limits.cooldown_ns > 0
        if may_resume and scope_word(review, scope, SCOPE_STATE) == ACTIVE:
            cooldown_ns = now_ns + review.limits.cooldown_ns
    set_scope_word(review, scope, SCOPE_STATE, new_state)
    if new_state > ACTIVE:
        # An order that rests could still open a position.
        set_scope_word(review, scope, SCOPE_CANCELS, 1)
    set_scope_word(review, scope, SCOPE_REASON, reason)
    set_scope_word(review, scope, SCOPE_SINCE_NS, now_ns)
    set_scope_word(review, scope, SCOPE_COOLDOWN_NS, cooldown_ns)
    stage_add(review.transaction, review.counters, STATES_CHANGED, 1)
    slot = new_event(pen_of(review), STATE_CHANGED)
    event = review.events.ring.slots[slot]
    event["scope"], event["state"], event["reason"] = scope, new_state, reason
    event["value"], event["limit"] = value, limit
    first_instrument = 1 + review.scopes.books
    if scope >= first_instrument:
        event["instrument"] = scope - first_instrument
    elif scope > 0:
        event["strategy"] = scope - 1
    return slot


@njit
def forgive(review, scope):
    """Stage that a person lets pass what is broken now, and that counters start anew. Call it before change_state to ACTIVE.

    A limit that is broken now trips no more until its day or week ends, or P&L reaches a new peak; losses in a row, executions
    and rejects count from 0.

    Args:
        review: Review, or RiskState.
        scope: Whose.
    """
    profit = profit_of(review, review.marks, review.held, scope)
    forgiven = scope_word(review, scope, SCOPE_FORGIVEN)
    for reason in LASTING:
        if is_broken(review, scope, reason, profit):
            forgiven |= 1 << reason
    set_scope_word(review, scope, SCOPE_FORGIVEN, forgiven)
    set_scope_word(review, scope, SCOPE_EXECUTIONS, 0)
    start_anew(review, scope)


@njit_inner
def start_anew(review, scope):
    """Stage that losses in a row and rejects count from 0."""
    set_scope_word(review, scope, SCOPE_LOSSES, 0)
    set_scope_word(review, scope, SCOPE_WINDOW_NS, 0)
    set_scope_word(review, scope, SCOPE_ORDERS, 0)
    set_scope_word(review, scope, SCOPE_REJECTS, 0)
