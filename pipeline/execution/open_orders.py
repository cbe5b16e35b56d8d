"""The paper venue's open orders, in private lists of rows that let a tick look at few of them.

    waiting        all that came and are not due yet, by arrival. Due times never fall along it: a tick looks at its first
    resting[i]     limit orders of instrument i that are due and not reached, by arrival, with two bounds beside them:
                   the highest limit of those that buy, and the lowest of those that sell

An open order is in one list, by links between rows, so that it is found and taken out at once wherever it is. A bound may be
looser than the orders of its list (one was cancelled), never tighter; the next walk through the list makes it exact. The lists
are made anew from the venue's record at each start, with all in `waiting`: the next tick sends those that are due on their way.
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import BUY, PRICE_TICKS_LIMIT
from shm.jit import njit_inline, njit_inner

#: No row.
NOWHERE = -1
#: The list of what is not due; instrument i's is list i + 1.
WAITING = 0
# Columns of `ends` and of `bounds`.
FIRST, LAST = 0, 1
HIGHEST_BUY, LOWEST_SELL = 0, 1
# Words of `local`: how many orders are open; when the first waiting one is due, and the one that came last.
OPEN_COUNT, NEXT_DUE_NS, LAST_DUE_NS = 0, 1, 2
#: NEXT_DUE_NS where nothing waits.
NEVER = (1 << 63) - 1

#: One row's links, private to the process.
OPEN_ORDER = np.dtype(
    [
        ("next", "i8"),  #: row after it in its list, NOWHERE = it is the last
        ("previous", "i8"),
        ("list", "i8"),  #: WAITING, or its instrument + 1
        ("due_ns", "i8"),
        ("limit_ticks", "i8"),  #: 0 = a market order
        ("side", "i8"),
        ("reserved", "i8", (2,)),
    ],
    align=True,
)
assert OPEN_ORDER.itemsize == 64, "one cache line: a walk through a list brings each order by one load"


class OpenOrders(NamedTuple):
    """The lists; all of it private."""

    orders: np.ndarray  #: OPEN_ORDER by row of the venue's record
    ends: np.ndarray  #: int64 (lists, 2): first and last row
    bounds: np.ndarray  #: int64 (instruments, 2)
    local: np.ndarray


def make_open_orders(row_count: int, instrument_count: int) -> OpenOrders:
    """Return empty lists for a record of so many rows."""
    opened = OpenOrders(
        np.zeros(row_count, OPEN_ORDER), np.full((instrument_count + 1, 2), NOWHERE, np.int64),
        np.zeros((instrument_count, 2), np.int64), np.zeros(3, np.int64),
    )  # fmt: skip
    opened.bounds[:, LOWEST_SELL] = PRICE_TICKS_LIMIT
    opened.local[NEXT_DUE_NS] = NEVER
    return opened


@njit_inner
def append(opened, number, row):
    """Put a row at the end of a list."""
    last = opened.ends[number, LAST]
    order = opened.orders[row]
    order["list"] = number
    order["next"] = NOWHERE
    order["previous"] = last
    if last == NOWHERE:
        opened.ends[number, FIRST] = row
    else:
        opened.orders[last]["next"] = row
    opened.ends[number, LAST] = row


@njit_inner
def take_out(opened, row):
    """Take a row out of its list."""
    order = opened.orders[row]
    number, following, previous = order["list"], order["next"], order["previous"]
    if previous == NOWHERE:
        opened.ends[number, FIRST] = following
    else:
        opened.orders[previous]["next"] = following
    if following == NOWHERE:
        opened.ends[number, LAST] = previous
    else:
        opened.orders[following]["previous"] = previous
    if number == WAITING:
        first = opened.ends[WAITING, FIRST]
        opened.local[NEXT_DUE_NS] = NEVER if first == NOWHERE else opened.orders[first]["due_ns"]


@njit_inner
def await_due(opened, row, due_ns, side, limit_ticks):
    """Let an order that has come wait until it is due.

    Args:
        opened: OpenOrders.
        row: Its row in the venue's record.
        due_ns: Not before that of any order that came earlier.
        side: BUY, SELL.
        limit_ticks: 0 for a market order.
    """
    order = opened.orders[row]
    order["due_ns"] = due_ns
    order["side"] = side
    order["limit_ticks"] = limit_ticks
    append(opened, WAITING, row)
    opened.local[OPEN_COUNT] += 1
    opened.local[LAST_DUE_NS] = due_ns
    if opened.ends[WAITING, FIRST] == row:
        opened.local[NEXT_DUE_NS] = due_ns


@njit_inner
def rest(opened, instrument, row):
    """Let a limit order that is due rest until its instrument's touch reaches it."""
    append(opened, instrument + 1, row)
    order = opened.orders[row]
    widen(opened, instrument, order["side"], order["limit_ticks"])


@njit_inline
def widen(opened, instrument, side, limit_ticks):
    """Let the bounds of an instrument cover a limit."""
    bounds = opened.bounds
    if side == BUY:
        bounds[instrument, HIGHEST_BUY] = max(bounds[instrument, HIGHEST_BUY], limit_ticks)
    else:
        bounds[instrument, LOWEST_SELL] = min(bounds[instrument, LOWEST_SELL], limit_ticks)


@njit_inner
def end(opened, row):
    """Forget an order that has filled or was cancelled."""
    take_out(opened, row)
    opened.local[OPEN_COUNT] -= 1


@njit_inline
def is_reached(opened, instrument, ask_ticks, bid_ticks):
    """Tell whether any order of an instrument may fill at these prices; 0 = none known. False where none rests."""
    return 0 < ask_ticks <= opened.bounds[instrument, HIGHEST_BUY] or bid_ticks >= opened.bounds[instrument, LOWEST_SELL]


@njit_inline
def allows(price_ticks, side, limit_ticks):
    """Tell whether an order may fill at a price; 0 = none known."""
    if limit_ticks == 0:
        return True
    return 0 < price_ticks <= limit_ticks if side == BUY else price_ticks >= limit_ticks
