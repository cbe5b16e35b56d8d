"""Kill a writer before and after every store it makes; what the next process finds is all of a transaction, or none."""

import random

import numpy as np
import pytest

from shm import counters, ring, rows, transaction
from shm.jit import JIT_ENABLED
from shm.layout import Region
from shm.segment import Segment
from tests.crash_points import enumerate_points, run_until
from tests.shm.conftest import MakeSegment
from tests.shm.records import RECORD, word_of, write_record

pytestmark = [
    pytest.mark.jitless,
    pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores"),
]

CAPACITY = 8
INPUT_COUNT = 2
SEED = 20260105
#: Whose stores count: the mechanism's, and those that the tests' own kernels make into slots.
FILES = ("shm/", "tests/shm/records.py", "tests/shm/test_crash_points.py")


class Stage:
    """A small stage: each input publishes two records, edits two rows and counts, in one transaction.

    A new object is a new process: it knows what the segment says and nothing else.
    """

    #: A mistake, for the test that it is found: publish before the commit.
    publishes_early = False

    def __init__(self, segment: Segment) -> None:
        self.transaction = transaction.open_transaction(segment, "w")
        self.inputs = ring.open_reader(ring.open_ring(segment, "in", RECORD), 0)
        self.outputs = ring.open_producer(segment, ring.open_ring(segment, "out", RECORD))
        self.table = rows.open_table(segment, "t", RECORD)
        self.counters = counters.open_counters(segment, "w")

    def step(self) -> bool:
        """Process one input; False where there is none."""
        seq = int(self.inputs.local[ring.AT])
        if seq == ring.available(self.inputs):
            return False
        first = ring.claim(self.outputs, 2)
        for output in (first, first + 1):
            write_record(self.outputs.ring.slot_words, output & (CAPACITY - 1), output)
        for row in (0, 1, 0):
            copy = rows.edit(self.transaction, self.table, row)
            for word in range(8):
                self.table.words[copy, word] += 1
        counters.stage_add(self.transaction, self.counters, 0, 1)
        if self.publishes_early:
            ring.publish(self.outputs)
        ring.stage_publish(self.transaction, self.outputs)
        ring.stage_advance(self.transaction, self.inputs, seq + 1)
        transaction.commit(self.transaction)
        ring.wake(self.outputs)
        return True


@pytest.fixture
def segment(make_segment: MakeSegment) -> Segment:
    """Return a segment for the stage, with its inputs published."""
    made = make_segment(
        [*ring.regions("in", RECORD, CAPACITY), *ring.regions("out", RECORD, CAPACITY), *rows.regions("t", RECORD, 2),
         transaction.region("w"), counters.region("w", 1)]
    )  # fmt: skip
    inputs = ring.open_ring(made, "in", RECORD)
    ring.set_reader(inputs, 0, ring.GATING)
    ring.set_reader(ring.open_ring(made, "out", RECORD), 0, ring.GATING)
    producer = ring.open_producer(made, inputs)
    ring.claim(producer, INPUT_COUNT)
    ring.publish(producer)
    return made


class EarlyStage(Stage):
    """The mistake: the effect is visible before the input counts as processed."""

    publishes_early = True


def run_all(segment: Segment, kind: type[Stage] = Stage) -> None:
    """Process everything that is there, as a process from its start to its end."""
    stage = kind(segment)
    while stage.step():
        pass


def run_one(segment: Segment) -> None:
    """Process one input in a new process."""
    Stage(segment).step()


def state_of(segment: Segment) -> tuple[list[int], list[list[int]]]:
    """Return what others see: cursor, published, counter, and both rows."""
    inputs, outputs = (ring.RingView(ring.open_ring(segment, name, RECORD)) for name in ("in", "out"))
    table = rows.snapshot(rows.open_table(segment, "t", RECORD)).view(np.int64).reshape(2, 8)
    seen = [inputs.published - inputs.depth(0), outputs.published, int(segment.array("w.counters")[0])]
    return seen, table.tolist()


def expected_after(count: int) -> tuple[list[int], list[list[int]]]:
    """Return the state after `count` inputs, each counted once."""
    return [count, 2 * count, count], [[2 * count] * 8, [count] * 8]


def restore(segment: Segment, image: np.ndarray) -> None:
    """Bring the segment back to where a run starts."""
    segment.memory[:] = image


