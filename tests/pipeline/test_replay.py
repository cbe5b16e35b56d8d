"""Replay: what was recorded comes out, whole or filtered, from any position, in chunks of any size."""

import dataclasses
from decimal import Decimal

import numpy as np
import pytest

from pipeline.errors import RecordingError, UserError
from pipeline.ingest.feeds.feed import Feed
from pipeline.ingest.feeds.replay import Replay
from pipeline.ingest.recordings import Recording, RecordingWriter, open_recording
from pipeline.instruments import Instrument, Instruments
from pipeline.messages import TICK

SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
TICK_COUNT = 5_000


@pytest.fixture
def recording(tmp_path) -> Recording:
    """Seeded ticks of AAA to CCC, none of DDD, and a few of an instrument that the table lacks."""
    rng = np.random.default_rng(17)
    ticks = np.zeros(TICK_COUNT, dtype=TICK)
    for name in ("venue", "a", "b", "c", "d"):
        ticks[name] = rng.integers(1, 60_000, TICK_COUNT)
    ticks["event_ns"] = np.cumsum(rng.integers(0, 1_000, TICK_COUNT))
    ticks["recv_ns"] = ticks["event_ns"] + 5
    ticks["venue_seq"] = np.arange(TICK_COUNT)
    ticks["kind"] = rng.integers(1, 3, TICK_COUNT)
    ticks["instrument"] = rng.choice([0, 1, 2], TICK_COUNT, p=[0.5, 0.3, 0.2])
    table = Instruments([Instrument(symbol, Decimal("0.01"), Decimal(1)) for symbol in SYMBOLS])
    with RecordingWriter(tmp_path / "day", table) as writer:
        writer.append(ticks)
    stored = np.load(tmp_path / "day" / "ticks.npy", mmap_mode="r+")
    stored["instrument"][::20] = 9  # the writer refuses these, another program may not
    stored.flush()
    return open_recording(tmp_path / "day")


def drain(feed: Replay, chunk_ticks: int) -> np.ndarray:
    """All ticks that the feed still has."""
    parts, chunk = [], np.zeros(chunk_ticks, dtype=TICK)
    while count := feed.fill(chunk):
        parts.append(chunk[:count].copy())
    return np.concatenate(parts) if parts else np.zeros(0, dtype=TICK)


def filtered_row_by_row(recording: Recording, symbols: list[str]) -> np.ndarray:
    """The slow twin of the filter: one row at a time, looked up by symbol."""
    rows = []
    for row in np.array(recording.ticks):
        i = int(row["instrument"])
        if i < len(SYMBOLS) and SYMBOLS[i] in symbols:
            row["instrument"] = symbols.index(SYMBOLS[i])
            rows.append(row)
    return np.array(rows, dtype=TICK)


@pytest.mark.parametrize("chunk_ticks", [1, 7, 4_096, TICK_COUNT, 2 * TICK_COUNT])
def test_replay_whole_gives_the_recorded_bytes(recording, chunk_ticks):
    """Without a filter every byte of the recording comes out, in order, and then nothing more."""
    feed = Replay(recording)
    assert recording.ticks.tobytes() == drain(feed, chunk_ticks).tobytes()
    assert 0 == feed.fill(np.zeros(3, dtype=TICK))
    assert TICK_COUNT == feed.position


@pytest.mark.parametrize("symbols", [["BBB"], ["CCC", "AAA"], ["AAA", "BBB", "CCC", "DDD"]])
@pytest.mark.parametrize("chunk_ticks", [13, 4_096])
def test_replay_symbols_keep_only_theirs_renumbered(recording, symbols, chunk_ticks):
    """A filter keeps the ticks of its symbols alone, numbered in the order asked for."""
    feed = Replay(recording, symbols)
    assert symbols == [instrument.symbol for instrument in feed.instruments]
    expected = filtered_row_by_row(recording, symbols)
    assert len(expected) == feed.tick_count
    assert expected.tobytes() == drain(feed, chunk_ticks).tobytes()


