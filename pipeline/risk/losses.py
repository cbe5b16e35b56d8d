"""What stops new risk: losses of the day and the week, drawdown, a wild market, and too many executions of one strategy."""

import numpy as np

from pipeline.messages import (
    BY_DAILY_LOSS,
    BY_DRAWDOWN,
    BY_WEEKLY_LOSS,
    REASON_NONE,
    REJECT_DAILY_LOSS,
    REJECT_DRAWDOWN,
    REJECT_EXECUTIONS,
    REJECT_VOLATILITY,
    REJECT_WEEKLY_LOSS,
)
from pipeline.risk.amounts import share_found
from pipeline.risk.atr import is_ready
from pipeline.risk.guard import OF_ACCOUNT, OF_INSTRUMENT, OF_STRATEGY, profit, scope_word
from pipeline.risk.limits import (
    MAX_DAILY_LOSS,
    MAX_DRAWDOWN,
    MAX_EXECUTIONS,
    MAX_VOLATILITY_PERCENT,
    MAX_WEEKLY_LOSS,
)
from pipeline.risk.proposal import at_most
from pipeline.risk.valuation import exposure_price
from pipeline.tables import SCOPE_DAY_PNL, SCOPE_EXECUTIONS, SCOPE_FORGIVEN, SCOPE_PEAK, SCOPE_WEEK_PNL
from shm.jit import njit_merged
from shm.rows import current


@njit_merged
def check_losses(guard, order):
    """Decide whether new risk may be taken at all; `guard.sums` are those of this moment.

    Returns:
        REASON_NONE, or the REJECT_* code of the first check that fails, with `guard.found`.
    """
    scopes = order.scopes
    profits = (
        profit(guard, scopes[0], OF_ACCOUNT), profit(guard, scopes[1], OF_STRATEGY), profit(guard, scopes[2], OF_INSTRUMENT)
    )  # fmt: skip
    if not at_most(guard, order, MAX_DAILY_LOSS, losses(guard, scopes, profits, SCOPE_DAY_PNL, BY_DAILY_LOSS), False):
        return REJECT_DAILY_LOSS
    if not at_most(guard, order, MAX_WEEKLY_LOSS, losses(guard, scopes, profits, SCOPE_WEEK_PNL, BY_WEEKLY_LOSS), False):
        return REJECT_WEEKLY_LOSS
    if not at_most(guard, order, MAX_DRAWDOWN, losses(guard, scopes, profits, SCOPE_PEAK, BY_DRAWDOWN), False):
        return REJECT_DRAWDOWN
    wildness = volatility(guard, order)
    if not at_most(guard, order, MAX_VOLATILITY_PERCENT, (wildness, wildness, wildness), False):
        return REJECT_VOLATILITY
    executions = (
        scope_word(guard, scopes[0], SCOPE_EXECUTIONS) + 1,
        scope_word(guard, scopes[1], SCOPE_EXECUTIONS) + 1,
        scope_word(guard, scopes[2], SCOPE_EXECUTIONS) + 1,
    )
    if not at_most(guard, order, MAX_EXECUTIONS, executions, False):
        return REJECT_EXECUTIONS
    return REASON_NONE


@njit_merged
def losses(guard, scopes, profits, word, reason):
    """Return `loss_since` of the account, the strategy and the instrument of an order, whose P&L is `profits` now."""
    return (
        loss_since(guard, scopes[0], profits[0], word, reason),
        loss_since(guard, scopes[1], profits[1], word, reason),
        loss_since(guard, scopes[2], profits[2], word, reason),
    )


@njit_merged
def loss_since(guard, scope, now_units, word, reason):
    """Return by how much P&L is below what a word of the scope says, at least 0; 0 where a person has let that loss pass.

    Args:
        guard: Guard.
        scope: Whose.
        now_units: P&L now.
        word: SCOPE_DAY_PNL, SCOPE_WEEK_PNL or SCOPE_PEAK.
        reason: BY_*, the bit in SCOPE_FORGIVEN.
    """
    if (scope_word(guard, scope, SCOPE_FORGIVEN) >> reason) & 1:
        return np.int64(0)
    return max(scope_word(guard, scope, word) - now_units, 0)


@njit_merged
def volatility(guard, order):
    """Return the configured ATR of the order's instrument as a share of its exposure price, in parts per million, rounded up.

    Until there is an ATR it is the mean of the true ranges so far; before the first bar has closed, the range of the open one.
    """
    instrument = order.instrument
    series, bar = guard.series.copies[current(guard.series, instrument)], guard.bars[instrument]
    # In half ticks, and how many of them it is the sum of.
    total, count = 0.0, np.int64(1)
    if is_ready(series):
        total = series["atr"]
    elif series["bar_count"] > 0:
        total, count = np.float64(series["seed_sum"]), series["bar_count"]
    elif bar["end_ns"] != 0:
        total = np.float64(bar["high"] - bar["low"])
    price = exposure_price(guard.marks[instrument], guard.positions.copies[order.position])
    return share_found(total, 2 * price * count)
