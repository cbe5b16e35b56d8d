"""Two real processes at full speed: rings, rows and bells between them, and a SIGKILL now and then."""

import random
from subprocess import Popen

import numpy as np
import pytest

from shm import heartbeat, ring, rows, transaction
from shm.layout import Region
from shm.segment import Segment
from tests.shm import kernels
from tests.shm.actors import actor, deadline_ns, heard, play_ends
from tests.shm.conftest import MakeSegment
from tests.shm.records import RECORD, ROW

pytestmark = pytest.mark.processes

SEED = 20260105
KILL_COUNT = 4


def name_of(segment: Segment) -> str:
    """Return the instance name of a segment."""
    return segment.path.name.removeprefix("stopline-")


def ring_of(make_segment: MakeSegment, capacity: int, mode: int) -> tuple[Segment, ring.Reader]:
    """Make a ring with one reader, and open it."""
    segment = make_segment(ring.regions("r", RECORD, capacity))
    made = ring.open_ring(segment, "r", RECORD)
    ring.set_reader(made, 0, mode)
    return segment, ring.open_reader(made, 0)


@pytest.mark.parametrize(("capacity", "batch"), [(16, 1), (64, 5), (4096, 64)])
def test_gating_reader_of_another_process_gets_every_record_in_order(
    make_segment: MakeSegment, capacity: int, batch: int
) -> None:
    """A million records and a half through rings that are full or empty most of the time: none lost, none torn."""
    end = 1_500_000
    segment, reader = ring_of(make_segment, capacity, ring.GATING)
    kernels.consume(reader, 0, 0)
    with actor("produce", name_of(segment), end, batch) as process:
        assert "ready" == heard(process)
        total, wrong = kernels.consume(reader, end, deadline_ns())
        assert end == heard(process)
    assert (8 * (end - 1) * end // 2, 0) == (total, wrong)


@pytest.mark.parametrize(("capacity", "batch", "output_count"), [(2, 1, 2), (8, 3, 8), (64, 64, 16), (1024, 7, 256)])
def test_lossy_reader_of_another_process_never_returns_a_torn_record(
    make_segment: MakeSegment, capacity: int, batch: int, output_count: int
) -> None:
    """The producer waits for nobody: what the reader copies is whole and in order, and all else is counted."""
    end = 12_000_000
    segment, reader = ring_of(make_segment, capacity, ring.LOSSY)
    output = np.zeros(output_count, RECORD)
    words = output.view(np.int64).reshape(output_count, 8)
    kernels.consume_lossy(reader, output, words, 0, 0)
    with actor("produce", name_of(segment), end, batch) as process:
        assert "ready" == heard(process)
        copied, wrong = kernels.consume_lossy(reader, output, words, end, deadline_ns())
        assert end == heard(process)
    missed = ring.RingView(reader.ring).missed(0)
    assert (0, end) == (wrong, copied + missed)
    assert copied > 0
    assert missed > 0, "nothing was overrun, so nothing was tried"


@pytest.mark.parametrize(("mode", "batch"), [(ring.GATING, 7), (ring.LOSSY, 7)])
def test_producer_killed_in_mid_stream_leaves_no_gap_and_no_torn_record(
    make_segment: MakeSegment, mode: int, batch: int
) -> None:
    """Each new producer goes on where the last one had published."""
    step, last = 400_000, (KILL_COUNT + 1) * 400_000
    segment, reader = ring_of(make_segment, 64, mode)
    output = np.zeros(64, RECORD)
    words = output.view(np.int64).reshape(64, 8)
    generator = random.Random(SEED)
    count = wrong_count = 0
    for place in range(KILL_COUNT + 1):
        end = last if place == KILL_COUNT else place * step + generator.randrange(step)
        with actor("produce", name_of(segment), last if place == KILL_COUNT else 10**12, batch) as process:
            assert "ready" == heard(process)
            before = int(reader.local[ring.AT])
            if mode == ring.GATING:
                wrong = kernels.consume(reader, end, deadline_ns())[1]
                count += int(reader.local[ring.AT]) - before
            else:
                copied, wrong = kernels.consume_lossy(reader, output, words, end, deadline_ns())
                count += copied
            wrong_count += wrong
    missed = ring.RingView(reader.ring).missed(0)
    assert (0, int(reader.local[ring.AT])) == (wrong_count, count + missed)
    assert int(reader.local[ring.AT]) >= last


def rows_segment(make_segment: MakeSegment) -> tuple[Segment, rows.Table]:
    """Make a table of three rows, a log and a counter."""
    segment = make_segment([*rows.regions("t", ROW, 3), transaction.region("w"), Region("n", np.dtype(np.int64), 8)])
    return segment, rows.open_table(segment, "t", ROW)


def read_until(segment: Segment, table: rows.Table, process: Popen, until: int) -> tuple[int, int, int]:
    """Read rows while a writer commits them."""
    assert "ready" == heard(process)
    return kernels.read_rows(table, np.zeros(16, np.int64), segment.array("n"), until, deadline_ns())


def test_rows_read_by_another_process_are_never_half_written(make_segment: MakeSegment) -> None:
    """All words of a row are of one commit, and no row goes back."""
    end = 2_000_000
    segment, table = rows_segment(make_segment)
    kernels.read_rows(table, np.zeros(16, np.int64), segment.array("n"), 0, 0)
    with actor("commit_rows", name_of(segment), end) as process:
        reads, torn, back = read_until(segment, table, process, end)
        assert end == heard(process)
    assert (0, 0) == (torn, back)
    assert reads > 0


def test_writer_of_rows_killed_at_random_moments_leaves_all_of_a_transaction_or_none(make_segment: MakeSegment) -> None:
    """After the redo every row and the counter tell of the same transaction, each time."""
    segment, table = rows_segment(make_segment)
    generator = random.Random(SEED)
    until, states = 0, []
    for _ in range(KILL_COUNT):
        until = int(segment.array("n")[0]) + generator.randrange(1, 200_000)
        with actor("commit_rows", name_of(segment), 10**12) as process:
            assert (0, 0) == read_until(segment, table, process, until)[1:]
            process.kill()
            process.wait()
        transaction.open_transaction(segment, "w")
        values = set(rows.snapshot(table).view(np.int64).tolist()) | {int(segment.array("n")[0])}
        assert 1 == len(values)
        states.append(values.pop())
    assert sorted(states) == states
    assert states[-1] >= until


def test_bell_between_two_parked_processes_is_never_lost(make_segment: MakeSegment) -> None:
    """Twenty thousand rounds of futex sleeps that only a bell ends: none is left to its timeout."""
    round_count = 20_000
    regions = [*ring.regions("forth", RECORD, 4), *ring.regions("back", RECORD, 4)]
    segment = make_segment([*regions, heartbeat.region("parent"), heartbeat.region("child")])
    for name, player in (("forth", "child"), ("back", "parent")):
        bell = segment.base(f"{player}.heartbeat") + heartbeat.BELL
        ring.set_reader(ring.open_ring(segment, name, RECORD), 0, ring.GATING, bell)
    ends = play_ends(segment, "forth", "back", "parent")
    kernels.play(*ends, 0, True)
    with actor("play", name_of(segment), round_count) as process:
        assert "ready" == heard(process)
        played, woken, unrung = kernels.play(*ends, round_count, True)
        child_played, child_woken, child_unrung = heard(process)
    assert (round_count, round_count) == (played, child_played)
    assert (0, 0) == (unrung, child_unrung)
    assert woken + child_woken > 0, "nobody ever slept, so nothing was tried"