def assert_records_whole(segment: Segment, published: int) -> None:
    """Every record up to `published` holds its own words."""
    records = ring.open_ring(segment, "out", RECORD)
    for seq in range(published):
        assert [word_of(seq, place) for place in range(8)] == records.slot_words[seq & (CAPACITY - 1)].tolist()


def test_stage_killed_at_every_store_counts_each_input_once(segment: Segment) -> None:
    """Whatever store it dies at: after the restart all that follows from an input is there, or none, and never twice."""
    image = segment.memory.copy()
    point_count = enumerate_points(lambda: run_all(segment), FILES)
    assert expected_after(INPUT_COUNT) == state_of(segment)
    assert point_count > 200
    generator = random.Random(SEED)
    for point in range(point_count):
        restore(segment, image)
        where = run_until(point, lambda: run_all(segment), FILES)
        assert where
        # The next process dies as well, somewhere.
        run_until(generator.randrange(point_count), lambda: run_all(segment), FILES)
        Stage(segment)
        seen, table = state_of(segment)
        assert expected_after(seen[0]) == (seen, table), where
        assert_records_whole(segment, seen[1])
        run_all(segment)
        assert expected_after(INPUT_COUNT) == state_of(segment), where
        assert_records_whole(segment, 2 * INPUT_COUNT)


def test_stage_that_publishes_before_its_commit_is_caught(segment: Segment) -> None:
    """The method can fail: with the effect before the commit, some kill makes an output twice."""
    image = segment.memory.copy()
    published = set()
    for point in range(0, enumerate_points(lambda: run_all(segment, EarlyStage), FILES), 3):
        restore(segment, image)
        run_until(point, lambda: run_all(segment, EarlyStage), FILES)
        run_all(segment, EarlyStage)
        published.add(state_of(segment)[0][1])
    assert {2 * INPUT_COUNT, 2 * INPUT_COUNT + 2} == published


def test_redo_killed_at_every_store_of_itself_still_finishes(segment: Segment) -> None:
    """A redo that dies is done again; a second death in it changes nothing either."""
    image = pending_image(segment)
    point_count = enumerate_points(lambda: reopen(segment), FILES)
    assert expected_after(1) == state_of(segment)
    for first in range(point_count):
        for second in range(point_count):
            restore(segment, image)
            assert run_until(first, lambda: reopen(segment), FILES)
            run_until(second, lambda: reopen(segment), FILES)
            reopen(segment)
            assert expected_after(1) == state_of(segment)


def reopen(segment: Segment) -> None:
    """Open the stage's log alone, which redoes it."""
    transaction.open_transaction(segment, "w")


def pending_image(segment: Segment) -> np.ndarray:
    """Return the segment as a process leaves it that dies right after its log became valid."""
    image = segment.memory.copy()
    log = segment.array("w.log")
    for point in range(enumerate_points(lambda: run_one(segment), FILES)):
        restore(segment, image)
        run_until(point, lambda: run_one(segment), FILES)
        if log[transaction.COUNT] > 0:
            return segment.memory.copy()
    raise AssertionError("no point leaves a valid log")


def test_reader_at_every_store_of_a_commit_sees_whole_rows(segment: Segment) -> None:
    """Another process may look at any moment: all words of a row are of one commit."""
    image = segment.memory.copy()
    for point in range(enumerate_points(lambda: run_all(segment), FILES)):
        restore(segment, image)
        run_until(point, lambda: run_all(segment), FILES)
        table = state_of(segment)[1]
        assert [1, 1] == [len(set(row)) for row in table]
        assert table[0][0] in (0, 2, 4)
        assert table[1][0] in (0, 1, 2)


def test_crash_points_over_a_writer_without_a_log_find_the_half_change(make_segment: MakeSegment) -> None:
    """The method can fail: two words stored in place are caught half changed, at the two points between them."""
    segment = make_segment([Region("words", np.dtype(np.int64), 2)])
    words = segment.array("words")

    def store_both() -> None:
        words[0] = 1
        words[1] = 1

    assert 4 == enumerate_points(store_both, FILES)
    seen = []
    for point in range(4):
        words[:] = 0
        run_until(point, store_both, FILES)
        seen.append(words.tolist())
    assert [[0, 0], [1, 0], [1, 0], [1, 1]] == seen
