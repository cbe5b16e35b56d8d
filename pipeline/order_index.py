"""Which row of a table an order id has: a hash map of int64 ids, private to its process. Risk, execution and venue have one.

It holds exactly the ids of the table's rows: an id leaves it when its row is given to another order, so that no order that
still works is ever forgotten, however many came after it. It is made anew from the table at each start.
"""

from typing import NamedTuple

import numpy as np

from shm.jit import njit_inner

#: No row: the id is not known. Also marks an empty place.
NOT_SEEN = -1
#: A 32-bit odd number near 2**32 / golden ratio: times 31 bits it stays below 2**63.
_MIX = 0x9E3779B1


class OrderIndex(NamedTuple):
    """Ids and their rows, by place."""

    ids: np.ndarray  #: int64, a power of two of them
    rows: np.ndarray  #: int64; NOT_SEEN = an empty place


def make_index(row_count: int) -> OrderIndex:
    """Return an empty index for a table of so many rows: never more than half full."""
    capacity = 1 << max(4, (2 * row_count - 1).bit_length())
    return OrderIndex(np.zeros(capacity, np.int64), np.full(capacity, NOT_SEEN, np.int64))


@njit_inner
def home_of(index, order_id):
    """Return the place at which the search for an id begins."""
    # Fibonacci hashing (Knuth, TAOCP 6.4): the odd multiplier spreads ids that differ in few bits.
    return ((order_id ^ (order_id >> 29)) & 0x7FFFFFFF) * _MIX >> 20 & (index.ids.shape[0] - 1)


@njit_inner
def place_of(index, order_id):
    """Return where an id lies, or where it would."""
    mask = index.ids.shape[0] - 1
    place = home_of(index, order_id)
    while index.rows[place] != NOT_SEEN and index.ids[place] != order_id:
        place = (place + 1) & mask
    return place


@njit_inner
def recall(index, order_id):
    """Return the row of an id, or NOT_SEEN."""
    return index.rows[place_of(index, order_id)]


@njit_inner
def remember(index, order_id, row):
    """Store an id with its row."""
    place = place_of(index, order_id)
    index.ids[place] = order_id
    index.rows[place] = row


@njit_inner
def forget(index, order_id, row):
    """Take an id out, where it has this row: what follows closes the gap (Knuth, TAOCP 6.4, algorithm R)."""
    mask = index.ids.shape[0] - 1
    gap = place_of(index, order_id)
    if index.rows[gap] != row:
        return
    place = gap
    while True:
        place = (place + 1) & mask
        if index.rows[place] == NOT_SEEN:
            break
        # Only what began its search at or before the gap may move into it.
        if ((place - home_of(index, index.ids[place])) & mask) >= ((place - gap) & mask):
            index.ids[gap] = index.ids[place]
            index.rows[gap] = index.rows[place]
            gap = place
    index.rows[gap] = NOT_SEEN
