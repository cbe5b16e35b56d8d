"""Which order ids were seen, and where: a hash map of int64 ids in two generations, private to its process.

When the young generation is half full the old one is forgotten and they change places, so an id is remembered for at least half
a capacity of later ids, without any deletion. It is made anew from the tables at each start.
"""

from typing import NamedTuple

import numpy as np

from shm.jit import njit_inner

NOT_SEEN = -1
# Words of `counts`.
YOUNG, FILLED = 0, 1
#: A 32-bit odd number near 2**32 / golden ratio: times 31 bits it stays below 2**63.
_MIX = 0x9E3779B1


class OrderIndex(NamedTuple):
    """Ids and values of two generations; id 0 marks an empty place."""

    ids: np.ndarray  #: int64 (2, capacity), a power of two
    values: np.ndarray  #: int64 (2, capacity)
    counts: np.ndarray  #: which generation is young, how many ids are in it


def make_index(remembered: int) -> OrderIndex:
    """Return an empty index that remembers at least this many ids."""
    capacity = 1 << max(4, (2 * remembered - 1).bit_length())
    return OrderIndex(np.zeros((2, capacity), np.int64), np.zeros((2, capacity), np.int64), np.zeros(2, np.int64))


@njit_inner
def place_of(index, generation, order_id):
    """Return where an id lies in a generation, or where it would."""
    mask = index.ids.shape[1] - 1
    # Fibonacci hashing (Knuth, TAOCP 6.4): the odd multiplier spreads ids that differ in few bits.
    place = ((order_id ^ (order_id >> 29)) & 0x7FFFFFFF) * _MIX >> 20 & mask
    while index.ids[generation, place] != 0 and index.ids[generation, place] != order_id:
        place = (place + 1) & mask
    return place


@njit_inner
def remember(index, order_id, value):
    """Store an id with its value."""
    if 2 * index.counts[FILLED] >= index.ids.shape[1]:
        old = 1 - index.counts[YOUNG]
        for place in range(index.ids.shape[1]):
            index.ids[old, place] = 0
        index.counts[YOUNG] = old
        index.counts[FILLED] = 0
    young = index.counts[YOUNG]
    place = place_of(index, young, order_id)
    if index.ids[young, place] == 0:
        index.counts[FILLED] += 1
    index.ids[young, place] = order_id
    index.values[young, place] = value


@njit_inner
def recall(index, order_id):
    """Return the value of an id, or NOT_SEEN."""
    for generation in range(2):
        place = place_of(index, generation, order_id)
        if index.ids[generation, place] == order_id:
            return index.values[generation, place]
    return NOT_SEEN
