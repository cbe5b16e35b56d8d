"""What does the real risk step cost per tick, on one core, with a thousand instruments and two thousand stops?

    topology   one process, one core: a ring filled with quotes  ==>  pipeline.risk.step, its tables in a segment of its own

The positions are opened by requests, orders and fills through the real stages, so that the stops are those that risk arms by
itself: a static and a trailing one each, half of the positions LONG and half SHORT. Then rings of quotes are filled, and only
the time counts in which risk empties them.

    walk       each instrument walks at random: one tick in some twenty moves a trailing stop, a few stops fire
    trend      each position only gains: every tick moves a trailing stop

Beside them, in turns within the same run: a loop that only reads the same quotes, and a stop guard of plain Python objects.
"""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.harness import Pinned, Ratio, Result, Row, Settings, choose_cores, in_turns, per_turn_ratio
from bench.prices import Prices
from bench.steal import Disturbance
from pipeline import topology
from pipeline.execution.state import open_execution
from pipeline.execution.step import one_step as execution_step
from pipeline.messages import ARMED, BUY, EVENT, LONG, MARKET, ORDER, QUOTE, REPORT, REQUEST, SELL, SUBMIT, TICK, TICK_OK
from pipeline.risk.fills import STOPS_PER_POSITION_MAX
from pipeline.risk.limits import Limits, default_terms, free_limits, write_limits
from pipeline.risk.state import open_risk
from pipeline.risk.step import TICK_BATCH
from pipeline.risk.step import one_step as risk_step
from pipeline.stop_rows import StopRows
from shm import counters, ring
from shm.atomics import fence_release
from shm.jit import njit
from shm.segment import Segment, finish, open_owned

STATIC_PPM, TRAILING_PPM = 20_000, 10_000
FIRST_PRICE_TICKS, SPREAD_TICKS, WALK_TICKS = 1_000_000, 20, 50
TICK_NS, FIRST_EVENT_NS = 1_000, 1_000_000
BLOB_BYTES, SEED = 4096, 20_260_105
#: The Python guard is that much slower, so it gets fewer quotes.
PYTHON_SHARE = 16
TICKS_PER_SECOND_MIN = 5_000_000
DRAINED = ("orders", ORDER), ("reports", REPORT), ("events", EVENT)


@njit
def empty(state, scratch, end):
    """Step until all ticks below `end` are taken, or until a step does nothing."""
    while state.ticks.local[ring.AT] < end and risk_step(state, TICK_BATCH, scratch) > 0:
        pass


@njit
def read_alone(reader, end):
    """Read what risk reads of each quote, and advance: the least that any consumer does.

    Returns:
        How many quotes are crossed, so that no load is left out.
    """
    slots = reader.ring.slots
    mask = slots.shape[0] - 1
    crossed = 0
    for seq in range(reader.local[ring.AT], end):
        tick = slots[seq & mask]
        crossed += (tick["a"] > tick["b"]) & (tick["flags"] == TICK_OK) & (tick["kind"] == QUOTE)
        ring.advance(reader, seq + 1)
        fence_release()
    return crossed


