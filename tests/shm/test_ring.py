"""One ring in one process: room, order, what a killed producer leaves, what people see."""

import numpy as np
import pytest

from shm import ring
from shm.ring import FULL, GATING, LOSSY, RingView
from shm.segment import Segment
from shm.transaction import commit, open_transaction
from shm.transaction import region as log_region
from tests.shm.conftest import MakeSegment
from tests.shm.records import RECORD, write_record

pytestmark = pytest.mark.jitless

CAPACITY = 8


@pytest.fixture
def segment(make_segment: MakeSegment) -> Segment:
    """Return a segment with one ring of eight records and one log."""
    return make_segment([*ring.regions("r", RECORD, CAPACITY), log_region("w")])


def open_ends(segment: Segment, *modes: int) -> tuple[ring.Producer, list[ring.Reader]]:
    """Open the ring's ends as new processes would; reader i has mode modes[i]."""
    made = ring.open_ring(segment, "r", RECORD)
    for index, mode in enumerate(modes):
        ring.set_reader(made, index, mode)
    return ring.open_producer(segment, made), [ring.open_reader(made, index) for index in range(len(modes))]


def produce(producer: ring.Producer, count: int) -> None:
    """Claim, write and publish records one by one."""
    for _ in range(count):
        seq = ring.claim(producer, 1)
        assert seq != FULL
        write_record(producer.ring.slot_words, seq & (CAPACITY - 1), seq)
        ring.publish(producer)


