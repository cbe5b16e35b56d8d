"""Rings as an instance is set up: who holds a producer back, and who does not because nobody reads there."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline import topology
from pipeline.messages import ORDER
from shm import ring
from shm.ring import GATING, LOSSY
from shm.segment import Segment, finish, open_owned

pytestmark = pytest.mark.jitless

CAPACITY = 64
SIZES = topology.Sizes(
    instruments=1, strategies=2, ticks=64, requests=64, orders=CAPACITY, reports=64, events=64, stops=16, working_orders=16,
    venue_orders=16, series=1, notes=64,
)  # fmt: skip
#: Rings that the sidecar alone holds back, or with one that reads them.
KEPT = ("orders", "reports", "events", "notes")


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Return an instance's memory that is not set up yet."""
    made = open_owned(f"test-topology-{os.getpid()}", topology.regions(SIZES, 64), fresh=True)
    made.unlink()
    finish(made)
    yield made
    made.close()


def modes_of(segment: Segment, worker: str) -> dict[str, int]:
    """Return the mode of a worker's end in each ring that it reads."""
    return {
        row.name: int(ring.open_ring(segment, row.name, row.dtype).words[ring.MODE + index])
        for row in topology.ring_rows(SIZES.strategies)
        for index, (reader, _) in enumerate(row.readers)
        if reader == worker
    }


def ends_of_orders(segment: Segment) -> tuple[ring.Producer, ring.Reader, ring.Reader]:
    """Return risk's end of the orders ring, execution's and the sidecar's."""
    orders = ring.open_ring(segment, "orders", ORDER)
    readers = [
        ring.open_reader(orders, topology.reader_index("orders", worker, SIZES.strategies))
        for worker in ("execution", "sidecar")
    ]
    return ring.open_producer(segment, orders), readers[0], readers[1]


def send(producer: ring.Producer, reader: ring.Reader, count: int) -> None:
    """Publish orders that execution takes at once, where there is room for them."""
    for _ in range(count):
        seq = ring.claim(producer, 1)
        assert seq != ring.FULL
        producer.ring.slots["order_id"][seq & (CAPACITY - 1)] = seq + 1
        ring.publish(producer)
        ring.advance(reader, int(seq) + 1)


def test_set_up_without_a_sidecar_lets_no_ring_wait_for_it(segment: Segment) -> None:
    """Entries would stop for good once nine tenths of a ring that nobody reads are full."""
    topology.set_up(segment, SIZES, {}, absent=["sidecar"])
    producer, execution, _ = ends_of_orders(segment)

    assert dict.fromkeys(("ticks", *KEPT), LOSSY) == modes_of(segment, "sidecar")
    assert dict.fromkeys(("ticks", "orders"), GATING) == modes_of(segment, "execution")
    send(producer, execution, 3 * CAPACITY)
    assert CAPACITY == ring.room(producer)


def test_set_up_with_a_sidecar_holds_rings_back_for_it(segment: Segment) -> None:
    """No order leaves that it could not keep."""
    topology.set_up(segment, SIZES, {})
    producer, execution, _ = ends_of_orders(segment)

    assert dict.fromkeys(KEPT, GATING) | {"ticks": LOSSY} == modes_of(segment, "sidecar")
    send(producer, execution, CAPACITY)
    assert 0 == ring.room(producer)


def test_set_up_with_a_sidecar_after_one_without_gives_it_what_is_left(segment: Segment) -> None:
    """It begins with the oldest order that the ring still holds, and what is lost is counted."""
    topology.set_up(segment, SIZES, {}, absent=["sidecar"])
    producer, execution, _ = ends_of_orders(segment)
    send(producer, execution, 3 * CAPACITY + 5)
    topology.set_up(segment, SIZES, {})
    producer, execution, sidecar = ends_of_orders(segment)

    view = ring.RingView(sidecar.ring)
    assert (2 * CAPACITY + 5, 2 * CAPACITY + 5) == (int(sidecar.local[ring.AT]), view.missed(sidecar.index))
    assert 0 == ring.room(producer)
    ids = [int(producer.ring.slots["order_id"][seq & (CAPACITY - 1)]) for seq in range(2 * CAPACITY + 5, 3 * CAPACITY + 5)]
    assert np.arange(2 * CAPACITY + 6, 3 * CAPACITY + 6).tolist() == ids
    ring.advance(sidecar, 3 * CAPACITY + 5)
    send(producer, execution, CAPACITY)


def test_set_up_again_leaves_readers_where_they_were(segment: Segment) -> None:
    """A restart of one that reads on finds all that was sent meanwhile."""
    topology.set_up(segment, SIZES, {})
    producer, execution, sidecar = ends_of_orders(segment)
    send(producer, execution, CAPACITY - 1)
    ring.advance(sidecar, 3)
    topology.set_up(segment, SIZES, {})
    producer, execution, sidecar = ends_of_orders(segment)

    assert (3, CAPACITY - 1) == (int(sidecar.local[ring.AT]), int(execution.local[ring.AT]))
    assert 0 == ring.RingView(sidecar.ring).missed(sidecar.index)
    assert 4 == ring.room(producer)
