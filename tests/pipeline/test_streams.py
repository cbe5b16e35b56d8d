"""The sidecar's reading ends: nothing given back too early, nothing read twice, nothing lost unseen."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.messages import TIMER
from pipeline.sidecar.streams import GatingStream, Progress, TickStream
from pipeline.topology import reader_index
from shm.ring import open_reader
from tests.pipeline.sidecar_instance import SIZES, Instance, made_instance, records_of


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """A small instance in which only the sidecar gates."""
    with made_instance(tmp_path) as made:
        yield made


def gating(instance: Instance, name: str = "orders") -> GatingStream:
    """Open a gating stream as a new sidecar does."""
    return GatingStream(name, instance.producers[name].ring, reader_index(name, "sidecar", SIZES.strategies))


def tick_stream(instance: Instance, keep: bool = True) -> TickStream:
    """Open the tick stream as a new sidecar does."""
    return TickStream(instance.producers["ticks"].ring, reader_index("ticks", "sidecar", SIZES.strategies), keep)


def test_gating_stream_before_commit_holds_the_producer_back(instance: Instance) -> None:
    """Reading alone gives no slot back: the ring stays full until the batch counts as committed."""
    stream = gating(instance)
    assert SIZES.orders == instance.send("orders", records_of("orders", SIZES.orders))
    batch = stream.read()
    assert SIZES.orders == len(batch.records)
    assert 0 == instance.send("orders", records_of("orders", 1, SIZES.orders))
    stream.committed(batch)
    assert 1 == instance.send("orders", records_of("orders", 1, SIZES.orders))


def test_gating_stream_across_the_wrap_reads_every_record_once(instance: Instance) -> None:
    """Sequences and ids stay in step over several turns of the ring."""
    stream = gating(instance, "events")
    rng = np.random.default_rng(5)
    sent, seen = 0, []
    while sent < 5 * SIZES.events:
        sent += instance.send("events", records_of("events", int(rng.integers(1, 200)), sent))
        batch = stream.read()
        assert batch.seqs.tolist() == (batch.records["event_id"] - 1).tolist()
        seen += batch.seqs.tolist()
        stream.committed(batch)
    assert list(range(sent)) == seen
    assert Progress(sent, sent, 0) == stream.progress


def test_gating_stream_read_twice_without_commit_gives_the_same_records(instance: Instance) -> None:
    """A flush that failed is read again from the same place."""
    stream = gating(instance)
    instance.send("orders", records_of("orders", 7))
    first = stream.read().records["order_id"].tolist()
    instance.send("orders", records_of("orders", 2, 7))
    assert [*range(1, 8)] == first
    assert [*range(1, 10)] == stream.read().records["order_id"].tolist()


def test_gating_stream_killed_between_commit_and_cursor_goes_on_after_what_is_stored(instance: Instance) -> None:
    """The database was ahead of the cursor: its progress wins, and the slots are given back."""
    instance.send("orders", records_of("orders", 10))
    stream = gating(instance)
    stream.resume(Progress(6, 6, 0))
    assert [6, 7, 8, 9] == stream.read().seqs.tolist()
    assert 6 == int(open_reader(instance.producers["orders"].ring, 1).local[0])


def test_gating_stream_with_another_database_goes_on_at_the_cursor(instance: Instance) -> None:
    """What another file has is not there to be read any more."""
    stream = gating(instance)
    instance.send("orders", records_of("orders", 10))
    stream.committed(stream.read())
    instance.send("orders", records_of("orders", 3, 10))
    fresh = gating(instance)
    fresh.resume(Progress(0, 0, 0))
    assert [10, 11, 12] == fresh.read().seqs.tolist()


def test_gating_stream_with_a_database_of_the_future_stops(instance: Instance) -> None:
    """More stored than was ever published is a broken invariant, not something to go on from."""
    with pytest.raises(AssertionError, match="stored up to 3 and published are only 0"):
        gating(instance).resume(Progress(3, 3, 0))


def test_tick_stream_timers_are_left_out_and_sequences_kept(instance: Instance) -> None:
    """Stored ticks keep their ring sequence, with gaps where timers were."""
    stream = tick_stream(instance)
    instance.send("ticks", records_of("ticks", 20))
    assert 20 == stream.fill()
    batch = stream.read()
    assert [seq for seq in range(20) if seq % 10 != 9] == batch.seqs.tolist()
    assert TIMER not in batch.records["kind"]
    assert batch.seqs.tolist() == (batch.records["venue_seq"] - 1).tolist()
    assert Progress(20, 18, 0) == batch.progress


def test_tick_stream_overrun_counts_what_it_missed(instance: Instance) -> None:
    """Every tick is either read or counted as missed."""
    stream = tick_stream(instance)
    total = 3 * SIZES.ticks
    assert total == instance.send("ticks", records_of("ticks", total))
    read = stream.fill()
    assert total == read + stream.missed
    assert stream.missed > 0
    assert total - read == stream.read().seqs[0]


def test_tick_stream_restart_reads_again_what_was_not_stored(instance: Instance) -> None:
    """Ticks that were copied out by a process that died before its flush are still in the ring."""
    instance.send("ticks", records_of("ticks", 100))
    died = tick_stream(instance)
    assert 100 == died.fill()
    fresh = tick_stream(instance)
    fresh.resume(Progress(40, 36, 0))
    assert 60 == fresh.fill()
    assert 40 == fresh.read().seqs[0]


def test_tick_stream_restart_after_overrun_counts_the_missed_once(instance: Instance) -> None:
    """The count of missed ticks goes back with the cursor, so that the same gap is not counted twice."""
    stream = tick_stream(instance)
    total = 2 * SIZES.ticks
    instance.send("ticks", records_of("ticks", total))
    stream.fill()
    fresh = tick_stream(instance)
    fresh.resume(Progress(0, 0, 0))
    assert total == fresh.fill() + fresh.missed


def test_tick_stream_flush_of_unknown_outcome_drops_only_what_was_stored(instance: Instance) -> None:
    """After a commit that did happen, its ticks are not written again, and later ones are."""
    stream = tick_stream(instance)
    instance.send("ticks", records_of("ticks", 30))
    stream.fill()
    stream.resume(Progress(20, 18, 0))
    assert [seq for seq in range(20, 30) if seq % 10 != 9] == stream.read().seqs.tolist()
    assert Progress(30, 27, 0) == stream.read().progress


def test_tick_stream_without_keeping_stores_none_and_keeps_up(instance: Instance) -> None:
    """With store_ticks off the reader shows no backlog and nothing missed."""
    stream = tick_stream(instance, keep=False)
    instance.send("ticks", records_of("ticks", 3 * SIZES.ticks))
    assert 0 == stream.fill()
    assert (0, 0) == (stream.pending, stream.missed)
    assert 3 * SIZES.ticks == stream.progress.next_seq
