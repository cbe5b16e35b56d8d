"""Risk alone over a ring of ticks that is filled piece by piece, with any number of stops placed in its tables."""

import os
import time

import numpy as np

from bench.risk_step import empty
from bench.stop_mix import ATR_PERIOD, BAR_NS, FIRST_EVENT_NS, FIRST_PRICE_TICKS, Case
from pipeline import topology
from pipeline.messages import EVENT, LAST, MID, ORDER, TICK, TRIGGERED
from pipeline.risk.arming import place
from pipeline.risk.fills import STOPS_PER_POSITION_MAX
from pipeline.risk.limits import Limits
from pipeline.risk.state import open_risk
from pipeline.risk.stops import StopBook
from pipeline.risk.watching import restore
from pipeline.tables import POSITION, SERIES
from shm import ring, rows
from shm.jit import njit
from shm.layout import Region
from shm.segment import finish, open_owned

BLOB_BYTES, RING_RECORDS = 64, 1 << 16
#: Stops placed between two times at which the events about them are let pass.
PLACED_AT_ONCE = 4_096
#: Who takes what risk sends, and who holds the ticks back beside it.
READERS = (
    ("ticks", TICK, "execution"),
    ("orders", ORDER, "execution"),
    ("orders", ORDER, "sidecar"),
    ("events", EVENT, "sidecar"),
)


@njit
def place_some(state, terms, first, end):
    """Arm some stops; returns the id of the last."""
    last = 0
    for index in range(first, end):
        last = place(state, terms, index)
    return last


def sizes_of(case: Case, ring_ticks: int) -> topology.Sizes:
    """Return what an instance for a case holds: a position for each stop, and a slot more than stops."""
    return topology.Sizes(
        case.instruments, 1, ring_ticks, requests=16, orders=RING_RECORDS, reports=16, events=RING_RECORDS,
        stops=case.stops + 1, working_orders=RING_RECORDS, venue_orders=16, series=case.instruments, books=case.stops_each,
    )  # fmt: skip


def regions_of(case: Case, ring_ticks: int) -> list[Region]:
    """Return the regions of its segment."""
    return topology.regions(sizes_of(case, ring_ticks), BLOB_BYTES)


def bytes_of(book: StopBook) -> dict[str, float]:
    """Return what a stop and what an instrument takes in memory, shared and private, by the sizes of the arrays."""
    table = book.table
    per_slot = (
        book.terms, table.commits, table.copies, book.extremes, book.floors, book.levels,
        book.nexts, book.befores, book.free, book.pending, book.alarms, book.fired,
    )  # fmt: skip
    per_instrument = book.bounds, book.fronts, book.heads, book.tails
    return {
        "bytes_per_stop": sum(array.nbytes for array in per_slot) / len(book.terms),
        "bytes_per_instrument": sum(array.nbytes for array in per_instrument) / len(book.bounds),
    }


class Guard:
    """Risk with the stops of a case.

    Args:
        case: The case.
        terms: Its stops, STOP_TERMS; the n-th gets the id n + 1, and a position of its own.
        ring_ticks: Capacity of the ring of ticks.
    """

    def __init__(self, case: Case, terms: np.ndarray, ring_ticks: int) -> None:
        self.case, self.ring_ticks = case, ring_ticks
        sizes = sizes_of(case, ring_ticks)
        self.segment = open_owned(f"bench-{os.getpid()}-stops", regions_of(case, ring_ticks), fresh=True)
        # Nobody else attaches, and so nothing is left behind, whatever happens.
        self.segment.unlink()
        topology.set_up(self.segment, sizes, {})
        finish(self.segment)
        ones = np.ones(case.instruments, np.int64)
        limits = Limits(ones, ones, atr_period=ATR_PERIOD, bar_ns=BAR_NS, atr_source=LAST)
        self.risk = open_risk(self.segment, sizes, limits)
        self.scratch = np.zeros(2 * STOPS_PER_POSITION_MAX, np.int64)
        self.producer = ring.open_producer(self.segment, ring.open_ring(self.segment, "ticks", TICK))
        self.others = [
            ring.open_reader(ring.open_ring(self.segment, name, dtype), topology.reader_index(name, worker, 1))
            for name, dtype, worker in READERS
        ]
        # The stops watch from the start.
        self.risk.words[topology.RISK_NOW_NS] = FIRST_EVENT_NS - 1
        self._ready_series()
        self._hold(terms)
        for first in range(0, len(terms), PLACED_AT_ONCE):
            end = min(first + PLACED_AT_ONCE, len(terms))
            assert place_some(self.risk, terms, first, end) == end, "the table has a slot for each"
            self.let_pass()
        restore(self.risk)

    def _ready_series(self) -> None:
        """Have every series as it is when its first bars are closed."""
        table = rows.open_table(self.segment, "series", SERIES)
        committed = 2 * np.arange(len(table.commits)) + (table.commits & 1)
        series = table.copies[committed]
        series["bar_count"], series["previous_close"] = ATR_PERIOD, 2 * FIRST_PRICE_TICKS
        series["atr"] = self.case.first_atr
        table.copies[committed] = series

    def _hold(self, terms: np.ndarray) -> None:
        """Write the positions."""
        positions = rows.open_table(self.segment, "positions", POSITION).copies[::2]
        positions["quantity_lots"] = terms["side"]
        positions["entry_ticks"] = terms["entry_ticks"] // np.where(terms["watch"] == MID, 2, 1)
        positions["cost_tick_lots"] = positions["quantity_lots"] * positions["entry_ticks"]
        positions["entry_ns"], positions["generation"], positions["instrument"] = terms["entry_ns"], 1, terms["instrument"]
        positions["strategy"] = np.arange(len(terms)) // self.case.instruments

    def let_pass(self) -> None:
        """Take what risk has sent, as those who read it would."""
        for reader in self.others:
            ring.advance(reader, int(reader.ring.words[ring.PUBLISHED]))

    def fill(self, ticks: np.ndarray) -> None:
        """Publish ticks, received now."""
        ticks["recv_ns"] = time.monotonic_ns()
        first = int(ring.claim(self.producer, len(ticks)))
        assert first != ring.FULL, "the ring is empty when it is filled, and not larger than what goes in"
        self.producer.ring.slots[(first + np.arange(len(ticks))) & (self.ring_ticks - 1)] = ticks
        ring.publish(self.producer)

    def time_ticks(self, ticks: np.ndarray) -> np.ndarray:
        """Return for how many ns this thread has its core while risk takes ticks, and how many pass by the clock."""
        self.fill(ticks)
        end = int(self.producer.ring.words[ring.PUBLISHED])
        start_ns = np.array([time.thread_time_ns(), time.perf_counter_ns()])
        empty(self.risk, self.scratch, end)
        elapsed_ns = np.array([time.thread_time_ns(), time.perf_counter_ns()]) - start_ns
        assert self.risk.ticks.local[ring.AT] == end, "risk found no room for its exits"
        self.let_pass()
        return elapsed_ns

    def fired(self) -> list[tuple[int, int, int]]:
        """Return (tick, stop id, level) of each stop that has fired, in order."""
        book = self.risk.book
        stops = book.table.copies[2 * np.arange(len(book.terms)) + (book.table.commits & 1)]
        hit = np.flatnonzero(stops["state"] == TRIGGERED)
        columns = stops["trigger_seq"][hit], book.terms["stop_id"][hit], stops["trigger_level_ticks"][hit]
        return sorted(zip(*(column.tolist() for column in columns), strict=True))
