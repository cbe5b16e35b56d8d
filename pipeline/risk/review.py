"""The review: at each multiple of `review_ns` of stream time the breaker looks at the account and at every strategy.

Days and weeks end, peaks rise, what is broken trips, and what has cooled down may go on. The first tick or timer at or past the
time brings it, before that tick moves any mark, so that a restart that repeats the tick sees the same. What changes for one
scope changes in one transaction, and doing it again changes nothing: a death between two leaves nothing half done.
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import ACTIVE, BY_COOLDOWN, BY_DAILY_LOSS, BY_DRAWDOWN, BY_TRADES, BY_WEEKLY_LOSS
from pipeline.risk.account import closed_profit, open_profit, scope_word, set_scope_word
from pipeline.risk.amounts import bounded
from pipeline.risk.breaker import first_broken, has_lasting, limit_of, measure
from pipeline.risk.held import Held
from pipeline.risk.limits import Limits
from pipeline.risk.scopes import Scopes
from pipeline.risk.trading_states import change_state, is_by_breaker, start_anew
from pipeline.tables import (
    SCOPE_COOLDOWN_NS,
    SCOPE_DAY_END_NS,
    SCOPE_DAY_PNL,
    SCOPE_FORGIVEN,
    SCOPE_PEAK,
    SCOPE_REASON,
    SCOPE_STATE,
    SCOPE_TRADES,
    SCOPE_WEEK_END_NS,
    SCOPE_WEEK_PNL,
)
from pipeline.topology import ACCOUNT, RISK_COUNTERS, RISK_NOW_NS, RISK_REVIEW_NS
from shm.counters import Counters, stage_add
from shm.jit import njit, njit_inline, njit_inner, njit_merged
from shm.ring import Producer, room, wake
from shm.rows import Table
from shm.transaction import Transaction, commit, stage

REVIEWS = RISK_COUNTERS.index("reviews")
DAY_NS = 86_400_000_000_000
WEEK_NS = 7 * DAY_NS
#: The first Monday of the epoch, which began on a Thursday.
MONDAY_NS = 4 * DAY_NS
#: Scopes that one transaction changes at most, each by up to 16 words and one event.
SCOPES_AT_ONCE = 16


class Review(NamedTuple):
    """What a review touches; a superset of Account. The fields have the names of RiskState's."""

    transaction: Transaction
    scopes: Scopes
    positions: Table
    limit_rows: Table  #: LIMITS by scope
    limits: Limits
    words: np.ndarray  #: topology.RISK_* words
    words_base: int
    events: Producer
    counters: Counters
    marks: np.ndarray  #: MARK per instrument
    held: Held
    profits: np.ndarray  #: int64, private: P&L of the account and of each strategy, filled by the walk


@njit_merged
def review_of(state):
    """Return the part of RiskState that a review, and a change of a trading state, touches."""
    return Review(
        state.transaction,
        state.scopes,
        state.positions,
        state.limit_rows,
        state.limits,
        state.words,
        state.words_base,
        state.events,
        state.counters,
        state.marks,
        state.held,
        state.profits,
    )


@njit_inline
def is_due(state):
    """Tell whether a review is due: by stream time, or because a count has come to its limit.

    Ask it before each tick, when time has moved and before the mark moves, and before each request of a strategy.
    """
    return state.limits.review_ns > 0 and state.words[RISK_NOW_NS] >= state.words[RISK_REVIEW_NS]


