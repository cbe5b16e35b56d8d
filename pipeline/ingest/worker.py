"""The ingest worker: opens the feed where it was left, hands its chunks to the kernel, and runs it."""

from time import monotonic_ns

import numpy as np

from pipeline.config import Config
from pipeline.ingest.feeds.feed import Feed
from pipeline.ingest.feeds.replay import Replay
from pipeline.ingest.feeds.simulator import Simulator, SimulatorSettings
from pipeline.ingest.recordings import open_recording
from pipeline.ingest.state import CHUNK_AT, CHUNK_END, ENDED, LAST_SENT_NS, open_ingest
from pipeline.ingest.step import CHUNK_EMPTY, run
from pipeline.topology import ANCHOR_EVENT_NS, ANCHOR_NS, FEED_POSITION, INGEST_COUNTERS, read_about
from shm.counters import put
from shm.heartbeat import COMMAND, INCARNATION, Command, open_heartbeat
from shm.pulse import idle_pulse, make_pulse
from shm.segment import Segment
from shm.wait import Waiter

FEED_ENDED = INGEST_COUNTERS.index("feed_ended")
#: A feed that is further behind than this when ingest starts goes on from now instead of catching up.
BEHIND_NS_MAX = 5_000_000_000


def open_feed(config: Config, symbols: list[str]) -> Feed:
    """Return the configured feed.

    Args:
        config: Which feed, and how it is made.
        symbols: Of a recording, the symbols to replay in the order of the instance's instruments.
    Raises:
        RecordingError, ConfigurationError: one line each.
    """
    live = config.feed.speed_factor != float("inf")
    if config.feed.kind == "replay":
        return Replay(open_recording(config.feed.recording), symbols, live=live)
    simulator = config.feed.simulator
    settings = SimulatorSettings(
        scenario=simulator.scenario,
        seed=simulator.seed,
        rate=simulator.rate,
        start_ns=simulator.start_ns,
        volatility=simulator.volatility,
        spread_bps_min=simulator.spread_bps_min,
        spread_bps_max=simulator.spread_bps_max,
        scenario_start_ns=simulator.scenario_start_ns,
        scenario_mask=np.array(config.scenario_mask, np.bool_),
    )
    return Simulator(config.instrument_table, np.array(config.start_price_ticks, np.int64), settings, live=live)


class IngestStage:
    """Ingest as a worker runs it (see pipeline.worker)."""

    name = "ingest"

    def __init__(self, segment: Segment, config: Config, waiter: Waiter) -> None:
        symbols = [row["symbol"] for row in read_about(segment)["instruments"]]
        self.feed = open_feed(config, symbols)
        self.state = open_ingest(
            segment,
            len(self.feed.instruments),
            config.feed.speed_factor,
            self.feed.live,
            max_jump_ppm=config.hygiene.max_jump_ppm,
            numbered=self.feed.numbered,
        )
        self.heartbeat = open_heartbeat(segment, self.name)
        self.waiter = waiter
        self.incarnation = int(self.heartbeat.words[INCARNATION])
        self.feed.seek(int(self.state.words[FEED_POSITION]))
        self._leave_the_past()

    def _leave_the_past(self) -> None:
        """Pair event time and our clock anew where the last process ended too long ago to catch up."""
        words, slowness = self.state.words, self.state.slowness
        if slowness == 0 or words[ANCHOR_NS] == 0 or not self._refill():
            return
        due_ns = words[ANCHOR_NS] + (self.state.chunk[0]["event_ns"] - words[ANCHOR_EVENT_NS]) * slowness
        if monotonic_ns() - due_ns > BEHIND_NS_MAX:
            words[ANCHOR_NS] = 0

    def _refill(self) -> bool:
        """Bring the next chunk of the feed; False at the end of the data."""
        local = self.state.local
        count = self.feed.fill(self.state.chunk)
        local[CHUNK_AT], local[CHUNK_END] = 0, count
        if count == 0:
            local[ENDED] = 1
            local[LAST_SENT_NS] = monotonic_ns()
            put(self.state.counters, FEED_ENDED, 1)
        return count > 0

    def warm_up(self) -> None:
        """Load the kernels by calls that find nothing to do, and have the first chunk ready."""
        if self.state.local[CHUNK_AT] == self.state.local[CHUNK_END]:
            self._refill()
        held = self.state.local.copy()
        self.state.local[ENDED] = 1
        self.state.local[LAST_SENT_NS] = monotonic_ns()
        run(self.state, idle_pulse(self.heartbeat, self.waiter))
        self.state.local[:] = held

    def run(self, until_ns: int) -> int:
        """Run the kernel until monotonic `until_ns`, or until the supervisor says otherwise."""
        if self.heartbeat.words[COMMAND] == Command.DRAIN:
            # No more of the feed; timer ticks go on, so that what is in flight can end.
            self.state.local[ENDED] = 1
        pulse = make_pulse(self.heartbeat, self.waiter, self.incarnation, until_ns)
        while run(self.state, pulse) == CHUNK_EMPTY:
            self._refill()
        return 0

    def drained(self) -> bool:
        """Ingest holds nothing back: what it has taken from the feed is published."""
        return True

    def close(self) -> None:
        """Let go of the feed."""
        self.feed.close()
