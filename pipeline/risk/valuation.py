"""What is held is worth: exposure and open P&L of the account, of one strategy and of one instrument, in one walk.

    worst lots        of a position: max(|q + working buys|, |q - working sells|), whatever of it fills
    gross exposure    sum of worst lots × exposure price × value
    net exposure      max(|sum of (q + working buys) × …|, |sum of (q - working sells) × …|)
    open P&L          sum of (q × mark price - cost) × value

All sums are exact below AMOUNT_MAX and held to it; gross exposure says whether any is, since it is the largest.
"""

from pipeline.risk.amounts import bounded, worth
from pipeline.risk.guard import (
    GROSS,
    HELD_COUNT,
    LONG_SUM,
    OF_ACCOUNT,
    OF_INSTRUMENT,
    OF_STRATEGY,
    SHORT_SUM,
    UNREALISED,
    WORST_LOTS,
)
from pipeline.risk.positions import unrealised_tick_lots
from shm.jit import njit, njit_inline
from shm.rows import current


@njit_inline
def exposure_price(mark, position):
    """Return the price in ticks at which an exposure counts: ask, else last, else bid; 0 = none is known.

    A position whose market is not known yet counts at the price at which it was opened.
    """
    price = mark["ask_ticks"]
    if price == 0:
        price = mark["last_ticks"]
    if price == 0:
        price = mark["bid_ticks"]
    return price if price != 0 else position["entry_ticks"]


@njit_inline
def worst_lots(position):
    """Return the most lots that a position can come to, on either side, whatever of its orders fills."""
    quantity = position["quantity_lots"]
    return max(abs(quantity + position["working_buy_lots"]), abs(quantity - position["working_sell_lots"]))


@njit_inline
def add_value(row, gross, bought, sold, unrealised):
    """Add one position to a row of the sums."""
    row[GROSS] = bounded(row[GROSS] + gross)
    row[LONG_SUM] = bounded(row[LONG_SUM] + bought)
    row[SHORT_SUM] = bounded(row[SHORT_SUM] + sold)
    row[UNREALISED] = bounded(row[UNREALISED] + unrealised)
    row[HELD_COUNT] += 1


@njit
def value_held(guard, strategy, instrument):
    """Fill `guard.sums` from the held positions as they are committed.

    Args:
        guard: Guard; `sums` is written.
        strategy: Slot whose sums stand in row OF_STRATEGY.
        instrument: Whose sums stand in row OF_INSTRUMENT.
    """
    held, sums, limits = guard.held, guard.sums, guard.limits
    sums[:] = 0
    for place in range(held.count[0]):
        of_instrument = held.instruments[place]
        position = guard.positions.copies[current(guard.positions, held.rows[place])]
        mark, value_units = guard.marks[of_instrument], limits.value_units[of_instrument]
        price, quantity = exposure_price(mark, position), position["quantity_lots"]
        lots = worst_lots(position)
        gross = worth(lots, price, value_units)
        bought = worth(quantity + position["working_buy_lots"], price, value_units)
        sold = worth(quantity - position["working_sell_lots"], price, value_units)
        unrealised = worth(unrealised_tick_lots(position, mark), 1, value_units)
        add_value(sums[OF_ACCOUNT], gross, bought, sold, unrealised)
        if held.books[place] == strategy:
            add_value(sums[OF_STRATEGY], gross, bought, sold, unrealised)
        if of_instrument == instrument:
            add_value(sums[OF_INSTRUMENT], gross, bought, sold, unrealised)
            sums[OF_INSTRUMENT, WORST_LOTS] = bounded(sums[OF_INSTRUMENT, WORST_LOTS] + lots)
