"""Most orders keep to all limits by far: whether one does, found with few instructions and hardly a branch.

No answer here is a refusal. What may pass a limit, by how little ever, or comes near AMOUNT_MAX, is looked at once more by the
checks themselves (pipeline.risk.checks), which know the first that fails, and what is to be said of it.

Every comparison leaves its answer in the sign of an int64, and all signs are joined. UNLIMITED and NOT_SET are negative, so
~limit takes them out; NOT_SET + 1 is negative, UNLIMITED + 1 is not.
"""

import numpy as np

from pipeline.risk.amounts import AMOUNT_MAX, PPM
from pipeline.risk.guard import (
    GROSS,
    HELD_COUNT,
    LONG_SUM,
    OF_ACCOUNT,
    OF_INSTRUMENT,
    SHORT_SUM,
    UNREALISED,
    WORST_LOTS,
    scope_word,
)
from pipeline.risk.held import NOT_HELD
from pipeline.risk.limits import (
    MAX_CONCENTRATION_PERCENT,
    MAX_DAILY_LOSS,
    MAX_DRAWDOWN,
    MAX_EXECUTIONS,
    MAX_GROSS_EXPOSURE,
    MAX_LEVERAGE,
    MAX_NET_EXPOSURE,
    MAX_OPEN_POSITIONS,
    MAX_ORDER_NOTIONAL,
    MAX_ORDER_QUANTITY,
    MAX_POSITION_NOTIONAL,
    MAX_POSITION_QUANTITY,
    MAX_VOLATILITY_PERCENT,
    MAX_WEEKLY_LOSS,
    MIN_ORDER_NOTIONAL,
    MIN_ORDER_QUANTITY,
    PRICE_COLLAR_PERCENT,
)
from pipeline.risk.losses import volatility
from pipeline.risk.proposal import reference_half_ticks
from pipeline.risk.valuation import exposure_price, value_plainly, worst_lots
from pipeline.tables import (
    LIMIT_NAMES,
    SCOPE_DAY_PNL,
    SCOPE_EXECUTIONS,
    SCOPE_FEES,
    SCOPE_PEAK,
    SCOPE_REALISED,
    SCOPE_WEEK_PNL,
)
from shm.atomics import fence_release
from shm.jit import njit_inline, njit_merged

LIMIT_COUNT = len(LIMIT_NAMES)
#: Shares are floats here, which err by less than this; rounded up, they say rather too much than too little.
_SHARE = PPM * (1 + 1e-12)
_SHARE_MAX = float(1 << 60)


@njit_merged
def passes_quickly(guard, order):
    """Tell whether an order that is not reducing surely keeps to every limit but those of the pace.

    Args:
        guard: Guard; `sums` is written.
        order: Proposal.
    Bounds:
        The money words of the scopes are below AMOUNT_MAX.
    """
    sums, instrument, words, limits = guard.sums, order.instrument, guard.limit_rows.words, order.limits
    signs = lacks(words, limits[0]) | lacks(words, limits[1]) | lacks(words, limits[2])
    # No instruction, but a bound to the compiler: it would keep all 66 limits on the stack until each is compared.
    fence_release()
    value_units, lot_units = guard.limits.value_units[instrument], guard.limits.lot_units[instrument]
    position = guard.positions.copies[order.position]
    before, after = worst_lots(position), worst_after(position, order)
    known = exposure_price(guard.marks[instrument], position)
    price = max(known, order.price_ticks)
    realised, fees = scope_word(guard, order.scopes[0], SCOPE_REALISED), scope_word(guard, order.scopes[0], SCOPE_FEES)
    most = value_plainly(guard, order.strategy, instrument)
    # All money and all quantities that follow are within these, so that nothing wraps.
    most += np.float64(order.lots) * np.float64(price) * np.float64(value_units) + np.float64(guard.limits.balance_units)
    most += abs(np.float64(realised)) + abs(np.float64(fees))
    most_lots = np.float64(sums[OF_INSTRUMENT, WORST_LOTS]) + np.float64(after)
    equity = guard.limits.balance_units + realised - fees + sums[OF_ACCOUNT, UNREALISED] if most < AMOUNT_MAX else np.int64(0)
    if most_lots * np.float64(lot_units) >= AMOUNT_MAX or equity <= 0:
        return False
    quantity, notional = order.lots * lot_units, order.lots * order.price_ticks * value_units
    signs |= short(words, limits, MIN_ORDER_QUANTITY, quantity) | short(words, limits, MIN_ORDER_NOTIONAL, notional)
    signs |= over(words, limits, MAX_ORDER_QUANTITY, (quantity, quantity, quantity))
    signs |= over(words, limits, MAX_ORDER_NOTIONAL, (notional, notional, notional))
    reference = reference_half_ticks(guard, guard.marks[instrument])
    collar = share_above(order.side * (2 * order.price_ticks - reference), _SHARE / np.float64(reference))
    signs |= over(words, limits, PRICE_COLLAR_PERCENT, (collar, collar, collar))
    added, change = (after - before) * price * value_units, order.side * order.lots * price * value_units
    of_all, of_one = (sums[OF_INSTRUMENT, WORST_LOTS] + after - before) * lot_units, after * lot_units
    signs |= over(words, limits, MAX_POSITION_QUANTITY, (of_all, of_one, of_all))
    of_all, of_one = sums[OF_INSTRUMENT, GROSS] + added, before * known * value_units + added
    signs |= over(words, limits, MAX_POSITION_NOTIONAL, (of_all, of_one, of_all))
    share = _SHARE / np.float64(equity)
    of_all, of_one = share_above(of_all, share), share_above(of_one, share)
    signs |= over(words, limits, MAX_CONCENTRATION_PERCENT, (of_all, of_one, of_all))
    opened = np.int64(guard.held.places[order.row] == NOT_HELD)
    for k in range(3):
        signs |= over_sums(words, limits[k], sums[k], (opened, added, change, share))
        signs |= over_losses(guard, limits[k], order.scopes[k], sums[k, UNREALISED])
    wildness = volatility(guard, order)
    return (signs | over(words, limits, MAX_VOLATILITY_PERCENT, (wildness, wildness, wildness))) >= 0


