"""What does execution cost per tick while a thousand limit orders rest at its paper venue, and to fill a thousand at once?

    topology   one process, one core: a ring of quotes and a ring of orders  ==>  pipeline.execution.step  ==>  reports

Quotes of a hundred instruments come in turn, each a small walk. The limit orders lie far away, or their instruments' prices
cross one of them now and then. Beside them, in turns within the same run: a loop that only reads the same quotes, and one that
looks at every open order on each of them, as a venue without lists of its own would.
"""

import os
import statistics
import time
from functools import partial

import numpy as np

from bench.harness import Pinned, Ratio, Result, Row, Settings, choose_cores, in_turns, per_turn_ratio
from bench.risk_step import read_alone
from bench.steal import Disturbance
from pipeline import topology
from pipeline.execution.open_orders import OPEN_COUNT, allows
from pipeline.execution.paper import touch_price
from pipeline.execution.state import open_execution
from pipeline.execution.step import TICK_BATCH, one_step
from pipeline.messages import BUY, CANCEL, EXIT, LIMIT, MARKET, NEW, ORDER, QUOTE, REPORT, SELL, TICK
from pipeline.tables import VENUE_OPEN
from shm import ring
from shm.jit import njit
from shm.rows import current
from shm.segment import Segment, finish, open_owned

PRICE_TICKS, SPREAD_TICKS, WALK_TICKS, FAR_TICKS = 1_000_000, 20, 50, 500_000
TICK_NS, FIRST_EVENT_NS, LATENCY_NS = 1_000, 1_000_000, 1_000
BLOB_BYTES, SEED = 4096, 20_260_105
#: One tick with a thousand resting limit orders costs at most so much more than with none.
RESTING_RATIO_MAX = 1.5


@njit
def run_until(state, end):
    """Step until all ticks below `end` are taken, or until a step does nothing."""
    while state.ticks.local[ring.AT] < end and one_step(state, TICK_BATCH) > 0:
        pass


@njit
def look_at_all(venue, rows, slots, first, end):
    """Look at all of these rows of the venue's record on each tick.

    Returns:
        How often an order would have filled.
    """
    found = 0
    for seq in range(first, end):
        event_ns = slots[seq & (slots.shape[0] - 1)]["event_ns"]
        for k in range(rows.shape[0]):
            order = venue.orders.copies[current(venue.orders, rows[k])]
            if order["due_ns"] <= event_ns:
                side = order["side"]
                found += allows(touch_price(venue, np.int64(order["instrument"]), side), side, order["price_ticks"])
    return found