class Guarded:
    """An instance of which this process runs risk and execution, with a position and its stops in every instrument."""

    def __init__(self, segment: Segment, sizes: topology.Sizes) -> None:
        self.segment, self.sizes = segment, sizes
        topology.set_up(segment, sizes, {})
        finish(segment)
        segment.array("supervisor.state")[topology.ENTRIES_ALLOWED] = 1
        each = np.ones(sizes.instruments, np.int64)
        limits = Limits(each, each, default_terms(STATIC_PPM, TRAILING_PPM), 1_000_000, 8_000_000)
        write_limits(segment, free_limits(sizes.scope_count))
        self.risk = open_risk(segment, sizes, limits)
        self.execution = open_execution(segment, sizes, 0)
        self.scratch = np.zeros(2 * STOPS_PER_POSITION_MAX, np.int64)
        self.ticks = ring.open_producer(segment, ring.open_ring(segment, "ticks", TICK))
        self.sidecar = [
            ring.open_reader(ring.open_ring(segment, name, dtype), topology.reader_index(name, "sidecar", sizes.strategies))
            for name, dtype in DRAINED
        ]
        self.sides = np.where(np.arange(sizes.instruments) % 2 == 0, LONG, -LONG)
        self.prices = Prices(sizes.instruments, FIRST_PRICE_TICKS)
        self.event_ns = FIRST_EVENT_NS
        self.random = np.random.default_rng(SEED)
        self._open_positions()

    def _open_positions(self) -> None:
        pen = ring.open_producer(self.segment, ring.open_ring(self.segment, "requests.strategy0", REQUEST))
        every = np.arange(self.sizes.instruments)
        self.fill(every, self.prices.bids)
        self.settle()
        for instrument in every.tolist():
            seq = int(ring.claim(pen, 1))
            side = BUY if self.sides[instrument] == LONG else SELL
            request = np.zeros(1, REQUEST)
            request["request_id"], request["instrument"], request["kind"] = seq + 1, instrument, SUBMIT
            request["order_type"], request["side"], request["quantity_lots"] = MARKET, side, 1
            pen.ring.slots[seq & (self.sizes.requests - 1)] = request[0]
            ring.publish(pen)
            self.settle()
        # Fills come with the next tick, and stops arm with the first quote after their fill.
        for _ in range(2):
            self.fill(every, self.prices.bids)
            self.settle()

    def fill(self, instruments: np.ndarray, bids: np.ndarray) -> None:
        """Publish a quote for each of these instruments and bids."""
        ticks = np.zeros(len(instruments), TICK)
        ticks["event_ns"] = self.event_ns + TICK_NS * np.arange(len(ticks))
        ticks["recv_ns"] = time.monotonic_ns()
        ticks["instrument"], ticks["kind"], ticks["a"], ticks["b"] = instruments, QUOTE, bids, bids + SPREAD_TICKS
        self.event_ns += TICK_NS * len(ticks)
        first = int(ring.claim(self.ticks, len(ticks)))
        assert first != ring.FULL, "the ring is empty when it is filled, and not larger than what goes in"
        self.ticks.ring.slots[(first + np.arange(len(ticks))) & (self.sizes.ticks - 1)] = ticks
        ring.publish(self.ticks)

    def fill_walk(self, count: int) -> None:
        """Publish `count` quotes of instruments at random, each a step of its walk."""
        instruments = self.random.integers(0, self.sizes.instruments, count)
        steps = self.random.integers(-WALK_TICKS, WALK_TICKS + 1, count)
        self.fill(instruments, self.prices.move(instruments, steps))

    def fill_trend(self, count: int) -> None:
        """Publish `count` quotes of instruments at random, each a gain for its position."""
        instruments = self.random.integers(0, self.sizes.instruments, count)
        self.fill(instruments, self.prices.move(instruments, self.sides[instruments]))

    def settle(self) -> None:
        """Let risk and execution step until nothing moves."""
        while risk_step(self.risk, TICK_BATCH, self.scratch) + execution_step(self.execution, TICK_BATCH) > 0:
            for reader in self.sidecar:
                ring.advance(reader, int(reader.ring.words[ring.PUBLISHED]))

    def time_risk(self, fill: Callable[[int], None], count: int) -> float:
        """Return ns per tick in which risk takes a ring of new quotes."""
        fill(count)
        end = int(self.ticks.ring.words[ring.PUBLISHED])
        start_ns = time.perf_counter_ns()
        empty(self.risk, self.scratch, end)
        elapsed_ns = time.perf_counter_ns() - start_ns
        assert self.risk.ticks.local[ring.AT] == end, "risk found no room for its exits"
        self.settle()
        return elapsed_ns / count

    def time_reading(self, reader: ring.Reader, count: int) -> float:
        """Return ns per tick of reading the quotes of the last ring again, and no more."""
        end = int(self.ticks.ring.words[ring.PUBLISHED])
        reader.local[ring.AT] = end - count
        start_ns = time.perf_counter_ns()
        read_alone(reader, end)
        return (time.perf_counter_ns() - start_ns) / count

    def armed(self) -> int:
        """Return how many stops are armed."""
        return int((StopRows(self.segment).read()["state"] == ARMED).sum())

    def counter(self, name: str) -> int:
        """Return one of risk's counters."""
        return counters.snapshot(counters.open_counters(self.segment, "risk"), topology.RISK_COUNTERS)[name]


