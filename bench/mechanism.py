"""What do the building blocks cost that every stage uses on its hot way?

    topology   one process, one core, private memory in a segment of its own; nobody reads

Each operation runs in a kernel's loop, and the loops take turns. What is stated is the time of one pass, its input included:
the loop that makes only the input stands beside them. The core overlaps one pass with the next, so this is what an operation
adds to a busy stage, not how long it takes alone. Median of the turns, and the best one, which a busy neighbour spoils least.
"""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.harness import Pinned, Ratio, Result, Row, Settings, choose_cores, in_turns
from bench.steal import Disturbance
from shm import counters, histogram, ring, rows, transaction
from shm.atomics import load_relaxed, monotonic_ns, store_relaxed
from shm.jit import njit
from shm.segment import Segment, finish, open_owned

W0, W3 = "w0", "w3"
#: A row of 128 bytes, as stops and positions have.
WIDE = np.dtype([(f"w{word}", "i8") for word in range(16)], align=True)
#: A record of 64 bytes, as ticks and orders are.
RECORD = np.dtype([(f"w{word}", "i8") for word in range(8)], align=True)
ROW_COUNT, CAPACITY, COUNTER_COUNT = 64, 1024, 8
REGIONS = [
    counters.region("bench", COUNTER_COUNT),
    histogram.region("bench"),
    transaction.region("bench"),
    *rows.regions("bench.rows", WIDE, ROW_COUNT),
    *ring.regions("bench.ring", RECORD, CAPACITY),
]
COMMIT_NS_MAX, RECORD_NS_MAX, COUNTER_NS_MAX = 60.0, 3.0, 3.0
#: Makes the next pseudo-random value of a loop; any odd multiplier and increment would do.
MULTIPLIER, INCREMENT, VALUE_MASK = 1103515245, 12345, 0xFFFF


@njit
def loop_nothing(words, count):
    """The inputs of the other loops, and one ordered store, so that the loop stays."""
    value = INCREMENT
    for _ in range(count):
        value = (value * MULTIPLIER + INCREMENT) & VALUE_MASK
        store_relaxed(words, 0, value)


@njit
def loop_counter(bank, count):
    """Add to one of the counters."""
    value = INCREMENT
    for _ in range(count):
        value = (value * MULTIPLIER + INCREMENT) & VALUE_MASK
        counters.add(bank, value & (COUNTER_COUNT - 1), 1)


@njit
def loop_histogram(words, count):
    """Record values of all sizes below 65 µs."""
    value = INCREMENT
    for _ in range(count):
        value = (value * MULTIPLIER + INCREMENT) & VALUE_MASK
        histogram.record(words, value)


@njit
def loop_commit(log, table, bank, count):
    """Change a field of a row and two counters as one."""
    value = INCREMENT
    for _ in range(count):
        value = (value * MULTIPLIER + INCREMENT) & VALUE_MASK
        copy = rows.edit(log, table, value & (ROW_COUNT - 1))
        table.copies[copy][W3] = value
        counters.stage_add(log, bank, 1, 1)
        counters.stage_add(log, bank, 2, value)
        transaction.commit(log)


@njit
def loop_publish(producer, count):
    """Claim a record, write one word of it, publish it; no reader is there to be waited for."""
    value = INCREMENT
    slots = producer.ring.slots
    for _ in range(count):
        value = (value * MULTIPLIER + INCREMENT) & VALUE_MASK
        first = ring.claim(producer, 1)
        slots[first & (CAPACITY - 1)][W0] = value
        ring.publish(producer)


@njit
def loop_clock(words, count):
    """Read the clock."""
    for _ in range(count):
        store_relaxed(words, 0, load_relaxed(words, 0) ^ monotonic_ns())


def time_ns_each(loop: Callable[[int], object], count: int) -> float:
    """Return what one turn of a loop takes."""
    start_ns = time.perf_counter_ns()
    loop(count)
    return (time.perf_counter_ns() - start_ns) / count


def operations(segment: Segment) -> dict[str, tuple[Callable[[int], object], float | None]]:
    """Return each operation's loop, and the goal in ns where it has one."""
    bank = counters.open_counters(segment, "bench")
    log = transaction.open_transaction(segment, "bench")
    table = rows.open_table(segment, "bench.rows", WIDE)
    producer = ring.open_producer(segment, ring.open_ring(segment, "bench.ring", RECORD))
    scratch = np.zeros(8, np.int64)
    return {
        "input alone": (partial(loop_nothing, scratch), None),
        "counter add": (partial(loop_counter, bank), COUNTER_NS_MAX),
        "histogram record": (partial(loop_histogram, histogram.open_histogram(segment, "bench")), RECORD_NS_MAX),
        "commit of a row and two counters": (partial(loop_commit, log, table, bank), COMMIT_NS_MAX),
        "ring claim and publish": (partial(loop_publish, producer), None),
        "clock": (partial(loop_clock, scratch), None),
    }


def run(settings: Settings) -> Result:
    """Measure the building blocks."""
    cores = choose_cores(1)
    result = Result("mechanism", "one process on one core", "one pass of a kernel's loop, its input included", cores=cores)
    count, turns = settings.pick(200_000, 100), settings.pick(31, 2)
    segment = open_owned(f"bench-{os.getpid()}-mechanism", REGIONS, fresh=True)
    try:
        finish(segment)
        measured = operations(segment)
        with Disturbance(cores) as disturbance, Pinned(cores[0]):
            for loop, _ in measured.values():
                loop(1)
            times = in_turns([partial(time_ns_each, loop, count) for loop, _ in measured.values()], turns)
    finally:
        segment.unlink()
        segment.close()
    for (what, (_, goal)), values in zip(measured.items(), times, strict=True):
        median = round(statistics.median(values), 2)
        result.rows.append(Row(what, {"median_ns": median, "best_ns": round(min(values), 2)}))
        if goal is not None:
            result.ratios.append(Ratio(f"{what}, ns", median, at_most=goal))
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    return result
