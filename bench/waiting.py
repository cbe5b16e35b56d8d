"""How long does a waiting worker take to see what came, by how it waits and where it runs?

    topology   sender, 1,000 records a second  ==ring==>  receiver
               both on one core, or each on its own

    sender     spins, yields or sleeps until the next record is due
    receiver   waits as a worker does (shm.wait): spins, yields, or parks at once on a futex that the sender rings

`due_*` counts from the moment at which the record was due, so a sender that comes late is part of it; `sent_*` counts from
the sender's last look at the clock before it wrote the record. Both end when the receiver has read the clock, which is some
27 ns of each. The sender asks the kernel for timers without slack, since 50 µs of it would hide everything else.
"""

import ctypes
import os
import time
from itertools import product

import numpy as np

from bench.harness import PACE_SLEEP, PACE_SPIN, PACE_YIELD, Pinned, Result, Row, Settings, choose_cores, wait_until
from bench.peer import Peer, PeerDied
from bench.steal import Disturbance
from shm import histogram
from shm.atomics import load_acquire, monotonic_ns
from shm.jit import njit
from shm.layout import Region
from shm.ring import (
    AT,
    FULL,
    GATING,
    PUBLISHED,
    Producer,
    advance,
    available,
    claim,
    open_producer,
    open_reader,
    open_ring,
    publish,
    regions,
    set_reader,
)
from shm.segment import Segment
from shm.wait import PARK, PARK_NS_MAX, SPIN, YIELD, cancel, idle, make_waiter, park, prepare, worked

DUE, SENT = "due_ns", "sent_ns"
RECORD = np.dtype([(DUE, "i8"), (SENT, "i8"), *((f"w{word}", "i8") for word in range(6))], align=True)
assert RECORD.itemsize == 64, "one record is one cache line"

CAPACITY = 1024
REGIONS = [
    Region("bell", np.dtype(np.int64), 16),
    histogram.region("due"),
    histogram.region("sent"),
    *regions("records", RECORD, CAPACITY),
]
RECEIVE = 0
RATE_PER_SECOND = 1_000
INTERVAL_NS = 1_000_000_000 // RATE_PER_SECOND
#: The clock is looked at once in so many turns of waiting.
CLOCK_MASK = 255
TURN_NS_MAX = 20_000_000_000
PACES = {"spins": PACE_SPIN, "yields": PACE_YIELD, "sleeps": PACE_SLEEP}
STRATEGIES = {"spins": SPIN, "yields": YIELD, "parks": PARK}
_PR_SET_TIMERSLACK = 29


@njit
def send_at_rate(producer, count, interval_ns, pace, deadline_ns):
    """Send records at a fixed rate, each with the time at which it was due and that at which it went.

    Returns:
        How many were sent before the deadline, or before the ring was full.
    """
    slots = producer.ring.slots
    start_ns = monotonic_ns() + interval_ns
    for k in range(count):
        due_ns = start_ns + k * interval_ns
        now_ns = wait_until(due_ns, pace)
        first = claim(producer, 1)
        if first == FULL or now_ns > deadline_ns:
            return k
        slot = slots[first & (slots.shape[0] - 1)]
        slot[DUE] = due_ns
        slot[SENT] = now_ns
        publish(producer)
    return count


@njit
def receive(reader, waiter, from_due, from_sent, count, deadline_ns):
    """Read records as a worker would, and record how late each is.

    Args:
        reader: Gating reader.
        waiter: How to wait.
        from_due: Histogram words: since the record was due.
        from_sent: Histogram words: since it was sent.
        count: How many records.
        deadline_ns: When to give up.
    Returns:
        How many records came.
    """
    slots = reader.ring.slots
    taken = turns = 0
    while taken < count:
        at = reader.local[AT]
        if available(reader) == at:
            turns += 1
            if idle(waiter):
                prepare(waiter)
                if load_acquire(reader.ring.words, PUBLISHED) > at:
                    cancel(waiter)
                else:
                    park(waiter, PARK_NS_MAX)
            if turns & CLOCK_MASK == 0 and monotonic_ns() > deadline_ns:
                return taken
            continue
        now_ns = monotonic_ns()
        slot = slots[at & (slots.shape[0] - 1)]
        histogram.record(from_due, now_ns - slot[DUE])
        histogram.record(from_sent, now_ns - slot[SENT])
        advance(reader, at + 1)
        worked(waiter)
        taken += 1
    return taken


def _receive(segment: Segment, arguments: list[int], results: np.ndarray) -> None:
    core, strategy, count, until_ns = arguments[:4]
    os.sched_setaffinity(0, {core})
    reader = open_reader(open_ring(segment, "records", RECORD), 0)
    waiter = make_waiter(segment.memory, segment.base("bell"), strategy, 0)
    due, sent = (histogram.open_histogram(segment, name) for name in ("due", "sent"))
    results[0] = receive(reader, waiter, due, sent, count, until_ns)


#: What the other process does, by number.
ROLES = (_receive,)


def measure(peer: Peer, producer: Producer, core: int, pace: int, strategy: int, count: int) -> dict[str, float]:
    """Return quantiles in ns for one way to send and one to wait, the receiver on `core`."""
    found = {name: histogram.open_histogram(peer.segment, name) for name in ("due", "sent")}
    for words in found.values():
        words[:] = 0
    until_ns = time.monotonic_ns() + TURN_NS_MAX
    peer.begin(RECEIVE, core, strategy, count, until_ns)
    sent = send_at_rate(producer, count, INTERVAL_NS, pace, until_ns)
    taken = peer.end()[0]
    if not sent == taken == count:
        raise PeerDied(f"{sent} of {count} records sent and {taken} received before the deadline")
    values: dict[str, float] = {}
    for name, words in found.items():
        quantiles = histogram.summary(words)
        values |= {f"{name}_p50_ns": quantiles.p50, f"{name}_p90_ns": quantiles.p90, f"{name}_p99_ns": quantiles.p99}
    return {**values, "due_max_ns": int(found["due"][histogram.LARGEST]), "count": count}


def run(settings: Settings) -> Result:
    """Measure every way to wait, on one core and on two."""
    cores = choose_cores(2)
    places = {"one core": cores[0]} | ({"two cores": cores[1]} if len(cores) > 1 else {})
    result = Result("waiting", "sender ==ring==> receiver, on one core and on two", "1,000 records a second", cores=cores)
    count = settings.pick(1_000, 10)
    with Disturbance(cores) as disturbance, Pinned(cores[0]), Peer("bench.waiting", REGIONS, cores[-1]) as peer:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_TIMERSLACK, 1)
        ring = open_ring(peer.segment, "records", RECORD)
        set_reader(ring, 0, GATING, peer.segment.base("bell"))
        producer = open_producer(peer.segment, ring)
        peer.do(RECEIVE, cores[-1], SPIN, 0, 0)
        send_at_rate(producer, 0, INTERVAL_NS, PACE_SPIN, 0)
        for (place, core), (sends, pace), (waits, strategy) in product(places.items(), PACES.items(), STRATEGIES.items()):
            values = measure(peer, producer, core, pace, strategy, count)
            result.rows.append(Row(f"{place}: sender {sends}, receiver {waits}", values))
        # 0 is the kernel's own again.
        libc.prctl(_PR_SET_TIMERSLACK, 0)
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    return result
