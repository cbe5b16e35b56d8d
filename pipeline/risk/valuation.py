"""What all that is held is worth: exposure and open P&L of the account, of one strategy and of one instrument.

    worst lots        of a position: max(|q + working buys|, |q - working sells|), whatever of it fills
    gross exposure    sum of worst lots × exposure price × value
    net exposure      max(|sum of (q + working buys) × …|, |sum of (q - working sells) × …|)
    open P&L          sum of (q × mark price - cost) × value

All sums are exact below AMOUNT_MAX and held to it; gross exposure says whether any is, since it is the largest.
"""

import numpy as np

from pipeline.risk.amounts import AMOUNT_MAX, bounded, worth
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
from shm.jit import njit_inline, njit_inner, njit_merged
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
def leaving_price(mark, position):
    """Return the price in ticks at which a position could be left, as positions.unrealised_tick_lots has it; 0 = not known."""
    price = mark["bid_ticks"] if position["quantity_lots"] > 0 else mark["ask_ticks"]
    return price if price != 0 else mark["last_ticks"]


@njit_inline
def worst_lots(position):
    """Return the most lots that a position can come to, on either side, whatever of its orders fills."""
    quantity = position["quantity_lots"]
    return max(abs(quantity + position["working_buy_lots"]), abs(quantity - position["working_sell_lots"]))


@njit_merged
def value_plainly(guard, strategy, instrument):
    """Fill `guard.sums` from the held positions as they are committed.

    Args:
        guard: Guard; `sums` is written.
        strategy: Slot whose sums stand in row OF_STRATEGY.
        instrument: Whose sums stand in row OF_INSTRUMENT.
    Returns:
        float64, what no sum is above; where that is AMOUNT_MAX or more the sums are of no use.
    """
    held, sums = guard.held, guard.sums
    # Sums in registers: what is stored here would be waited for there.
    gross, bought, sold, unrealised = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    its_gross, its_bought, its_sold, its_unrealised, its_count = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    clear(sums)
    most = 0.0
    for place in range(held.count[0]):
        of_instrument = np.int64(held.instruments[place])
        position = guard.positions.copies[current(guard.positions, np.int64(held.rows[place]))]
        mark, value_units = guard.marks[of_instrument], guard.limits.value_units[of_instrument]
        price, lots, exit_price = exposure_price(mark, position), worst_lots(position), leaving_price(mark, position)
        quantity, cost = position["quantity_lots"], position["cost_tick_lots"]
        # In floats, which cannot wrap: what follows is within this, and fits a word as long as this is below AMOUNT_MAX.
        most += (np.float64(lots) * np.float64(price + exit_price) + abs(np.float64(cost))) * np.float64(value_units)
        if most >= AMOUNT_MAX:
            return most
        value = price * value_units
        row_gross = lots * value
        row_unrealised = (quantity * exit_price - cost) * value_units if exit_price > 0 else np.int64(0)
        row_bought = (quantity + position["working_buy_lots"]) * value
        row_sold = (quantity - position["working_sell_lots"]) * value
        gross += row_gross
        bought += row_bought
        sold += row_sold
        unrealised += row_unrealised
        # Without a branch: whose position comes next is as good as chance. All bits where it is the strategy's, else none.
        its = -np.int64(held.books[place] == strategy)
        its_gross += its & row_gross
        its_bought += its & row_bought
        its_sold += its & row_sold
        its_unrealised += its & row_unrealised
        its_count -= its
    set_value(sums[OF_ACCOUNT], gross, bought, sold, unrealised, held.count[0])
    set_value(sums[OF_STRATEGY], its_gross, its_bought, its_sold, its_unrealised, its_count)
    value_instrument(guard, instrument)
    return most


@njit_merged
def value_instrument(guard, instrument):
    """Add to the row OF_INSTRUMENT of `guard.sums`, which is clear, where all of it is below AMOUNT_MAX.

    Few positions are of one instrument, and most often none: a walk of its own takes less than to carry its sums along.
    """
    held, row = guard.held, guard.sums[OF_INSTRUMENT]
    mark, value_units = guard.marks[instrument], guard.limits.value_units[instrument]
    for place in range(held.count[0]):
        if held.instruments[place] == instrument:
            position = guard.positions.copies[current(guard.positions, np.int64(held.rows[place]))]
            quantity, value = position["quantity_lots"], exposure_price(mark, position) * value_units
            lots, exit_price, unrealised = worst_lots(position), leaving_price(mark, position), np.int64(0)
            if exit_price > 0:
                unrealised = (quantity * exit_price - position["cost_tick_lots"]) * value_units
            bought, sold = quantity + position["working_buy_lots"], quantity - position["working_sell_lots"]
            add_value(row, lots * value, bought * value, sold * value, unrealised)
            row[WORST_LOTS] += lots


@njit_inline
def set_value(row, gross, bought, sold, unrealised, count):
    """Fill a row of the sums."""
    row[GROSS] = gross
    row[LONG_SUM] = bought
    row[SHORT_SUM] = sold
    row[UNREALISED] = unrealised
    row[HELD_COUNT] = count


@njit_inline
def clear(sums):
    """Set all sums to 0."""
    for row in range(3):
        for word in range(WORST_LOTS + 1):
            sums[row, word] = 0


@njit_inline
def add_value(row, gross, bought, sold, unrealised):
    """Add one position to a row of the sums."""
    row[GROSS] = bounded(row[GROSS] + gross)
    row[LONG_SUM] = bounded(row[LONG_SUM] + bought)
    row[SHORT_SUM] = bounded(row[SHORT_SUM] + sold)
    row[UNREALISED] = bounded(row[UNREALISED] + unrealised)
    row[HELD_COUNT] += 1


@njit_inner
def value_within_bounds(guard, strategy, instrument):
    """Do as `value_plainly`, each sum held to AMOUNT_MAX. For accounts beyond all measure."""
    held, sums, limits = guard.held, guard.sums, guard.limits
    clear(sums)
    for place in range(held.count[0]):
        of_instrument = np.int64(held.instruments[place])
        position = guard.positions.copies[current(guard.positions, np.int64(held.rows[place]))]
        mark, value_units = guard.marks[of_instrument], limits.value_units[of_instrument]
        price, quantity, lots = exposure_price(mark, position), position["quantity_lots"], worst_lots(position)
        gross = worth(lots, price, value_units)
        bought = worth(quantity + position["working_buy_lots"], price, value_units)
        sold = worth(quantity - position["working_sell_lots"], price, value_units)
        exit_price, unrealised = leaving_price(mark, position), np.int64(0)
        if exit_price > 0:
            unrealised = bounded(worth(quantity, exit_price, value_units) - worth(position["cost_tick_lots"], 1, value_units))
        add_value(sums[OF_ACCOUNT], gross, bought, sold, unrealised)
        if held.books[place] == strategy:
            add_value(sums[OF_STRATEGY], gross, bought, sold, unrealised)
        if of_instrument == instrument:
            add_value(sums[OF_INSTRUMENT], gross, bought, sold, unrealised)
            sums[OF_INSTRUMENT, WORST_LOTS] = bounded(sums[OF_INSTRUMENT, WORST_LOTS] + lots)