def test_replay_symbols_search_in_small_pieces_finds_the_same(recording, monkeypatch):
    """The search for a filter's rows does not depend on the size of its pieces."""
    monkeypatch.setattr("pipeline.ingest.feeds.replay.SEARCH_CHUNK_TICKS", 97)
    expected = filtered_row_by_row(recording, ["CCC", "BBB"])
    assert expected.tobytes() == drain(Replay(recording, ["CCC", "BBB"]), 512).tobytes()


def test_replay_symbol_asked_twice_counts_once(recording):
    """Naming a symbol twice is naming it once."""
    assert drain(Replay(recording, ["BBB"]), 512).tobytes() == drain(Replay(recording, ["BBB", "BBB"]), 512).tobytes()


@pytest.mark.parametrize("symbols", [[], ["AAA", "CCC"]])
def test_replay_seek_any_position_equals_straight_through(recording, symbols):
    """A position counts ticks handed out, filtered or not, so a restarted ingest goes on where it was."""
    straight = drain(Replay(recording, symbols), 1_000)
    feed = Replay(recording, symbols)
    for position in [*np.random.default_rng(3).integers(0, len(straight), 20).tolist(), 0, len(straight)]:
        feed.seek(position)
        assert position == feed.position
        assert straight[position:].tobytes() == drain(feed, 333).tobytes()


def test_replay_chunk_longer_than_the_rest_stays_untouched_past_it(recording):
    """At the end of the data a fill writes its count of ticks and not one byte more."""
    feed = Replay(recording, ["AAA", "BBB"])
    feed.seek(feed.tick_count - 3)
    chunk = np.full(10, 0xEE, dtype="u1").repeat(TICK.itemsize).view(TICK)
    assert 3 == feed.fill(chunk)
    assert {0xEE} == set(chunk[3:].tobytes())


@pytest.mark.parametrize("position", [-1, TICK_COUNT + 1])
def test_replay_seek_outside_is_refused_in_one_line(recording, position):
    """A position that the recording does not have tells of another recording, and says so."""
    feed = Replay(recording)
    with pytest.raises(RecordingError) as caught:
        feed.seek(position)
    assert 1 == len(str(caught.value).splitlines())
    assert str(recording.path) in str(caught.value)
    assert 0 == feed.position


@pytest.mark.parametrize(("symbols", "word"), [(["DDD"], "no tick of DDD"), (["AAA", "AAB"], "AAB")])
def test_replay_symbols_without_ticks_or_unknown_are_refused_in_one_line(recording, symbols, word):
    """A symbol without one tick, or none of the recording's, is named in one line."""
    with pytest.raises(UserError) as caught:
        Replay(recording, symbols)
    assert word in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize("info", [{}, {"trades_numbered": False}, {"trades_numbered": True}])
def test_replay_of_recording_says_whether_trades_are_numbered(recording, info):
    """Only a recording that says so makes gaps in its trades' sequences mean a loss."""
    told = {name: value for name, value in recording.info.items() if name != "trades_numbered"} | info
    numbered = info.get("trades_numbered", False)
    assert numbered == Replay(dataclasses.replace(recording, info=told)).numbered


def test_replay_recording_without_ticks_is_refused(tmp_path):
    """An empty recording is no feed."""
    with RecordingWriter(tmp_path / "empty", Instruments([Instrument("AAA", Decimal("0.01"), Decimal(1))])):
        pass
    with pytest.raises(RecordingError, match="no tick"):
        Replay(open_recording(tmp_path / "empty"))


def test_replay_is_a_feed_until_closed(recording):
    """A replay has all that ingest asks of a feed; closed, even twice, it has no more ticks."""
    feed = Replay(recording, live=True)
    assert isinstance(feed, Feed)
    assert feed.live
    assert not feed.numbered
    feed.close()
    feed.close()
    assert 0 == feed.fill(np.zeros(3, dtype=TICK))
