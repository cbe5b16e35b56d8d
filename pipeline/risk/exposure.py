"""What an order may add: position, open positions, concentration, gross and net exposure, buying power.

An order adds its lots to the worst case of its position, at the dearer of its own price and the exposure price. A position
counts for its strategy alone, and all positions of an instrument together for the instrument and the account: worst lots are
added up and not set off against each other, since each strategy's position is left by its own stops.
"""

from pipeline.messages import (
    REASON_NONE,
    REJECT_BUYING_POWER,
    REJECT_CONCENTRATION,
    REJECT_GROSS_EXPOSURE,
    REJECT_NET_EXPOSURE,
    REJECT_OPEN_POSITIONS,
    REJECT_POSITION_LIMIT,
)
from pipeline.risk.amounts import bounded, worth
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
from pipeline.risk.valuation import exposure_price, worst_lots
from shm.jit import njit_inline, njit_merged


@njit_merged
def check_exposure(guard, order):
    """Decide whether the account may hold what an order can bring; `guard.sums` are those of this moment.

    Returns:
        REASON_NONE, or the REJECT_* code of the first check that fails, with `guard.found`.
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
    added = worth(after - before, price, value_units)
    of_all = worth(bounded(sums[OF_INSTRUMENT, WORST_LOTS] + after - before), 1, lot_units)
    if not at_most(guard, order, MAX_POSITION_QUANTITY, (of_all, worth(after, 1, lot_units), of_all)):
        return REJECT_POSITION_LIMIT
    of_all, of_one = bounded(sums[OF_INSTRUMENT, GROSS] + added), bounded(worth(before, known, value_units) + added)
    positions = (of_all, of_one, of_all)
    if not at_most(guard, order, MAX_POSITION_NOTIONAL, positions):
        return REJECT_POSITION_LIMIT
    opened = 1 if guard.held.places[order.row] == NOT_HELD else 0
    counts = (
        sums[OF_ACCOUNT, HELD_COUNT] + opened, sums[OF_STRATEGY, HELD_COUNT] + opened, sums[OF_INSTRUMENT, HELD_COUNT] + opened
    )  # fmt: skip
    if not at_most(guard, order, MAX_OPEN_POSITIONS, counts):
        return REJECT_OPEN_POSITIONS
    equity = bounded(guard.limits.balance_units + profit(guard, order.scopes[0], OF_ACCOUNT))
    if not at_most_share(guard, order, MAX_CONCENTRATION_PERCENT, positions, equity):
        return REJECT_CONCENTRATION
    gross = (
        bounded(sums[OF_ACCOUNT, GROSS] + added),
        bounded(sums[OF_STRATEGY, GROSS] + added),
        bounded(sums[OF_INSTRUMENT, GROSS] + added),
    )
    if not at_most(guard, order, MAX_GROSS_EXPOSURE, gross):
        return REJECT_GROSS_EXPOSURE
    change = order.side * worth(order.lots, price, value_units)
    net = (net_after(sums[OF_ACCOUNT], change), net_after(sums[OF_STRATEGY], change), net_after(sums[OF_INSTRUMENT], change))
    if not at_most(guard, order, MAX_NET_EXPOSURE, net):
        return REJECT_NET_EXPOSURE
    if not at_most_share(guard, order, MAX_LEVERAGE, gross, equity):
        return REJECT_BUYING_POWER
    return REASON_NONE


@njit_inline
def net_after(row, change):
    """Return the net exposure of a row of the sums with one more order.

    Args:
        row: int64 (SUM_WORDS,).
        change: What the order buys, in money units; below 0 what it sells.
    """
    bought, sold = bounded(row[LONG_SUM] + max(change, 0)), bounded(row[SHORT_SUM] + min(change, 0))
    return max(abs(bought), abs(sold))