def take_lossy(reader: ring.Reader, count_max: int = CAPACITY) -> list[int]:
    """Copy what a lossy reader gets, check that each record is whole, and return their sequences."""
    output = np.zeros(count_max, RECORD)
    words = output.view(np.int64).reshape(count_max, 8)
    count = ring.copy_lossy(reader, output, words)
    seqs = [int(seq) for seq in words[:count, 0]]
    assert [[8 * seq + place for place in range(8)] for seq in [s // 8 for s in seqs]] == words[:count].tolist()
    return [seq // 8 for seq in seqs]


def missed(reader: ring.Reader) -> int:
    """Return what a lossy reader counted as lost."""
    return RingView(reader.ring).missed(reader.index)


def test_claim_with_a_gating_reader_at_rest_is_full_after_one_lap(segment: Segment) -> None:
    """The producer may be a whole capacity ahead, and not one record more."""
    producer, _ = open_ends(segment, GATING)
    produce(producer, CAPACITY)
    assert (FULL, 0) == (ring.claim(producer, 1), ring.room(producer))


def test_claim_of_more_than_the_room_takes_nothing(segment: Segment) -> None:
    """A batch that does not fit leaves the room to a smaller one."""
    producer, (reader,) = open_ends(segment, GATING)
    produce(producer, CAPACITY)
    ring.advance(reader, 3)
    assert [FULL, 8] == [ring.claim(producer, 4), ring.claim(producer, 3)]


def test_skip_moves_a_reader_past_what_is_overwritten_and_no_farther(segment: Segment) -> None:
    """One that nobody waited for may gate from then on: its next record is the oldest that the ring holds whole."""
    producer, (reader,) = open_ends(segment, LOSSY)
    produce(producer, 2 * CAPACITY + 3)
    ring.claim(producer, 2)  # overwritten, and never published
    ring.skip_overwritten(reader.ring, reader.index)
    _, (reader,) = open_ends(segment, GATING)
    assert (CAPACITY + 5, CAPACITY + 5) == (int(reader.local[ring.AT]), missed(reader))
    ring.skip_overwritten(reader.ring, reader.index)
    assert CAPACITY + 5 == missed(reader)


def test_claim_with_two_gating_readers_waits_for_the_slowest(segment: Segment) -> None:
    """The fast reader does not make room, nor does a lossy one hold any back."""
    producer, (fast, slow, _) = open_ends(segment, GATING, GATING, LOSSY)
    produce(producer, CAPACITY)
    ring.advance(fast, CAPACITY)
    ring.advance(slow, 2)
    assert 2 == ring.room(producer)


def test_claim_without_gating_readers_never_overwrites_what_it_has_not_published(segment: Segment) -> None:
    """Where nobody gates, the producer's own unpublished records still do."""
    producer, _ = open_ends(segment, LOSSY)
    assert 0 == ring.claim(producer, CAPACITY)
    assert (FULL, 0) == (ring.claim(producer, 1), ring.room(producer))
    ring.publish(producer)
    assert CAPACITY == ring.claim(producer, 1)


def test_available_before_publish_shows_nothing(segment: Segment) -> None:
    """Claimed records are invisible until they are published."""
    producer, (reader,) = open_ends(segment, GATING)
    ring.claim(producer, 3)
    assert 0 == ring.available(reader)
    ring.publish(producer)
    assert 3 == ring.available(reader)


def test_stage_publish_becomes_visible_with_the_commit(segment: Segment) -> None:
    """A staged publish and a staged advance are one step."""
    producer, (reader, other) = open_ends(segment, GATING, GATING)
    transaction = open_transaction(segment, "w")
    produce(producer, 2)
    ring.claim(producer, 1)
    ring.stage_publish(transaction, producer)
    ring.stage_advance(transaction, reader, 2)
    assert (2, 2) == (ring.available(other), RingView(producer.ring).depth(0))
    commit(transaction)
    ring.advance(other, 2)
    assert (3, 1) == (ring.available(other), RingView(producer.ring).depth(0))


def test_open_producer_after_a_kill_between_claim_and_publish_reuses_the_sequences(segment: Segment) -> None:
    """What was claimed and not published never happened: no gap, no duplicate."""
    producer, (reader,) = open_ends(segment, GATING)
    produce(producer, 3)
    ring.claim(producer, 4)
    producer, _ = open_ends(segment, GATING)
    assert (3, 3) == (ring.claim(producer, 1), ring.available(reader))


def test_open_producer_after_a_kill_keeps_lossy_readers_off_what_it_was_overwriting(segment: Segment) -> None:
    """The dead producer's half-written slots held older records: a lossy reader must still count them as lost."""
    producer, (reader,) = open_ends(segment, LOSSY)
    produce(producer, CAPACITY)
    assert [0] == take_lossy(reader, 1)
    ring.claim(producer, 4)
    producer.ring.slot_words[:4] = -1
    producer, _ = open_ends(segment, LOSSY)
    produce(producer, 1)
    assert ([5, 6, 7, 8], 4) == (take_lossy(reader), missed(reader))
    assert [4, 5, 6, 7, 8] == [int(record["word0"]) // 8 for record in RingView(reader.ring).read(0, 99)]


def test_open_reader_after_a_kill_goes_on_at_its_cursor(segment: Segment) -> None:
    """What was read and not advanced past is read again."""
    producer, (reader,) = open_ends(segment, GATING)
    produce(producer, 5)
    ring.advance(reader, 2)
    _, (reader,) = open_ends(segment, GATING)
    assert (2, 5) == (int(reader.local[ring.AT]), ring.available(reader))


def test_copy_lossy_in_time_gets_everything(segment: Segment) -> None:
    """A reader that keeps up misses nothing."""
    producer, (reader,) = open_ends(segment, LOSSY)
    produce(producer, CAPACITY)
    assert (list(range(CAPACITY)), 0) == (take_lossy(reader), missed(reader))


def test_copy_lossy_after_an_overrun_goes_on_in_the_middle_and_counts(segment: Segment) -> None:
    """Half a lap of distance is left, so that the next look is not overrun at once."""
    producer, (reader,) = open_ends(segment, LOSSY)
    produce(producer, 3 * CAPACITY + 1)
    assert ([21, 22, 23, 24], 21) == (take_lossy(reader), missed(reader))


def test_copy_lossy_with_a_small_output_takes_the_oldest_first(segment: Segment) -> None:
    """The size of the output limits a copy, and loses nothing."""
    producer, (reader,) = open_ends(segment, LOSSY)
    produce(producer, 5)
    assert ([0, 1, 2], [3, 4], []) == (take_lossy(reader, 3), take_lossy(reader, 3), take_lossy(reader, 3))


@pytest.mark.parametrize("claimed", range(1, CAPACITY + 1))
def test_copy_lossy_while_a_batch_is_written_returns_none_of_its_slots(segment: Segment, claimed: int) -> None:
    """From the claim on, the records below are torn, though nothing is published yet."""
    producer, (reader,) = open_ends(segment, LOSSY)
    produce(producer, CAPACITY)
    ring.claim(producer, claimed)
    producer.ring.slot_words[:claimed] = -1
    seqs = take_lossy(reader) + take_lossy(reader)
    assert all(seq >= claimed for seq in seqs)
    assert CAPACITY == missed(reader) + len(seqs)


def test_copy_lossy_that_loses_a_single_record_counts_it(segment: Segment) -> None:
    """A batch in the making reaches just one record that was still to be read."""
    producer, (reader,) = open_ends(segment, LOSSY)
    produce(producer, CAPACITY)
    assert [0, 1, 2, 3, 4] == take_lossy(reader, 5)
    ring.claim(producer, 6)
    assert ([6, 7], 1) == (take_lossy(reader), missed(reader))


def test_ring_view_counts_what_is_there_and_who_is_behind(segment: Segment) -> None:
    """People see capacity, published, and each reader's depth."""
    producer, (reader, _) = open_ends(segment, GATING, LOSSY)
    produce(producer, 5)
    ring.advance(reader, 4)
    view = RingView(producer.ring)
    assert (8, 5, 1, 5, 0) == (view.capacity, view.published, view.depth(0), view.depth(1), view.missed(1))


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [(None, 3, [17, 18, 19]), (None, 99, [*range(12, 20)]), (0, 3, [12, 13, 14]), (18, 9, [18, 19]), (50, 3, [])],
)
def test_ring_view_read_returns_what_is_left(segment: Segment, first: int | None, count: int, expected: list[int]) -> None:
    """By default the newest; from a sequence that is gone, the oldest that is left."""
    producer, _ = open_ends(segment, LOSSY)
    produce(producer, 20)
    records = RingView(producer.ring).read(first, count)
    assert expected == [int(record["word0"]) // 8 for record in records]


def test_ring_view_read_from_before_the_beginning_returns_only_what_was_published(segment: Segment) -> None:
    """A slot that never held a record is no record."""
    producer, _ = open_ends(segment, LOSSY)
    produce(producer, 3)
    assert 3 == len(RingView(producer.ring).read(-5, 99))


def test_regions_of_a_capacity_that_is_no_power_of_two_are_refused() -> None:
    """A slot is found by a mask."""
    with pytest.raises(AssertionError, match="power of two"):
        ring.regions("r", RECORD, 12)
