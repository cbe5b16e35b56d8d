"""An instance as people and reports see it: reads only, at any moment, of one that runs or that died."""

from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

import numpy as np

from pipeline import topology
from pipeline.account_view import AccountReader, AccountState
from pipeline.instruments import Instruments
from pipeline.messages import ARMED, EVENT, REJECT_REASONS, TRIGGERED
from pipeline.money import Money
from pipeline.stop_rows import StopRows
from pipeline.table_rows import committed_rows
from pipeline.tables import MARK, POSITION, SENT_ORDER, VENUE_FILL, VENUE_ORDER
from shm import counters, heartbeat, histogram, rows
from shm.heartbeat import State
from shm.ring import LOSSY, RingView, open_ring
from shm.segment import Segment


class RingDepth(NamedTuple):
    """How far one reader of a ring is behind."""

    ring: str
    reader: str
    depth: int
    capacity: int
    missed: int
    is_lossy: bool


class StopCounts(NamedTuple):
    """How many stops are in which state now."""

    armed: int
    exiting: int  #: fired, and their exit works
    owed: int  #: fired, and without a working exit


class Holdings(NamedTuple):
    """Positions and stops of one moment."""

    positions: np.ndarray  #: POSITION
    stops: np.ndarray  #: STOP_ROW, those that are armed or fired
    is_steady: np.ndarray  #: bool for each position: False = it opened, flipped or closed while this was read


class Worker(NamedTuple):
    """One process as its heartbeat tells it."""

    name: str
    pid: int
    state: State
    wait: int
    cpu_ns: int
    beat_ns: int
    restarts: int


class View:
    """Counters, histograms, rings and tables of one instance."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.about = topology.read_about(segment)
        self.sizes = topology.Sizes(**self.about["sizes"])
        self.instruments = Instruments.from_json(self.about["instruments"])
        self.workers = tuple(self.about["placement"])
        self._stop_rows = StopRows(segment)
        self._supervisor = segment.array("supervisor.state")
        table = topology.ring_rows(self.sizes.strategies)
        self._rings = [(row, RingView(open_ring(segment, row.name, row.dtype))) for row in table]
        self.events = RingView(open_ring(segment, "events", EVENT))

    @property
    def entries_allowed(self) -> bool:
        """Whether orders that open positions may leave."""
        return bool(self._supervisor[topology.ENTRIES_ALLOWED])

    def counters(self, worker: str) -> dict[str, int]:
        """Return a worker's counters by name."""
        return counters.snapshot(counters.open_counters(self.segment, worker), topology.COUNTERS[worker])

    def reasons(self, bank: str) -> dict[str, int]:
        """Return how often each reason was given, of those that were: "refused" by risk, "rejected" by execution."""
        counted = counters.snapshot(counters.open_counters(self.segment, bank), REJECT_REASONS)
        return {reason: count for reason, count in counted.items() if count}

    def latency_ns(self) -> dict[str, dict[str, int]]:
        """Return count, quantiles and largest value of each histogram, in nanoseconds."""
        return {name: histogram.summary(histogram.open_histogram(self.segment, name)).as_dict() for name in topology.HISTOGRAMS}

    def worker(self, name: str) -> Worker:
        """Return what a process says of itself, and how often it was restarted."""
        words = self.segment.array(f"{name}.heartbeat")
        pid, state, beat_ns, wait, cpu_ns = (
            int(words[at]) for at in (heartbeat.PID, heartbeat.STATE, heartbeat.BEAT_NS, heartbeat.WAIT, heartbeat.CPU_NS)
        )
        return Worker(name, pid, State(state), wait, cpu_ns, beat_ns, int(self._supervisor[restart_word(name)]))

    def rings(self) -> list[RingDepth]:
        """Return how far each reader is behind, ring by ring; idle strategies' slots are left out."""
        result = []
        for row, view in self._rings:
            for index, (reader, mode) in enumerate(row.readers):
                if reader in self.workers and (row.writer in self.workers):
                    result.append(
                        RingDepth(row.name, reader, view.depth(index), view.capacity, view.missed(index), mode == LOSSY)
                    )
        return result

    def rows(self, table: str, dtype: np.dtype) -> np.ndarray:
        """Return a copy of a table's committed rows, each whole; rows may be of different moments."""
        return committed_rows(rows.open_table(self.segment, table, dtype))

    def positions(self) -> np.ndarray:
        """Return every row of the positions table, shape (strategies * instruments,), POSITION."""
        return self.rows("positions", POSITION)

    @cached_property
    def units(self) -> Money:
        """Units of the account's money and quantities."""
        return Money.from_json(self.about["account"])

    @cached_property
    def _account_reader(self) -> AccountReader:
        return AccountReader(self.segment, self.sizes, self.instruments, self.units)

    def account(self) -> AccountState:
        """Return the account, its strategies and its instruments: P&L, exposure, limits, trading states."""
        return self._account_reader.read()

    def working_orders(self) -> np.ndarray:
        """Return the orders that were sent and have not ended, exits included, in the order of their sending: SENT_ORDER."""
        table = self.rows("sent", SENT_ORDER)
        working = table[table["order_id"] != 0]
        return working[np.argsort(working["sent_ns"], kind="stable")]

    def stops(self) -> np.ndarray:
        """Return the stops that are armed or fired, by their ids, each with its present level: array of STOP_ROW."""
        return self._stop_rows.read()

    def series(self) -> np.ndarray:
        """Return every ATR series in use: array of SERIES."""
        return self._stop_rows.series()

    def stop_counts(self) -> StopCounts:
        """Return how many stops are armed, exiting and owed now."""
        stops = self.stops()
        is_fired, is_owed = stops["state"] == TRIGGERED, stops["owed"] != 0
        states = (stops["state"] == ARMED, is_fired & ~is_owed, is_fired & is_owed)
        return StopCounts(*[int(np.count_nonzero(state)) for state in states])

    def holdings(self) -> Holdings:
        """Return positions and stops that belong together: a position that is steady has the stops that are shown."""
        before, stops, after = self.positions(), self.stops(), self.positions()
        same = (before["generation"] == after["generation"]) & ((before["quantity_lots"] == 0) == (after["quantity_lots"] == 0))
        return Holdings(after, stops, same)

    def marks(self) -> np.ndarray:
        """Return a copy of the marks, one MARK for each instrument."""
        return self.segment.array("marks", MARK).copy()

    def venue_orders(self) -> np.ndarray:
        """Return the paper venue's orders that it still remembers, VENUE_ORDER."""
        count = int(self.segment.array("venue.state")[topology.VENUE_ORDERS])
        return self.rows("venue.orders", VENUE_ORDER)[: min(count, self.sizes.venue_orders)]

    def venue_fills(self) -> tuple[np.ndarray, bool]:
        """Return the paper venue's fills that it still remembers, VENUE_FILL, and whether those are all."""
        count = int(self.segment.array("venue.state")[topology.VENUE_FILLS])
        return self.segment.array("venue.fills", VENUE_FILL)[: min(count, self.sizes.venue_orders)].copy(), (
            count <= self.sizes.venue_orders
        )

    def money(self, instrument: int, tick_lots: int) -> Decimal:
        """Return tick-lots as money in the instrument's currency."""
        return self.instruments.money(instrument, tick_lots)


def restart_word(name: str) -> int:
    """Return where the supervisor counts the restarts of a process."""
    names = (*topology.WORKERS, *topology.strategy_names(topology.STRATEGIES_MAX))
    return topology.RESTARTS + names.index(name)