@njit
def review(state):
    """Look at the account and at every strategy; commits. Call it between inputs, with nothing staged, when `is_due` says so.

    Args:
        state: Review.
    Returns:
        True when it is done; False where the events ring has no room: call it again before the input that it was due for.
    """
    scope_count = 1 + state.scopes.books
    value_positions(state)
    scope = 0
    while scope < scope_count:
        if room(state.events) <= SCOPES_AT_ONCE:
            return False
        last = min(scope + SCOPES_AT_ONCE, scope_count)
        for of in range(scope, last):
            review_scope(state, of, state.profits[of])
        scope = last
        if scope == scope_count:
            review_ns = state.limits.review_ns
            stage(state.transaction, state.words_base + RISK_REVIEW_NS, (state.words[RISK_NOW_NS] // review_ns + 1) * review_ns)
            stage_add(state.transaction, state.counters, REVIEWS, 1)
        commit(state.transaction)
        wake(state.events)
    return True


@njit_inner
def value_positions(state):
    """Fill the P&L of the account and of each strategy by one walk over the held rows."""
    profits = state.profits
    for scope in range(1 + state.scopes.books):
        profits[scope] = closed_profit(state.scopes, scope)
    for k in range(state.held.count[0]):
        row = np.int64(state.held.rows[k])
        profit = open_profit(state, state.marks, row)
        for scope in (ACCOUNT, 1 + row // state.scopes.instruments):
            profits[scope] = bounded(profits[scope] + profit)


@njit_inner
def review_scope(state, scope, profit):
    """Stage what a review changes for one scope whose P&L is `profit` now."""
    begin_periods(state, scope, profit)
    if profit > scope_word(state, scope, SCOPE_PEAK):
        set_scope_word(state, scope, SCOPE_PEAK, profit)
        trip_again(state, scope, 1 << BY_DRAWDOWN)
    if has_cooled(state, scope):
        resume(state, scope, profit)
        return
    if scope_word(state, scope, SCOPE_STATE) >= state.limits.breaker_state:
        return
    reason = first_broken(state, scope, profit)
    if reason != 0:
        found, limit = measure(state, scope, reason, profit), limit_of(state, scope, reason)
        change_state(state, scope, state.limits.breaker_state, reason, found, limit)


@njit_inner
def begin_periods(state, scope, profit):
    """Stage a new day, and a new week, where the last has ended: they begin at the P&L of now."""
    now_ns, start_ns = state.words[RISK_NOW_NS], state.limits.day_start_ns
    day_end_ns = scope_word(state, scope, SCOPE_DAY_END_NS)
    if now_ns >= day_end_ns:
        set_scope_word(state, scope, SCOPE_DAY_END_NS, end_of_period(now_ns, start_ns, DAY_NS))
        # The first day, and the first week, of an instance begin with it, at no P&L and no orders.
        if day_end_ns != 0:
            set_scope_word(state, scope, SCOPE_DAY_PNL, profit)
            set_scope_word(state, scope, SCOPE_TRADES, 0)
            trip_again(state, scope, 1 << BY_DAILY_LOSS | 1 << BY_TRADES)
    week_end_ns = scope_word(state, scope, SCOPE_WEEK_END_NS)
    if now_ns >= week_end_ns:
        set_scope_word(state, scope, SCOPE_WEEK_END_NS, end_of_period(now_ns, start_ns + MONDAY_NS, WEEK_NS))
        if week_end_ns != 0:
            set_scope_word(state, scope, SCOPE_WEEK_PNL, profit)
            trip_again(state, scope, 1 << BY_WEEKLY_LOSS)


@njit
def end_of_period(now_ns, start_ns, length_ns):
    """Return the end of the period that `now_ns` lies in, where one of them begins at `start_ns`; it is after `now_ns`."""
    return start_ns + ((now_ns - start_ns) // length_ns + 1) * length_ns


@njit_inner
def trip_again(state, scope, reasons):
    """Stage that limits, as bits 1 << BY_*, are not let pass any longer."""
    forgiven = scope_word(state, scope, SCOPE_FORGIVEN)
    if forgiven & reasons:
        set_scope_word(state, scope, SCOPE_FORGIVEN, forgiven & ~reasons)


@njit_inner
def has_cooled(state, scope):
    """Tell whether the breaker's own state may end by itself by now."""
    cooldown_ns = scope_word(state, scope, SCOPE_COOLDOWN_NS)
    is_breakers = is_by_breaker(scope_word(state, scope, SCOPE_REASON))
    return is_breakers and cooldown_ns != 0 and state.words[RISK_NOW_NS] >= cooldown_ns


@njit_inner
def resume(state, scope, profit):
    """Stage that a scope goes on after its cooldown, unless a loss or the day's orders are still beyond their limit.

    Losses in a row and rejects cannot end while nothing may be opened: they count from 0 again.
    """
    if not has_lasting(state, scope, profit):
        start_anew(state, scope)
        change_state(state, scope, ACTIVE, BY_COOLDOWN, 0, 0)