@njit_inline
def worst_after(position, order):
    """Return the worst lots of the position of an order with that order."""
    buys, sells = max(order.side * order.lots, 0), max(-order.side * order.lots, 0)
    bought = position["quantity_lots"] + position["working_buy_lots"] + buys
    return max(abs(bought), abs(position["quantity_lots"] - position["working_sell_lots"] - sells))


@njit_inline
def lacks(words, copy):
    """Return an int64 that is negative where any limit of a row is not set."""
    signs = np.int64(0)
    for limit_id in range(LIMIT_COUNT):
        signs |= words[copy, limit_id] + 1
    return signs


@njit_inline
def beyond(limit, value):
    """Return an int64 that is negative where a value, 0 or more, passes an upper limit."""
    return (limit - value) & ~limit


@njit_inline
def over(words, copies, limit_id, values):
    """Return an int64 that is negative where a value passes the upper limit of its scope."""
    return (
        beyond(words[copies[0], limit_id], values[0])
        | beyond(words[copies[1], limit_id], values[1])
        | beyond(words[copies[2], limit_id], values[2])
    )


@njit_inline
def short(words, copies, limit_id, value):
    """Return an int64 that is negative where a value falls short of the lower limit of any scope."""
    return (value - words[copies[0], limit_id]) | (value - words[copies[1], limit_id]) | (value - words[copies[2], limit_id])


@njit_inline
def share_above(amount, share):
    """Return amount × share as an integer that is not below it."""
    return np.int64(min(max(np.float64(amount) * share, 0.0), _SHARE_MAX)) + 1


@njit_inline
def over_sums(words, copy, row, change):
    """Return an int64 that is negative where open positions, gross or net exposure or leverage of one scope pass its limits.

    Args:
        words: The rows of limits.
        copy: The scope's.
        row: Its row of the sums.
        change: (positions opened, gross exposure added, money units bought, share of one money unit in the equity).
    """
    opened, added, bought, share = change
    gross = row[GROSS] + added
    net = max(abs(row[LONG_SUM] + max(bought, 0)), abs(row[SHORT_SUM] + min(bought, 0)))
    return (
        beyond(words[copy, MAX_OPEN_POSITIONS], row[HELD_COUNT] + opened)
        | beyond(words[copy, MAX_GROSS_EXPOSURE], gross)
        | beyond(words[copy, MAX_NET_EXPOSURE], net)
        | beyond(words[copy, MAX_LEVERAGE], share_above(gross, share))
    )


@njit_merged
def over_losses(guard, copy, scope, unrealised):
    """Return an int64 that is negative where losses or executions of one scope pass its limits, forgiven ones too."""
    words = guard.limit_rows.words
    profit = scope_word(guard, scope, SCOPE_REALISED) - scope_word(guard, scope, SCOPE_FEES) + unrealised
    return (
        beyond(words[copy, MAX_DAILY_LOSS], max(scope_word(guard, scope, SCOPE_DAY_PNL) - profit, 0))
        | beyond(words[copy, MAX_WEEKLY_LOSS], max(scope_word(guard, scope, SCOPE_WEEK_PNL) - profit, 0))
        | beyond(words[copy, MAX_DRAWDOWN], max(scope_word(guard, scope, SCOPE_PEAK) - profit, 0))
        | beyond(words[copy, MAX_EXECUTIONS], scope_word(guard, scope, SCOPE_EXECUTIONS) + 1)
    )
