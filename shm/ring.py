"""Broadcast ring: one producer, up to sixteen readers, fixed-size records, no locks.

    words (int64)       0  published   next sequence to come; all below it are readable          written by the producer
                       16  claimed     next sequence after those being written                   the producer
                       32  bells       1 where some reader may park                              set-up
                   48 + r  mode        of reader r: INACTIVE, GATING or LOSSY                    set-up
                   64 + r  bell        index in memory of the word on which r's owner parks      set-up
              80 + 16 * r  cursor      next sequence that reader r will read                     reader r
              81 + 16 * r  missed      records that reader r lost                                reader r

Sequences are int64 and only grow; the record of sequence s lies in slot s & (capacity - 1). Groups of words with different
writers lie 128 bytes apart. A GATING reader holds the producer back; a LOSSY one may be overrun, finds out, and counts what
it missed. A process that dies between claim and publish has published nothing, so there is nothing to repair.
"""

from typing import NamedTuple

import numpy as np

from shm.atomics import (
    fence_acquire,
    fence_release,
    fence_seq_cst,
    futex_wake,
    load_acquire,
    load_relaxed,
    store_relaxed,
    store_release,
)
from shm.jit import njit, njit_inline
from shm.layout import WORD, Region
from shm.segment import Segment
from shm.transaction import stage

READERS_MAX = 16
PUBLISHED, CLAIMED, BELLS, MODE, BELL, CURSOR, MISSED = 0, 16, 32, 48, 64, 80, 81
STRIDE = 16
WORD_COUNT = CURSOR + STRIDE * READERS_MAX

INACTIVE, GATING, LOSSY = 0, 1, 2
#: claim() found no room.
FULL = -1
#: BELL of a reader that never parks.
NO_BELL = -1

# Private words of a producer: the next sequence to claim, and the one that the slowest reader last seen holds back.
NEXT, LIMIT = 0, 1
# Private words of a reader: the next sequence to read, and the last value of `published` seen.
AT, SEEN = 0, 1


class Ring(NamedTuple):
    """A ring's arrays, as kernels take them."""

    words: np.ndarray  #: int64 protocol words, see the module's diagram
    slots: np.ndarray  #: records, a power of two of them
    slot_words: np.ndarray  #: the same slots as int64 rows
    base: int  #: index of words[0] in the segment's memory


class Producer(NamedTuple):
    """The writing end; `local` is private to its process."""

    ring: Ring
    local: np.ndarray
    memory: np.ndarray  #: the whole segment's words, for the bells


class Reader(NamedTuple):
    """A reading end; `local` is private to its process."""

    ring: Ring
    local: np.ndarray
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on it


def regions(name: str, dtype: np.dtype, capacity: int) -> list[Region]:
    """Return the regions of a ring; `capacity` must be a power of two."""
    assert capacity & (capacity - 1) == 0, f"{name}: a slot is found by a mask, so {capacity} must be a power of two"
    return [Region(f"{name}.words", np.dtype(np.int64), WORD_COUNT), Region(f"{name}.slots", dtype, capacity)]


