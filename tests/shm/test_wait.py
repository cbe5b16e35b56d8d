"""Waiting: which strategy, when to park, and the flag that makes producers ring."""

import numba
import numpy as np
import pytest

from shm import heartbeat, ring, wait
from shm.atomics import load_acquire
from shm.jit import JIT_ENABLED, njit
from shm.segment import Segment
from shm.wait import PARK, SPIN, SPIN_TURNS, YIELD, Strategy, choose
from tests.shm.conftest import MakeSegment
from tests.shm.records import RECORD

pytestmark = pytest.mark.jitless

HOUR_NS = 3_600_000_000_000


def waiter_of(strategy: int, park_after_ns: int = 0) -> wait.Waiter:
    """Return a waiter whose bell is word 3 of a small memory."""
    return wait.make_waiter(np.zeros(8, np.int64), 3, strategy, park_after_ns)


@pytest.mark.parametrize(
    ("wanted", "shares_core", "expected"),
    [
        (Strategy.AUTO, True, Strategy.PARK),
        (Strategy.AUTO, False, Strategy.SPIN),
        (Strategy.SPIN, True, Strategy.SPIN),
        (Strategy.YIELD, False, Strategy.YIELD),
        (Strategy.PARK, False, Strategy.PARK),
    ],
)
def test_choose_keeps_what_is_wanted_and_else_starves_nobody(wanted: Strategy, shares_core: bool, expected: Strategy) -> None:
    """A worker spins by itself only on a core of its own."""
    assert expected == choose(wanted, shares_core)


def test_strategies_by_name_are_the_kernels_codes() -> None:
    """The configuration's names and the kernels' constants are one list."""
    assert (SPIN, YIELD, PARK) == (Strategy.SPIN, Strategy.YIELD, Strategy.PARK)


@pytest.mark.parametrize("strategy", [SPIN, YIELD])
def test_idle_of_a_waiter_that_never_parks_is_never_true(strategy: int) -> None:
    """Spinning and yielding go on."""
    waiter = waiter_of(strategy)
    assert [False] * 500 == [wait.idle(waiter) for _ in range(500)]


def test_idle_with_park_spins_then_yields_then_parks() -> None:
    """The first turns spin, the next one starts the clock, and with no time to yield the next ones park."""
    waiter = waiter_of(PARK)
    assert [False] * SPIN_TURNS + [True, True] == [bool(wait.idle(waiter)) for _ in range(SPIN_TURNS + 2)]


def test_idle_with_time_left_yields_instead_of_parking() -> None:
    """Before `park_after_ns` is over nobody sleeps."""
    waiter = waiter_of(PARK, HOUR_NS)
    assert not any(wait.idle(waiter) for _ in range(300))


def test_worked_starts_the_waiting_anew() -> None:
    """Work between two idle times is a reason to spin again."""
    waiter = waiter_of(PARK)
    for _ in range(SPIN_TURNS + 1):
        wait.idle(waiter)
    wait.worked(waiter)
    assert [False] * SPIN_TURNS == [bool(wait.idle(waiter)) for _ in range(SPIN_TURNS)]


def test_prepare_and_cancel_raise_and_lower_the_flag() -> None:
    """The flag stands only while the worker is about to sleep or asleep."""
    waiter = waiter_of(PARK)
    wait.prepare(waiter)
    assert 1 == waiter.memory[waiter.bell]
    wait.cancel(waiter)
    assert (0, 0) == (int(waiter.memory[waiter.bell]), int(waiter.local[wait.TURNS]))


@pytest.mark.parametrize("flag", [0, 1])
def test_park_ends_by_a_ring_or_by_its_timeout_with_the_flag_down(flag: int) -> None:
    """Rung before it slept, it returns at once; never rung, after the timeout, which no caller can make longer than 10 ms."""
    waiter = waiter_of(PARK)
    waiter.memory[waiter.bell] = flag
    wait.park(waiter, HOUR_NS)
    assert 0 == waiter.memory[waiter.bell]


@njit
def look_after_prepare(waiter, words):
    """Raise the flag and look at an input, as every worker does before it parks."""
    wait.prepare(waiter)
    return load_acquire(words, 0)


@pytest.mark.skipif(not JIT_ENABLED, reason="there is no generated code with the JIT off")
def test_prepare_compiled_keeps_a_full_fence_between_the_flag_and_the_look() -> None:
    """Without it both sides may miss each other, seldom enough to pass any stress test."""
    kernel = numba.njit(look_after_prepare.py_func)
    kernel(waiter_of(PARK), np.zeros(1, np.int64))
    llvm_code = next(iter(kernel.inspect_llvm().values()))
    flag = llvm_code.index("store atomic i64 1, ptr")
    fence = llvm_code.index("fence seq_cst", flag)
    assert llvm_code.index("load atomic i64, ptr", flag) > fence


@pytest.fixture
def segment(make_segment: MakeSegment) -> Segment:
    """Return a segment with a ring and the blocks of two workers."""
    return make_segment([*ring.regions("r", RECORD, 4), heartbeat.region("a"), heartbeat.region("b")])


def test_publish_rings_only_the_readers_that_are_parked_on_it(segment: Segment) -> None:
    """A flag of a reader of this ring goes down; a reader without a bell and a stranger's flag are left alone."""
    made = ring.open_ring(segment, "r", RECORD)
    bells = [segment.base(f"{name}.heartbeat") + heartbeat.BELL for name in ("a", "b")]
    ring.set_reader(made, 0, ring.GATING, bells[0])
    ring.set_reader(made, 1, ring.LOSSY)
    segment.memory[bells] = 1
    producer = ring.open_producer(segment, made)
    ring.claim(producer, 1)
    ring.publish(producer)
    assert [0, 1] == segment.memory[bells].tolist()


def test_publish_of_a_ring_where_nobody_parks_touches_no_bell(segment: Segment) -> None:
    """Without bells the fence is saved, and no flag is looked at."""
    made = ring.open_ring(segment, "r", RECORD)
    ring.set_reader(made, 0, ring.GATING)
    segment.memory[segment.base("a.heartbeat") + heartbeat.BELL] = 1
    producer = ring.open_producer(segment, made)
    ring.claim(producer, 1)
    ring.publish(producer)
    assert (0, 1) == (int(made.words[ring.BELLS]), int(segment.memory[segment.base("a.heartbeat") + heartbeat.BELL]))