class PlainStop:
    """A stop as a plain Python program would have it."""

    def __init__(self, side: int, entry_ticks: int, percent_ppm: int, trails: bool) -> None:
        self.side, self.percent_ppm, self.trails = side, percent_ppm, trails
        self.best = entry_ticks
        self.level = self._level()

    def _level(self) -> int:
        if self.side == LONG:
            return self.best * (1_000_000 - self.percent_ppm) // 1_000_000
        return -(-self.best * (1_000_000 + self.percent_ppm) // 1_000_000)

    def fires(self, bid_ticks: int, ask_ticks: int) -> bool:
        """Move with a quote, and tell whether it crosses the level."""
        price = bid_ticks if self.side == LONG else ask_ticks
        if self.trails and (price > self.best if self.side == LONG else price < self.best):
            self.best, self.level = price, self._level()
        return price <= self.level if self.side == LONG else price >= self.level


def time_python(guarded: Guarded, count: int) -> float:
    """Return ns per tick of a dict of such stops, on quotes of the last ring."""
    last = ring.RingView(guarded.ticks.ring).read(count=count)
    quotes = list(zip(last["instrument"].tolist(), last["a"].tolist(), last["b"].tolist(), strict=True))
    stops = {
        instrument: [PlainStop(side, bid, STATIC_PPM, False), PlainStop(side, bid, TRAILING_PPM, True)]
        for instrument, (side, bid) in enumerate(zip(guarded.sides.tolist(), guarded.prices.bids.tolist(), strict=True))
    }
    fired = []
    start_ns = time.perf_counter_ns()
    for instrument, bid, ask in quotes:
        for stop in stops[instrument]:
            if stop.fires(bid, ask):
                fired.append((instrument, stop))
    return (time.perf_counter_ns() - start_ns) / len(quotes)


def run(settings: Settings) -> Result:
    """Measure the step on a walk and on a trend, beside its yardsticks."""
    cores = choose_cores(1)
    instruments, capacity, turns = settings.pick(1_000, 20), settings.pick(65_536, 1_024), settings.pick(31, 2)
    sizes = topology.Sizes(instruments, 1, capacity, 64, 65_536, 65_536, 65_536, 16_384, 65_536, 65_536, instruments)
    result = Result(
        "risk_step", f"one process on one core, {instruments:,} instruments", "ns per tick of pipeline.risk.step", cores=cores
    )
    segment = open_owned(f"bench-{os.getpid()}-risk", topology.regions(sizes, BLOB_BYTES), fresh=True)
    try:
        with Disturbance(cores) as disturbance, Pinned(cores[0]):
            guarded = Guarded(segment, sizes)
            reader = ring.open_reader(guarded.ticks.ring, topology.reader_index("ticks", "strategy0", 1))
            stops_before = guarded.armed()
            measures = {
                "walk": partial(guarded.time_risk, guarded.fill_walk, capacity),
                "trend": partial(guarded.time_risk, guarded.fill_trend, capacity),
                "reading alone": partial(guarded.time_reading, reader, capacity),
                "plain Python": partial(time_python, guarded, capacity // PYTHON_SHARE),
            }
            for measure in measures.values():
                measure()
            times = dict(zip(measures, in_turns(list(measures.values()), turns), strict=True))
            fired = guarded.counter("stops_triggered")
        stops_after = guarded.armed()
        guarded = measures = reader = None  # type: ignore[assignment]  # What views the segment must go before it does.
    finally:
        segment.unlink()
        segment.close()
    for what, values in times.items():
        median = statistics.median(values)
        result.rows.append(
            Row(
                what, {"median_ns": round(median, 2), "best_ns": round(min(values), 2), "ticks_per_second": round(1e9 / median)}
            )
        )
    result.rows.append(Row("stops", {"armed_before": stops_before, "armed_after": stops_after, "fired": fired}))
    result.ratios = [
        Ratio("walk, ticks per second", round(1e9 / statistics.median(times["walk"])), at_least=TICKS_PER_SECOND_MIN),
        Ratio("trend, ticks per second", round(1e9 / statistics.median(times["trend"])), at_least=TICKS_PER_SECOND_MIN),
        Ratio("walk / reading alone", round(per_turn_ratio(times["walk"], times["reading alone"]), 2)),
        Ratio("trend / walk", round(per_turn_ratio(times["trend"], times["walk"]), 2)),
        Ratio("plain Python / walk", round(per_turn_ratio(times["plain Python"], times["walk"]), 1)),
    ]
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    return result