class Desk:
    """An instance of which this process runs execution, and holds the pens of ingest and risk."""

    def __init__(self, segment: Segment, sizes: topology.Sizes) -> None:
        topology.set_up(segment, sizes, {})
        finish(segment)
        self.sizes, self.state = sizes, open_execution(segment, sizes, LATENCY_NS)
        rings = {name: ring.open_ring(segment, name, dtype) for name, dtype in (("ticks", TICK), ("orders", ORDER))}
        self.pens = {name: ring.open_producer(segment, opened) for name, opened in rings.items()}
        rings["reports"] = ring.open_ring(segment, "reports", REPORT)
        others = (("ticks", "risk"), ("orders", "sidecar"), ("reports", "risk"), ("reports", "sidecar"))
        self.others = [ring.open_reader(rings[name], topology.reader_index(name, worker, 1)) for name, worker in others]
        self.alone = ring.open_reader(rings["ticks"], topology.reader_index("ticks", "strategy0", 1))
        self.random = np.random.default_rng(SEED)
        self.bids = np.full(sizes.instruments, PRICE_TICKS, np.int64)
        self.event_ns, self.next_id = FIRST_EVENT_NS, 1
        self.write_quotes(sizes.instruments)
        self.settle()

    def write(self, name: str, records: np.ndarray) -> None:
        """Publish records in one of the rings."""
        pen = self.pens[name]
        first = int(ring.claim(pen, len(records)))
        assert first != ring.FULL, "the ring is empty when it is filled, and not larger than what goes in"
        pen.ring.slots[(first + np.arange(len(records))) & (len(pen.ring.slots) - 1)] = records
        ring.publish(pen)

    def write_quotes(self, count: int) -> None:
        """Publish quotes of the instruments in turn, each a step of its walk around where it began."""
        ticks = np.zeros(count, TICK)
        ticks["instrument"] = np.arange(count) % self.sizes.instruments
        ticks["event_ns"] = self.event_ns + TICK_NS * np.arange(count)
        ticks["kind"] = QUOTE
        ticks["a"] = PRICE_TICKS + self.random.integers(-WALK_TICKS, WALK_TICKS + 1, count)
        ticks["b"] = ticks["a"] + SPREAD_TICKS
        self.event_ns += TICK_NS * count
        self.write("ticks", ticks)

    def write_orders(self, count: int, order_type: int, away_ticks: int) -> None:
        """Send orders that buy and sell in turn, over all instruments, limits so far away from the market."""
        orders = np.zeros(count, ORDER)
        orders["order_id"] = self.next_id + np.arange(count)
        orders["instrument"] = np.arange(count) % self.sizes.instruments
        orders["side"] = np.where(np.arange(count) // self.sizes.instruments % 2 == 0, BUY, SELL)
        orders["kind"], orders["order_type"], orders["quantity_lots"], orders["flags"] = NEW, order_type, 1, EXIT
        orders["price_ticks"] = PRICE_TICKS - away_ticks * orders["side"]
        orders["event_ns"], orders["sent_ns"] = self.event_ns, time.monotonic_ns()
        self.next_id += count
        self.write("orders", orders)

    def cancel_all(self) -> None:
        """Take back every order that may work."""
        orders = np.zeros(self.sizes.working_orders, ORDER)
        orders["kind"], orders["order_id"] = CANCEL, self.next_id - 1 - np.arange(len(orders))
        self.write("orders", orders)
        self.settle()

    def settle(self) -> None:
        """Let execution step until nothing moves; the others keep up."""
        while one_step(self.state, TICK_BATCH) > 0:
            for reader in self.others:
                ring.advance(reader, int(reader.ring.words[ring.PUBLISHED]))

    def time_ticks(self, count: int, resting: int, away_ticks: int) -> float:
        """Return ns per tick in which execution takes a ring of quotes while limit orders rest."""
        if resting:
            self.write_orders(resting, LIMIT, away_ticks)
            self.settle()
        self.write_quotes(self.sizes.instruments)
        self.settle()
        self.write_quotes(count)
        end = int(self.pens["ticks"].ring.words[ring.PUBLISHED])
        start_ns = time.perf_counter_ns()
        run_until(self.state, end)
        elapsed_ns = time.perf_counter_ns() - start_ns
        assert self.state.ticks.local[ring.AT] == end, "execution found no room for its reports"
        self.settle()
        self.cancel_all()
        return elapsed_ns / count

    def time_reading(self, count: int) -> float:
        """Return ns per tick of reading the quotes of the last ring again, and no more."""
        end = int(self.alone.ring.words[ring.PUBLISHED])
        self.alone.local[ring.AT] = end - count
        start_ns = time.perf_counter_ns()
        read_alone(self.alone, end)
        return (time.perf_counter_ns() - start_ns) / count

    def time_looking(self, count: int, resting: int) -> float:
        """Return ns per tick of looking at each of the orders that rest far away."""
        self.write_orders(resting, LIMIT, FAR_TICKS)
        self.settle()
        table = self.state.venue.orders
        states = table.copies["state"][2 * np.arange(len(table.commits)) + (table.commits & 1)]
        rows = np.flatnonzero(states == VENUE_OPEN)
        assert len(rows) == resting
        slots, end = self.alone.ring.slots, int(self.alone.ring.words[ring.PUBLISHED])
        start_ns = time.perf_counter_ns()
        assert look_at_all(self.state.venue, rows, slots, end - count, end) == 0
        elapsed_ns = time.perf_counter_ns() - start_ns
        self.cancel_all()
        return elapsed_ns / count

    def time_burst(self, count: int) -> float:
        """Return ns per order in which execution fills and reports market orders that one tick makes due together."""
        self.write_orders(count, MARKET, 0)
        self.settle()
        assert self.state.venue.opened.local[OPEN_COUNT] == count
        self.event_ns += LATENCY_NS
        self.write_quotes(1)
        start_ns = time.perf_counter_ns()
        one_step(self.state, TICK_BATCH)
        elapsed_ns = time.perf_counter_ns() - start_ns
        assert self.state.venue.opened.local[OPEN_COUNT] == 0
        self.settle()
        return elapsed_ns / count


def run(settings: Settings) -> Result:
    """Measure ticks with and without resting orders, and a burst, beside the yardsticks."""
    cores = choose_cores(1)
    instruments, capacity, turns = settings.pick(100, 10), settings.pick(65_536, 1_024), settings.pick(31, 2)
    resting = settings.pick(1_000, 40)
    sizes = topology.Sizes(instruments, 1, capacity, 64, 8_192, 8_192, 1_024, 64, 2_048, 2_048)
    result = Result(
        "venue", f"one process on one core, {instruments:,} instruments", "ns per tick of pipeline.execution.step", cores=cores
    )
    segment = open_owned(f"bench-{os.getpid()}-venue", topology.regions(sizes, BLOB_BYTES), fresh=True)
    try:
        with Disturbance(cores) as disturbance, Pinned(cores[0]):
            desk = Desk(segment, sizes)
            none, far, near = "nothing rests", f"{resting:,} rest far away", f"{resting:,} rest, some fill"
            looking, burst = f"looking at {resting:,} on each tick", f"fill of {resting:,} at one tick, per order"
            measures = {
                none: partial(desk.time_ticks, capacity, 0, 0),
                far: partial(desk.time_ticks, capacity, resting, FAR_TICKS),
                near: partial(desk.time_ticks, capacity, resting, WALK_TICKS - 2),
                "reading alone": partial(desk.time_reading, capacity),
                looking: partial(desk.time_looking, capacity // 16, resting),
                burst: partial(desk.time_burst, resting),
            }
            for measure in measures.values():
                measure()
            times = dict(zip(measures, in_turns(list(measures.values()), turns), strict=True))
        desk = measures = None  # type: ignore[assignment]  # What views the segment must go before it does.
    finally:
        segment.unlink()
        segment.close()
    for what, values in times.items():
        result.rows.append(Row(what, {"median_ns": round(statistics.median(values), 2), "best_ns": round(min(values), 2)}))
    result.ratios = [
        Ratio(f"{far} / {none}", round(per_turn_ratio(times[far], times[none]), 2), at_most=RESTING_RATIO_MAX),
        Ratio(f"{far} / reading alone", round(per_turn_ratio(times[far], times["reading alone"]), 2)),
        Ratio(f"{looking} / {far}", round(per_turn_ratio(times[looking], times[far]), 1)),
    ]
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    return result
