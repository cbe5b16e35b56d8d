"""Several shared words changed as one, whatever instruction the process dies at.

Everything that a stage writes is invisible at first: the spare copy of a row, the claimed slots of a ring. It becomes visible
by one word each: the row's commit, the ring's `published`, the reader's cursor, a counter. A transaction collects those
(index, value) pairs in a log, declares the log valid with one store, applies it, and clears it:

    log (int64)   0  count          0 = nothing pending; n = the n pairs below are to be applied
                 16  index, value   pairs; indices count words of the segment
                 18  index, value   ...

A kill before `count` is stored leaves nothing but invisible bytes, and the input is processed again from scratch. A kill after
it leaves a valid log: `redo` applies it again. Values are absolute, so applying them twice, or half and then whole, is the
same. Each input therefore counts exactly once, together with all that follows from it. (This is physical redo logging as in
Gray & Reuter, "Transaction Processing", chapter 10, with a log that holds one transaction.)
"""

from typing import NamedTuple

import numpy as np

from shm.atomics import fence_release, load_acquire, load_relaxed, store_relaxed, store_release
from shm.jit import njit, njit_inline
from shm.layout import Region
from shm.segment import Segment

COUNT, PAIRS = 0, 16
#: Pairs that one transaction can hold.
PAIRS_MAX = 512
#: commit() of more pairs than that.
OVERFLOW = -1
WORD_COUNT = PAIRS + 2 * PAIRS_MAX


class Transaction(NamedTuple):
    """The log of one writer; `local` is private to its process: pairs staged, pairs that did not fit."""

    memory: np.ndarray
    log: np.ndarray
    local: np.ndarray


def region(name: str) -> Region:
    """Return the region of a log."""
    return Region(f"{name}.log", np.dtype(np.int64), WORD_COUNT)


def open_transaction(segment: Segment, name: str) -> Transaction:
    """Return a writer's transaction, after redoing what the last process left half applied."""
    transaction = Transaction(segment.memory, segment.array(f"{name}.log"), np.zeros(2, np.int64))
    redo(transaction)
    return transaction


@njit
def stage(transaction, index, value):
    """Set word `index` of the memory to `value` when the transaction commits; the last value given counts."""
    log, count = transaction.log, transaction.local[0]
    at = PAIRS
    for _ in range(count):
        if load_relaxed(log, at) == index:
            store_relaxed(log, at + 1, value)
            return
        at += 2
    # Stages look at `space` first. A stage that does not loses nothing that is already staged, and commit tells.
    if count == PAIRS_MAX:
        transaction.local[1] += 1
        return
    store_relaxed(log, at, index)
    store_relaxed(log, at + 1, value)
    transaction.local[0] = count + 1


@njit
def staged(transaction, index, otherwise):
    """Return what word `index` will be: the value staged for it, or `otherwise`."""
    at = PAIRS
    for _ in range(transaction.local[0]):
        if load_relaxed(transaction.log, at) == index:
            return load_relaxed(transaction.log, at + 1)
        at += 2
    return otherwise


@njit_inline
def space(transaction):
    """Return how many pairs can still be staged."""
    return PAIRS_MAX - transaction.local[0]


@njit
def commit(transaction):
    """Make everything staged visible at once.

    Returns:
        How many words changed, or OVERFLOW where more was staged than fits: then nothing changed, and the stage must stop.
    """
    count = transaction.local[0]
    if transaction.local[1] > 0:
        return OVERFLOW
    if count > 0:
        # Release: pairs with the acquire in redo. From here on the transaction has happened.
        store_release(transaction.log, COUNT, count)
        apply(transaction, count)
        transaction.local[0] = 0
    return count


@njit
def apply(transaction, count):
    """Store the logged values in order, then clear the log."""
    log = transaction.log
    at = PAIRS
    for _ in range(count):
        # Release: pairs with the acquire of whoever reads that word (ring.available, ring.slowest, rows.read).
        store_release(transaction.memory, load_relaxed(log, at), load_relaxed(log, at + 1))
        at += 2
    store_release(log, COUNT, 0)
    # What is written next, into spare copies and into this log, must not move up into the transaction.
    fence_release()


@njit
def redo(transaction):
    """Finish the transaction that a dead process had declared valid.

    Returns:
        How many words were stored again, 0 where nothing was pending.
    """
    # Acquire: pairs with the release in commit.
    count = load_acquire(transaction.log, COUNT)
    if count > 0:
        apply(transaction, count)
    transaction.local[0] = 0
    return count