def open_ring(segment: Segment, name: str, dtype: np.dtype) -> Ring:
    """Return the ring of this name in a mapped instance."""
    slots = segment.array(f"{name}.slots", dtype)
    slot_words = slots.view(np.int64).reshape(len(slots), dtype.itemsize // WORD)
    return Ring(segment.array(f"{name}.words"), slots, slot_words, segment.base(f"{name}.words"))


def set_reader(ring: Ring, index: int, mode: int, bell: int = NO_BELL) -> None:
    """Declare reader `index`: whether it gates, and where its owner parks. For set-up, before any worker runs."""
    ring.words[MODE + index] = mode
    ring.words[BELL + index] = bell
    if bell != NO_BELL:
        ring.words[BELLS] = 1


def skip_overwritten(ring: Ring, index: int) -> None:
    """Move reader `index` past records that its ring no longer holds, counted as missed. For set-up, before any worker runs."""
    cursor = CURSOR + STRIDE * index
    # A producer that died may have begun to overwrite more than it published.
    end = max(int(ring.words[PUBLISHED]), int(ring.words[CLAIMED]))
    lost = end - len(ring.slots) - int(ring.words[cursor])
    if lost > 0:
        ring.words[cursor] += lost
        ring.words[MISSED + STRIDE * index] += lost


def open_producer(segment: Segment, ring: Ring) -> Producer:
    """Take the writing end up where the last process left it."""
    published = load_acquire_py(ring.words, PUBLISHED)
    return Producer(ring, np.array([published, 0], np.int64), segment.memory)


def open_reader(ring: Ring, index: int) -> Reader:
    """Take reading end `index` up at its cursor."""
    cursor = load_acquire_py(ring.words, CURSOR + STRIDE * index)
    return Reader(ring, np.array([cursor, cursor], np.int64), index)


def cursor_word(ring: Ring, index: int) -> int:
    """Return the index in the segment's memory of a reader's cursor, for transactions."""
    return ring.base + CURSOR + STRIDE * index


def load_acquire_py(words: np.ndarray, index: int) -> int:
    """Load one shared word from plain Python: an aligned 8-byte load, which both machines make whole."""
    return int(words[index])


@njit_inline
def claim(producer, count):
    """Take the next `count` sequences for writing.

    Args:
        producer: Producer.
        count: How many records, at most the capacity.
    Returns:
        The first sequence, or FULL where a gating reader is in the way.
    """
    words, local = producer.ring.words, producer.local
    first = local[NEXT]
    capacity = producer.ring.slots.shape[0]
    if first + count > local[LIMIT]:
        # Where nobody gates, what is claimed and not yet published still may not be overwritten.
        local[LIMIT] = slowest(producer.ring, words[PUBLISHED]) + capacity
        if first + count > local[LIMIT]:
            return FULL
    local[NEXT] = first + count
    # A lossy reader that finds its record below `claimed - capacity` knows that it is being overwritten. It never goes back:
    # a producer that died between claim and publish has overwritten more than the first claim of the next one tells.
    store_relaxed(words, CLAIMED, max(words[CLAIMED], first + count))
    # Release: pairs with fence_acquire in copy_lossy. `claimed` is seen before any byte of the new records.
    fence_release()
    return first


@njit
def slowest(ring, otherwise):
    """Return the lowest cursor of the gating readers, or `otherwise` where there are none."""
    lowest = otherwise
    for index in range(READERS_MAX):
        if load_relaxed(ring.words, MODE + index) == GATING:
            # Acquire: pairs with the release in advance; the reader is done with what lies below.
            lowest = min(lowest, load_acquire(ring.words, CURSOR + STRIDE * index))
    return lowest


@njit
def room(producer):
    """Return how many records can be claimed now."""
    ring = producer.ring
    first = producer.local[NEXT]
    producer.local[LIMIT] = slowest(ring, ring.words[PUBLISHED]) + ring.slots.shape[0]
    return producer.local[LIMIT] - first


@njit_inline
def publish(producer):
    """Make all claimed records readable, and wake readers that are parked."""
    # Release: pairs with the acquire in available.
    store_release(producer.ring.words, PUBLISHED, producer.local[NEXT])
    wake(producer)


@njit_inline
def stage_publish(transaction, producer):
    """Make all claimed records readable when the transaction commits; call wake after the commit."""
    stage(transaction, producer.ring.base + PUBLISHED, producer.local[NEXT])


@njit_inline
def stage_advance(transaction, reader, cursor):
    """Advance the reader when the transaction commits: the input and its effects count together."""
    reader.local[AT] = cursor
    stage(transaction, reader.ring.base + CURSOR + STRIDE * reader.index, cursor)


@njit_inline
def wake(producer):
    """Wake readers that are parked, after a transaction that published."""
    if producer.ring.words[BELLS] != 0:
        ring_bells(producer)


@njit
def ring_bells(producer):
    """Wake every reader of the ring whose owner is parked."""
    words, memory = producer.ring.words, producer.memory
    # The reader raises its flag, fences and looks for records; we store records, fence and look for the flag.
    fence_seq_cst()
    for index in range(READERS_MAX):
        bell = words[BELL + index]
        if words[MODE + index] != INACTIVE and bell != NO_BELL and load_relaxed(memory, bell) != 0:
            store_release(memory, bell, 0)
            futex_wake(memory, bell)


@njit_inline
def available(reader):
    """Return the sequence after the last readable record."""
    if reader.local[AT] == reader.local[SEEN]:
        # Acquire: pairs with the release in publish.
        reader.local[SEEN] = load_acquire(reader.ring.words, PUBLISHED)
    return reader.local[SEEN]


@njit_inline
def advance(reader, cursor):
    """Tell the producer that everything below `cursor` has had its effect."""
    reader.local[AT] = cursor
    # Release: pairs with the acquire in slowest. The effects come first (DESIGN 4.5).
    store_release(reader.ring.words, CURSOR + STRIDE * reader.index, cursor)


@njit
def copy_lossy(reader, output, output_words):
    """Copy what a lossy reader can still get, and count what it missed.

    Args:
        reader: Reader in mode LOSSY.
        output: Records to copy into; sets how many at most.
        output_words: The same memory as int64 rows.
    Returns:
        How many records were copied. The cursor has moved past them, and past what was missed.
    """
    ring, local = reader.ring, reader.local
    capacity = ring.slots.shape[0]
    missed = MISSED + STRIDE * reader.index
    end = available(reader)
    first = local[AT]
    lost = load_relaxed(ring.words, CLAIMED) - capacity - first
    if lost > 0:
        # Overrun: go to the middle of what is left, so that the next look is not overrun at once.
        local[SEEN] = load_acquire(ring.words, PUBLISHED)
        end = local[SEEN]
        first = max(first, end - capacity // 2)
    count = min(end - first, output.shape[0])
    for k in range(count):
        source = (first + k) & (capacity - 1)
        for w in range(output_words.shape[1]):
            output_words[k, w] = ring.slot_words[source, w]
    # Acquire: pairs with fence_release in claim. What was overwritten while it was copied shows in `claimed`.
    fence_acquire()
    torn = load_relaxed(ring.words, CLAIMED) - capacity - first
    if torn > 0:
        torn = min(torn, count)
        for k in range(count - torn):
            for w in range(output_words.shape[1]):
                output_words[k, w] = output_words[k + torn, w]
        count -= torn
        first += torn
    if first > local[AT]:
        store_relaxed(ring.words, missed, ring.words[missed] + first - local[AT])
    advance(reader, first + count)
    return count


class RingView:
    """A ring for people: what is in it, who reads it, who is behind. Reads only."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring

    @property
    def capacity(self) -> int:
        """How many records the ring holds."""
        return len(self.ring.slots)

    @property
    def published(self) -> int:
        """How many records were published since the instance was made."""
        return load_acquire_py(self.ring.words, PUBLISHED)

    def depth(self, index: int) -> int:
        """How many records reader `index` is behind."""
        return self.published - load_acquire_py(self.ring.words, CURSOR + STRIDE * index)

    def missed(self, index: int) -> int:
        """How many records a lossy reader lost."""
        return load_acquire_py(self.ring.words, MISSED + STRIDE * index)

    def read(self, first: int | None = None, count: int = 20) -> np.ndarray:
        """Copy records that are still there, by default the newest; what was overwritten meanwhile is left out."""
        end = self.published
        first = max(0, end - count) if first is None else first
        first = max(0, first, end - self.capacity)
        wanted = np.arange(first, min(first + count, end))
        copied = self.ring.slots[wanted & (self.capacity - 1)]
        torn_below = load_acquire_py(self.ring.words, CLAIMED) - self.capacity
        return copied[wanted >= torn_below]
