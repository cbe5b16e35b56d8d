"""Positions in exact integers: what a fill does to quantity, cost and realised P&L.

Cost and P&L are in tick-lots (DESIGN section 6). Quantity and cost are signed, so that unrealised P&L is
quantity * mark - cost for either side. A partial close takes the whole ticks of the average cost and leaves the remainder
with what stays open: realised + unrealised always equals the fold of all fills.
"""

from pipeline.messages import BUY, EXIT
from shm.jit import njit

# What a fill did.
OPENED, ADDED, REDUCED, CLOSED, FLIPPED = 1, 2, 3, 4, 5


@njit
def apply_fill(position, side, quantity_lots, price_ticks, event_ns):
    """Apply one fill to a position.

    Args:
        position: POSITION row, changed in place.
        side: BUY or SELL.
        quantity_lots: How much was filled, > 0.
        price_ticks: At which price.
        event_ns: Stream time of the fill.
    Returns:
        OPENED, ADDED, REDUCED, CLOSED or FLIPPED.
    Bounds:
        abs(quantity * price) < 2**62, held by the pre-trade check.
    """
    before = position["quantity_lots"]
    change = side * quantity_lots
    position["fill_count"] += 1
    if side == BUY:
        position["bought_lots"] += quantity_lots
    else:
        position["sold_lots"] += quantity_lots
    if before == 0 or (before > 0) == (change > 0):
        position["quantity_lots"] = before + change
        position["cost_tick_lots"] += change * price_ticks
        if before != 0:
            return ADDED
        open_position(position, price_ticks, event_ns)
        return OPENED
    closed = min(abs(before), quantity_lots)
    close_lots(position, closed, price_ticks)
    left = quantity_lots - closed
    if left > 0:
        position["quantity_lots"] = side * left
        position["cost_tick_lots"] = side * left * price_ticks
        open_position(position, price_ticks, event_ns)
        return FLIPPED
    return CLOSED if position["quantity_lots"] == 0 else REDUCED


@njit
def open_position(position, price_ticks, event_ns):
    """Begin a new generation: stops of the one before guard nothing any more."""
    position["generation"] += 1
    position["entry_ticks"] = price_ticks
    position["entry_ns"] = event_ns


@njit
def close_lots(position, closed_lots, price_ticks):
    """Take lots out of a position at a price, cost in proportion, the remainder of the division staying in it."""
    before = position["quantity_lots"]
    cost = position["cost_tick_lots"]
    sign = 1 if before > 0 else -1
    size = abs(before)
    # `cost` has the sign of the quantity unless prices were odd, so divide its magnitude: floor is then towards zero.
    cost_out = cost if closed_lots == size else sign * ((sign * cost) // size) * closed_lots
    position["quantity_lots"] = before - sign * closed_lots
    position["cost_tick_lots"] = cost - cost_out
    position["realised_tick_lots"] += sign * closed_lots * price_ticks - cost_out


@njit
def add_working(position, side, quantity_lots, flags):
    """Count an order as working; a negative quantity takes it out again."""
    if side == BUY:
        position["working_buy_lots"] += quantity_lots
    else:
        position["working_sell_lots"] += quantity_lots
    if flags & EXIT:
        position["exit_lots"] += quantity_lots


@njit
def left_to_exit(position):
    """Return how many lots an exit may still take: what is open less all that already works to reduce it."""
    quantity = position["quantity_lots"]
    if quantity > 0:
        return max(quantity - position["working_sell_lots"], 0)
    return max(-quantity - position["working_buy_lots"], 0)


@njit
def unrealised_tick_lots(position, mark):
    """Return the open P&L at the price at which the position could be left; 0 where that is not known."""
    quantity = position["quantity_lots"]
    price = mark["bid_ticks"] if quantity > 0 else mark["ask_ticks"]
    if price == 0:
        price = mark["last_ticks"]
    return quantity * price - position["cost_tick_lots"] if price > 0 else 0
