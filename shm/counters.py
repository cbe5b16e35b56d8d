"""Counters: one int64 per cache line, one writer each, readable while it runs and after it died.

The names of a bank stand in the topology; the bank itself is an array of words, counter i at word 8 * i.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shm.atomics import load_relaxed, store_relaxed
from shm.jit import njit, njit_inline
from shm.layout import CACHE_LINE, WORD, Region
from shm.segment import Segment
from shm.transaction import stage, staged

STRIDE = CACHE_LINE // WORD


class Counters(NamedTuple):
    """A bank of counters, as kernels take it."""

    words: np.ndarray
    base: int  #: index of words[0] in the segment's memory


def region(name: str, count: int) -> Region:
    """Return the region of a bank of `count` counters."""
    return Region(f"{name}.counters", np.dtype(np.int64), STRIDE * count)


def open_counters(segment: Segment, name: str) -> Counters:
    """Return the bank of this name in a mapped instance."""
    return Counters(segment.array(f"{name}.counters"), segment.base(f"{name}.counters"))


@njit_inline
def add(counters, index, amount):
    """Add to a counter at once. For what may be off by one after a kill."""
    at = STRIDE * index
    store_relaxed(counters.words, at, counters.words[at] + amount)


@njit_inline
def put(counters, index, value):
    """Set a counter, for gauges."""
    store_relaxed(counters.words, STRIDE * index, value)


@njit
def stage_add(transaction, counters, index, amount):
    """Add to a counter when the transaction commits. For what must be exact whatever dies."""
    at = counters.base + STRIDE * index
    stage(transaction, at, staged(transaction, at, load_relaxed(transaction.memory, at)) + amount)


def snapshot(counters: Counters, names: Sequence[str]) -> dict[str, int]:
    """Return the values by name; each is whole, together they are of about one moment."""
    return {name: int(counters.words[STRIDE * index]) for index, name in enumerate(names)}
