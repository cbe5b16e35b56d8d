"""One backtest: a private instance, positions and stops put into it, a recording played through its stages."""

from collections.abc import Callable

import numpy as np

from pipeline import topology
from pipeline.backtest.lockstep import CHUNK_USED, FULL, Stages, make_series, place_all, play
from pipeline.backtest.outcomes import outcomes_of, set_end_prices
from pipeline.backtest.planned import (
    BOOKS_MAX,
    EXPOSURE_LIMIT,
    books_of,
    fill_positions,
    shapes_of,
    sizes_for,
    terms_of,
)
from pipeline.config import Config
from pipeline.errors import InstanceError
from pipeline.execution.state import open_execution
from pipeline.ingest.feeds.replay import Replay
from pipeline.ingest.recordings import Recording
from pipeline.ingest.state import CHUNK_AT, CHUNK_END, ENDED, IngestState, open_ingest
from pipeline.ingest.step import TIMER_NS
from pipeline.messages import EVENT, ORDER, REPORT, STOP_ARMED
from pipeline.risk.fills import STOPS_PER_POSITION_MAX
from pipeline.risk.state import open_risk
from pipeline.risk.watching import restore
from pipeline.risk.worker import limits_from
from pipeline.tables import MARK
from shm import counters, ring
from shm.errors import SharedMemoryError
from shm.segment import Segment, finish, open_private

BLOB_BYTES = 4096
#: Chunks between two calls that tell how far the run is: about 65,000 ticks.
CHUNKS_TOLD = 8

#: Called with (ticks played, ticks in all).
Tell = Callable[[int, int], None]


