"""The circuit breaker's limits of one scope: what each measures, and whether it is broken.

Amounts and shares are broken beyond their limit; a count is broken at it: the third loss of three allowed, the tenth order of
ten, so that the eleventh does not leave. What is UNLIMITED is never broken, and what is NOT_SET blocks every order already.
"""

import numpy as np

from pipeline.messages import BY_DAILY_LOSS, BY_DRAWDOWN, BY_LOSSES, BY_REJECTS, BY_TRADES, BY_WEEKLY_LOSS
from pipeline.risk.account import scope_word
from pipeline.risk.amounts import PPM
from pipeline.tables import (
    SCOPE_DAY_PNL,
    SCOPE_FORGIVEN,
    SCOPE_LOSSES,
    SCOPE_ORDERS,
    SCOPE_PEAK,
    SCOPE_REJECTS,
    SCOPE_TRADES,
    SCOPE_WEEK_PNL,
    SCOPE_WINDOW_NS,
)
from pipeline.topology import RISK_NOW_NS
from shm.jit import njit_inner
from shm.rows import current

#: What stays broken until a day or week ends or there is a new peak, whatever the strategy does; a person may let it pass.
LASTING = (BY_DAILY_LOSS, BY_WEEKLY_LOSS, BY_DRAWDOWN, BY_TRADES)


@njit_inner
def limit_of(account, scope, reason):
    """Return the limit of a scope by which the breaker trips for a BY_* reason; negative = none."""
    limits = account.limit_rows.copies[current(account.limit_rows, scope)]
    if reason == BY_DAILY_LOSS:
        return limits["max_daily_loss"]
    if reason == BY_WEEKLY_LOSS:
        return limits["max_weekly_loss"]
    if reason == BY_DRAWDOWN:
        return limits["max_drawdown"]
    if reason == BY_LOSSES:
        return limits["max_consecutive_losses"]
    if reason == BY_TRADES:
        return limits["max_trades_per_day"]
    return limits["max_reject_percent"]


@njit_inner
def measure(account, scope, reason, profit):
    """Return what the breaker compares with the limit for a BY_* reason.

    Args:
        account: Account, Review or RiskState.
        scope: Whose.
        reason: BY_DAILY_LOSS to BY_REJECTS.
        profit: P&L of the scope now, in money units.
    Returns:
        Money units, a count, or for BY_REJECTS parts per million, rounded up.
    """
    if reason == BY_DAILY_LOSS:
        return max(scope_word(account, scope, SCOPE_DAY_PNL) - profit, 0)
    if reason == BY_WEEKLY_LOSS:
        return max(scope_word(account, scope, SCOPE_WEEK_PNL) - profit, 0)
    if reason == BY_DRAWDOWN:
        return max(scope_word(account, scope, SCOPE_PEAK) - profit, 0)
    if reason == BY_LOSSES:
        return scope_word(account, scope, SCOPE_LOSSES)
    if reason == BY_TRADES:
        return scope_word(account, scope, SCOPE_TRADES)
    return rejected_ppm(account, scope)


@njit_inner
def rejected_ppm(account, scope):
    """Return which share of orders was rejected or refused in the window that runs, rounded up; 0 where they are too few."""
    orders = scope_word(account, scope, SCOPE_ORDERS)
    ended = account.words[RISK_NOW_NS] >= scope_word(account, scope, SCOPE_WINDOW_NS)
    if ended or orders < max(account.limits.reject_orders_min, 1):
        return np.int64(0)
    # Rounded up, so that a share beyond the limit by less than one part per million is beyond it.
    return -(-scope_word(account, scope, SCOPE_REJECTS) * PPM // orders)


@njit_inner
def is_broken(account, scope, reason, profit):
    """Tell whether a limit is broken, forgiven or not; arguments as `measure`."""
    limit = limit_of(account, scope, reason)
    if limit < 0:
        return False
    value = measure(account, scope, reason, profit)
    return value >= limit if reason == BY_LOSSES or reason == BY_TRADES else value > limit


@njit_inner
def first_broken(account, scope, profit):
    """Return the first BY_* reason for which the breaker trips: broken, and not let pass by a person; 0 = none."""
    forgiven = scope_word(account, scope, SCOPE_FORGIVEN)
    for reason in range(BY_DAILY_LOSS, BY_REJECTS + 1):
        if not forgiven & (1 << reason) and is_broken(account, scope, reason, profit):
            return reason
    return 0


@njit_inner
def has_lasting(account, scope, profit):
    """Tell whether a limit is broken that no new count mends, and that nobody has let pass."""
    forgiven = scope_word(account, scope, SCOPE_FORGIVEN)
    for reason in LASTING:
        if not forgiven & (1 << reason) and is_broken(account, scope, reason, profit):
            return True
    return False
