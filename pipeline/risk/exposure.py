"""What an order may add: position, open positions, concentration, gross and net exposure, buying power.

An order adds its lots to the worst case of its position, at the dearer of its own price and the exposure price. A position
counts for its strategy alone, and all positions of an instrument together for the instrument and the account: worst lots are
added up and not set off against each other, since each strategy's position is left by its own stops.
"""

import numpy as np

from pipeline.messages import (
    REASON_NONE,
    REJECT_BUYING_POWER,
    REJECT_CONCENTRATION,
    REJECT_GROSS_EXPOSURE,
    REJECT_NET_EXPOSURE,
    REJECT_OPEN_POSITIONS,
    REJECT_POSITION_LIMIT,
)
from pipeline.risk.amounts import AMOUNT_MAX, bounded, worth
from pipeline.risk.guard import (
    GROSS,
    HELD_COUNT,
    LONG_SUM,
    OF_ACCOUNT,
    OF_INSTRUMENT,
    OF_STRATEGY,
    SHORT_SUM,
    WORST_LOTS,
    profit,
)
from pipeline.risk.held import NOT_HELD
from pipeline.risk.limits import (
    MAX_CONCENTRATION_PERCENT,
    MAX_GROSS_EXPOSURE,
    MAX_LEVERAGE,
    MAX_NET_EXPOSURE,
    MAX_OPEN_POSITIONS,
    MAX_POSITION_NOTIONAL,
    MAX_POSITION_QUANTITY,
)
from pipeline.risk.proposal import at_most, at_most_share
from pipeline.risk.valuation import exposure_price, value_plainly, value_within_bounds, worst_lots
from shm.jit import njit_inline, njit_inner, njit_merged


@njit_merged
def check_exposure(guard, order):
    """Decide whether the account may hold what an order can bring.

    Args:
        guard: Guard; `sums` is written: they stay those of this moment.
        order: Proposal.
    Returns:
        REASON_NONE, or the REJECT_* code of the first check that fails, with `guard.found`.
    """
    instrument, limits = order.instrument, guard.limits
    position = guard.positions.copies[order.position]
    most = value_plainly(guard, order.strategy, instrument)
    price = np.float64(max(exposure_price(guard.marks[instrument], position), order.price_ticks))
    # What the order and its position come to, in floats, which cannot wrap: all that follows is within these.
    most += np.float64(order.lots) * price * np.float64(limits.value_units[instrument])
    lots = np.float64(guard.sums[OF_INSTRUMENT, WORST_LOTS]) + np.float64(order.lots)
    most_lots = lots * np.float64(limits.lot_units[instrument])
    if most < AMOUNT_MAX and most_lots < AMOUNT_MAX:
        return check_sums(guard, order, True)
    return check_bounded(guard, order)


@njit_inner
def check_bounded(guard, order):
    """Do as `check_exposure`, each amount held to AMOUNT_MAX. For accounts beyond all measure."""
    value_within_bounds(guard, order.strategy, order.instrument)
    return check_sums(guard, order, False)


@njit_merged
def check_sums(guard, order, plain):
    """Do as `check_exposure`, with the sums as they are.

    Args:
        guard: Guard.
        order: Proposal.
        plain: Whether all amounts are known to be below AMOUNT_MAX, so that none needs to be held to it. A constant.
    """
    sums, instrument = guard.sums, order.instrument
    position = guard.positions.copies[order.position]
    buys, sells = max(order.side * order.lots, 0), max(-order.side * order.lots, 0)
    bought = position["quantity_lots"] + position["working_buy_lots"] + buys
    sold = position["quantity_lots"] - position["working_sell_lots"] - sells
    before, after = worst_lots(position), max(abs(bought), abs(sold))
    known = exposure_price(guard.marks[instrument], position)
    value_units, lot_units = guard.limits.value_units[instrument], guard.limits.lot_units[instrument]
    price = max(known, order.price_ticks)
    added = product(after - before, price, value_units, plain)
    of_all = product(total(sums[OF_INSTRUMENT, WORST_LOTS], after - before, plain), 1, lot_units, plain)
    if not at_most(guard, order, MAX_POSITION_QUANTITY, (of_all, product(after, 1, lot_units, plain), of_all), plain):
        return REJECT_POSITION_LIMIT
    of_all = total(sums[OF_INSTRUMENT, GROSS], added, plain)
    positions = (of_all, total(product(before, known, value_units, plain), added, plain), of_all)
    if not at_most(guard, order, MAX_POSITION_NOTIONAL, positions, plain):
        return REJECT_POSITION_LIMIT
    opened = np.int64(guard.held.places[order.row] == NOT_HELD)
    counts = (
        sums[OF_ACCOUNT, HELD_COUNT] + opened, sums[OF_STRATEGY, HELD_COUNT] + opened, sums[OF_INSTRUMENT, HELD_COUNT] + opened
    )  # fmt: skip
    if not at_most(guard, order, MAX_OPEN_POSITIONS, counts, True):
        return REJECT_OPEN_POSITIONS
    equity = bounded(guard.limits.balance_units + profit(guard, order.scopes[0], OF_ACCOUNT))
    if not at_most_share(guard, order, MAX_CONCENTRATION_PERCENT, positions, equity):
        return REJECT_CONCENTRATION
    gross = (
        total(sums[OF_ACCOUNT, GROSS], added, plain),
        total(sums[OF_STRATEGY, GROSS], added, plain),
        total(sums[OF_INSTRUMENT, GROSS], added, plain),
    )
    if not at_most(guard, order, MAX_GROSS_EXPOSURE, gross, plain):
        return REJECT_GROSS_EXPOSURE
    change = order.side * product(order.lots, price, value_units, plain)
    buys, sells = max(change, 0), min(change, 0)
    net = (
        net_after(sums[OF_ACCOUNT], buys, sells, plain),
        net_after(sums[OF_STRATEGY], buys, sells, plain),
        net_after(sums[OF_INSTRUMENT], buys, sells, plain),
    )
    if not at_most(guard, order, MAX_NET_EXPOSURE, net, plain):
        return REJECT_NET_EXPOSURE
    return REASON_NONE if at_most_share(guard, order, MAX_LEVERAGE, gross, equity) else REJECT_BUYING_POWER


@njit_inline
def product(lots, price, units, plain):
    """Return lots × price × units, held to AMOUNT_MAX where it is not known to be below."""
    return lots * price * units if plain else worth(lots, price, units)


@njit_inline
def total(first, second, plain):
    """Return first + second, held to AMOUNT_MAX where it is not known to be below."""
    return first + second if plain else bounded(first + second)


@njit_inline
def net_after(row, buys, sells, plain):
    """Return the net exposure of a row of the sums with one more order.

    Args:
        row: int64 (SUM_WORDS,).
        buys: What the order buys, in money units; 0 where it sells.
        sells: What it sells, below 0; 0 where it buys.
        plain: As in `check_sums`.
    """
    return max(abs(total(row[LONG_SUM], buys, plain)), abs(total(row[SHORT_SUM], sells, plain)))
