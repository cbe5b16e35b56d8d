"""How a worker waits for input: spin, then yield, then park.

SPIN    burns its core; for a core of its own.
YIELD   offers the core at each turn (sched_yield); for fewer cores than workers, while data flows.
PARK    yields for a while, then sleeps on its bell (a futex) until a producer rings it, at most 10 ms at a time.

Where workers share cores, a spinning one can starve the one it waits for, so `choose` gives SPIN only to a worker that has its
core to itself.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from shm.atomics import fence_seq_cst, futex_wait, load_acquire, monotonic_ns, pause, store_relaxed, yield_core
from shm.jit import njit, njit_inline

SPIN, YIELD, PARK = 1, 2, 3
#: Turns without work before the first yield: few, since who shares a core may hold up the very worker it waits for.
SPIN_TURNS = 2
#: The longest sleep: after it the worker looks by itself, so that no lost wake-up lasts.
PARK_NS_MAX = 10_000_000

# Private words of a waiter.
IDLE_SINCE, TURNS = 0, 1


class Strategy(IntEnum):
    """The strategies by name, as in the configuration."""

    AUTO, SPIN, YIELD, PARK = range(4)


class Waiter(NamedTuple):
    """How one worker waits; `local` is private to its process."""

    memory: np.ndarray  #: the segment's words
    bell: int  #: index in memory of the worker's bell
    strategy: int
    park_after_ns: int  #: PARK: how long to yield first
    local: np.ndarray


def choose(wanted: Strategy, shares_core: bool) -> Strategy:
    """Return the strategy for a worker: the one wanted, else the fastest that starves nobody."""
    if wanted != Strategy.AUTO:
        return wanted
    return Strategy.PARK if shares_core else Strategy.SPIN


def make_waiter(memory: np.ndarray, bell: int, strategy: int, park_after_ns: int) -> Waiter:
    """Return a waiter that has not waited yet."""
    return Waiter(memory, bell, int(strategy), park_after_ns, np.zeros(2, np.int64))


@njit_inline
def worked(waiter):
    """Tell the waiter that there was work."""
    waiter.local[TURNS] = 0


@njit_inline
def idle(waiter):
    """Wait a little.

    Returns:
        True when it is time to park: the caller then calls `prepare`, looks at all its inputs once more, and calls `park`.
    """
    turns = waiter.local[TURNS] + 1
    waiter.local[TURNS] = turns
    if waiter.strategy == SPIN or turns < SPIN_TURNS:
        pause()
        return False
    if waiter.strategy == PARK:
        if turns == SPIN_TURNS:
            waiter.local[IDLE_SINCE] = monotonic_ns()
        elif monotonic_ns() - waiter.local[IDLE_SINCE] >= waiter.park_after_ns:
            return True
    yield_core()
    return False


@njit
def prepare(waiter):
    """Raise the flag that makes producers ring. Look at all inputs after it, and only then park."""
    store_relaxed(waiter.memory, waiter.bell, 1)
    # Pairs with the fence in ring.ring_bells: either we see their record, or they see our flag.
    fence_seq_cst()


@njit
def cancel(waiter):
    """Lower the flag: there was work after all."""
    store_relaxed(waiter.memory, waiter.bell, 0)
    waiter.local[TURNS] = 0


@njit
def park(waiter, timeout_ns):
    """Sleep until rung, or for `timeout_ns`, at most PARK_NS_MAX."""
    if load_acquire(waiter.memory, waiter.bell) == 1:
        futex_wait(waiter.memory, waiter.bell, 1, min(timeout_ns, PARK_NS_MAX))
    store_relaxed(waiter.memory, waiter.bell, 0)