class Backtest:
    """One run over a recording.

    Args:
        recording: What is played.
        planned: PLANNED; every entry is known (`pipeline.backtest.entries`). Those whose time comes after the end never enter.
        config: Limits, hygiene, ATR and the venue's latency.
    Attributes:
        planned: The same.
        stages: The stages, opened on an instance that no other process sees.
    Raises:
        InstanceError: the positions are too many or too large for one run, or the machine has no room for them.
    """

    def __init__(self, recording: Recording, planned: np.ndarray, config: Config) -> None:
        self.planned, self.recording = planned, recording
        self.feed = Replay(recording)
        self._config = config
        instruments = self.feed.instruments
        shapes = shapes_of(planned)
        self.sizes = sizes_for(planned, len(instruments), len(shapes), config.strategies.slots)
        _check_fits(planned, self.sizes)
        self._segment = _private_instance(self.sizes)
        limits = limits_from(config, instruments)
        # A position has the stop that it is planned with, and no other; and no breaker looks at what is planned.
        limits = limits._replace(defaults=limits.defaults[:0], enforces=0, review_ns=0)
        self.stages = Stages(
            _open_ingest(self._segment, self.feed, config),
            open_risk(self._segment, self.sizes, limits),
            open_execution(self._segment, self.sizes, self.latency_ns),
            np.zeros(2 * STOPS_PER_POSITION_MAX, np.int64),
        )
        self._fetched = _Fetched(self._segment, self.sizes)
        self._place(terms_of(planned, self._rows(), limits.fallback_ppm))
        # Loads the kernel, so that the time of `run` is that of playing.
        play(self.stages, 0, False)

    def _rows(self) -> np.ndarray:
        """Return the row of each position."""
        return books_of(self.planned) * self.sizes.instruments + self.planned["instrument"]

    def _place(self, terms: np.ndarray) -> None:
        """Write the positions down and arm their stops, in order."""
        risk = self.stages.risk
        for shape, indices in shapes_of(self.planned).items():
            terms["series"][indices] = make_series(risk, *shape)
        table, rows = risk.positions, self._rows()
        copies = 2 * rows + (table.commits[rows] & 1)
        positions = table.copies[copies]
        fill_positions(positions, self.planned, books_of(self.planned))
        table.copies[copies] = positions
        at_once = self.sizes.events // 2
        for first in range(0, len(terms), at_once):
            end = min(first + at_once, len(terms))
            placed = place_all(risk, terms, first, end)
            assert placed == end, "the table was made for as many stops"
            self._fetched.fetch()
        restore(risk)

    def run(self, tell: Tell | None = None, flags: np.ndarray | None = None) -> None:
        """Play the recording to its end, and what is under way then.

        Args:
            tell: Called now and then, and at the end; what it raises ends the run.
            flags: uint8, filled with hygiene's reason for each tick.
        """
        ingest, feed = self.stages.ingest, self.feed
        done = told = 0
        while count := feed.fill(ingest.chunk):
            ingest.local[CHUNK_AT], ingest.local[CHUNK_END] = 0, count
            self._play(count, is_over=False)
            if flags is not None:
                flags[done : done + count] = ingest.chunk["flags"][:count]
            done += count
            told += 1
            if tell is not None and (told % CHUNKS_TOLD == 0 or done == feed.tick_count):
                tell(done, feed.tick_count)
        if ingest.words[topology.FEED_LAST_EVENT_NS] > 0:
            ingest.local[ENDED] = 1
            self._play(self.latency_ns // TIMER_NS + 2, is_over=True)

    def _play(self, tick_count: int, is_over: bool) -> None:
        """Play so many ticks, fetching what the rings hold whenever they are full."""
        stages = self.stages
        first, stuck = int(stages.risk.ticks.local[ring.AT]), 0
        while True:
            left = tick_count - (int(stages.risk.ticks.local[ring.AT]) - first)
            said = play(stages, left, is_over)
            fetched = self._fetched.fetch()
            assert stages.risk.transaction.local[1] == 0, "one input needed more than a transaction holds"
            if said != FULL:
                assert said != CHUNK_USED or left == tick_count or left == 0, "a chunk ends where its ticks do"
                return
            stuck = 0 if fetched else stuck + 1
            assert stuck < 2, "a ring is full and nothing of it can be fetched"

    @property
    def latency_ns(self) -> int:
        """Stream time from an exit to its fill."""
        return self._config.execution.paper.latency_ns

    @property
    def now_ns(self) -> int:
        """Stream time so far."""
        return int(self.stages.risk.words[topology.RISK_NOW_NS])

    def outcomes(self) -> np.ndarray:
        """Return one OUTCOME for each position, as it is now."""
        events, reports = self._fetched.events(), self._fetched.reports()
        found = outcomes_of(self.planned, self.now_ns, events, reports)
        set_end_prices(found, self.planned, self._segment.array("marks", MARK))
        return found

    def count(self, worker: str) -> dict[str, int]:
        """Return a worker's counters by name."""
        return counters.snapshot(counters.open_counters(self._segment, worker), topology.COUNTERS[worker])


class _Fetched:
    """What the sidecar would read: every event and report of a run, fetched so that the rings have room."""

    def __init__(self, segment: Segment, sizes: topology.Sizes) -> None:
        def reader(name: str, dtype: np.dtype) -> ring.Reader:
            index = topology.reader_index(name, "sidecar", sizes.strategies)
            return ring.open_reader(ring.open_ring(segment, name, dtype), index)

        self._orders, self._events, self._reports = (
            reader(name, dtype) for name, dtype in (("orders", ORDER), ("events", EVENT), ("reports", REPORT))
        )
        self._kept: dict[str, list[np.ndarray]] = {"events": [np.zeros(0, EVENT)], "reports": [np.zeros(0, REPORT)]}

    def fetch(self) -> int:
        """Empty the rings; return how many records were in them."""
        count = 0
        for name, reader in (("", self._orders), ("events", self._events), ("reports", self._reports)):
            first, end = int(reader.local[ring.AT]), int(reader.ring.words[ring.PUBLISHED])
            if end == first:
                continue
            if name:
                records = reader.ring.slots[np.arange(first, end) & (len(reader.ring.slots) - 1)]
                self._kept[name].append(records[records["kind"] != STOP_ARMED] if name == "events" else records)
            ring.advance(reader, end)
            count += end - first
        return count

    def events(self) -> np.ndarray:
        """Return all events but those of stops being armed."""
        return np.concatenate(self._kept["events"])

    def reports(self) -> np.ndarray:
        """Return all reports."""
        return np.concatenate(self._kept["reports"])


def _open_ingest(segment: Segment, feed: Replay, config: Config) -> IngestState:
    """Open ingest at full speed, where it never conflates."""
    jump_ppm = config.hygiene.max_jump_ppm
    return open_ingest(segment, len(feed.instruments), float("inf"), False, max_jump_ppm=jump_ppm, numbered=feed.numbered)


def _private_instance(sizes: topology.Sizes) -> Segment:
    """Make an instance that goes with the last view of it."""
    try:
        segment = open_private(topology.regions(sizes, BLOB_BYTES))
    except SharedMemoryError as error:
        raise InstanceError(error.what, error.where, error.remedy) from None
    topology.set_up(segment, sizes, {})
    topology.write_about(segment, {})
    finish(segment)
    segment.close()
    return segment


def _check_fits(planned: np.ndarray, sizes: topology.Sizes) -> None:
    """Refuse positions that are too many or too large.

    Raises:
        InstanceError: as said.
    """
    if sizes.books > BOOKS_MAX:
        what = f"{sizes.books:,} positions in one instrument"
        raise InstanceError(what, "backtest", f"give at most {BOOKS_MAX:,} of each, and the others to another run")
    exposure = planned["entry_units"].astype(np.float64) * planned["quantity_lots"]
    if len(planned) and exposure.max() >= EXPOSURE_LIMIT:
        index = int(exposure.argmax())
        what = f"a position of {planned['quantity_lots'][index]:,} lots at {planned['entry_units'][index]:,} ticks"
        raise InstanceError(what, "backtest", f"keep price times quantity below {EXPOSURE_LIMIT:,} tick-lots")
