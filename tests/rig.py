"""The real stages in one process: an instance in shared memory, their step functions, and a strategy's pen.

No worker, no clock: the test decides what steps when. Private state of a stage is thrown away and opened again to play a kill.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pipeline import topology
from pipeline.execution.orders import recover
from pipeline.execution.paper import venue_positions
from pipeline.execution.state import ExecutionState, open_execution
from pipeline.execution.step import one_step as execution_step
from pipeline.ingest.state import CHUNK_AT, CHUNK_END, ENDED, IngestState, open_ingest
from pipeline.ingest.step import one_step as ingest_step
from pipeline.messages import EVENT, MARKET, ORDER, QUOTE, REPORT, REQUEST, SUBMIT, TICK
from pipeline.risk.calendar import ALWAYS, Calendar, make_calendar
from pipeline.risk.limits import Limits, default_terms, free_limits, write_limits
from pipeline.risk.state import RiskState, open_risk
from pipeline.risk.step import one_step as risk_step
from pipeline.stop_rows import StopRows
from pipeline.tables import POSITION, VENUE_FILL, VENUE_ORDER
from shm import counters, ring, rows, segment

SIZES = topology.Sizes(
    instruments=2, strategies=2, ticks=64, requests=16, orders=64, reports=64, events=512, stops=64, working_orders=64,
    venue_orders=64,
)  # fmt: skip
LATENCY_NS = 1_000
SCRATCH_WORDS = 512
CHUNK_COUNT = 64
BLOB_BYTES = 8192
STAGES = ("ingest", "risk", "execution", "strategy")


def limits(instruments: int, default_stop_ppm: int = 20_000, trailing_stop_ppm: int = 10_000) -> Limits:
    """Return limits that refuse nothing, and stops of 2% and 1%."""
    ones = np.ones(instruments, np.int64)
    return Limits(ones, ones.copy(), default_terms(default_stop_ppm, trailing_stop_ppm), 1_000, 8_000, review_ns=5_000)


def quotes(prices: Iterable[tuple[int, int, int]], start_ns: int = 1_000_000, every_ns: int = 1_000) -> np.ndarray:
    """Return ticks from (instrument, bid, ask); venue_seq counts from 1."""
    rows_given = list(prices)
    ticks = np.zeros(len(rows_given), TICK)
    for k, (instrument, bid, ask) in enumerate(rows_given):
        ticks[k] = (start_ns + k * every_ns, 0, k + 1, instrument, QUOTE, 0, 0, bid, ask, 100, 100)
    return ticks


def private_arrays(state: Any, memory: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the arrays of a stage's state that are not in shared memory."""
    if isinstance(state, np.ndarray):
        if not np.may_share_memory(state, memory):
            yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from private_arrays(part, memory)


class Rig:
    """An instance with its stages opened in this process.

    Args:
        ticks: TICK, the whole feed.
        sizes: Of the instance.
        risk_limits: Limits and default stops.
        live: Whether a full ticks ring conflates.
        latency_ns: Of the paper venue.
        name: Instance name to keep in /dev/shm, for others to attach to; empty = no name.
        about: What the instance says about itself.
        max_jump_ppm: Of hygiene; 0 = nothing is quarantined.
        numbered: Whether the feed numbers each instrument's trades one by one.
        limit_rows: LIMITS for each scope; None = nothing is limited.

    Attributes:
        blackouts: of each instrument, (n, 2) begin and end in ns; empty = none at all.
    """

    blackouts: Sequence[np.ndarray] = ()

    def __init__(
        self,
        ticks: np.ndarray,
        sizes: topology.Sizes = SIZES,
        risk_limits: Limits | None = None,
        live: bool = False,
        latency_ns: int = LATENCY_NS,
        name: str = "",
        about: dict[str, Any] | None = None,
        max_jump_ppm: int = 0,
        numbered: bool = False,
        limit_rows: np.ndarray | None = None,
    ) -> None:
        self.max_jump_ppm, self.numbered = max_jump_ppm, numbered
        self.ticks, self.sizes, self.live, self.latency_ns = ticks, sizes, live, latency_ns
        self.limits = risk_limits or limits(sizes.instruments)
        self.segment = segment.open_owned(name or f"test-rig-{os.getpid()}", topology.regions(sizes, BLOB_BYTES), fresh=True)
        topology.set_up(self.segment, sizes, {})
        self.limit_rows = free_limits(sizes.scope_count) if limit_rows is None else limit_rows
        write_limits(self.segment, self.limit_rows)
        topology.write_about(self.segment, about or {})
        segment.finish(self.segment)
        if not name:
            # The mapping lives as long as its views; the name is not needed.
            self.segment.unlink()
        self.segment.array("supervisor.state")[topology.ENTRIES_ALLOWED] = 1
        self.pens: tuple[ring.Producer, ...]
        self.scratch = np.zeros(SCRATCH_WORDS, np.int64)
        self.stepping = ""
        self.now_ns = 0
        self.ingest: IngestState
        self.risk: RiskState
        self.execution: ExecutionState
        self.sidecar = [
            ring.open_reader(
                ring.open_ring(self.segment, name, dtype), topology.reader_index(name, "sidecar", sizes.strategies)
            )
            for name, dtype in (("orders", ORDER), ("reports", REPORT), ("events", EVENT))
        ]
        self.pristine = self.segment.memory.copy()
        self.open_all()

    def reset(self) -> None:
        """Bring the whole instance back to its first moment."""
        self.segment.memory[:] = self.pristine
        self.now_ns = 0
        self.open_all()

    def save(self) -> Callable[[], None]:
        """Keep everything, shared and private.

        Returns:
            A call that brings it back.
        """
        memory = self.segment.memory.copy()
        stages = {"ingest": self.ingest, "risk": self.risk, "execution": self.execution, "pens": self.pens}
        states = (*stages.values(), self.scratch)
        private = [(array, array.copy()) for state in states for array in private_arrays(state, self.segment.memory)]
        stepping, now_ns = self.stepping, self.now_ns

        def bring_back() -> None:
            self.segment.memory[:] = memory
            for array, content in private:
                array[...] = content
            for name, state in stages.items():
                setattr(self, name, state)
            self.stepping, self.now_ns = stepping, now_ns

        return bring_back

    def open_all(self) -> None:
        """Open every stage."""
        for stage in STAGES:
            self.open(stage)

    def open(self, stage: str) -> None:
        """Open one stage as a fresh process would: from shared memory alone."""
        if stage == "ingest":
            opened = open_ingest(
                self.segment, self.sizes.instruments, float("inf"), self.live, self.max_jump_ppm, self.numbered
            )
            self.ingest = opened._replace(live=self.live, chunk=opened.chunk[:CHUNK_COUNT].copy())
        elif stage == "risk":
            self.risk = open_risk(self.segment, self.sizes, self.limits, self.calendar())
        elif stage == "strategy":
            rings = [ring.open_ring(self.segment, name, REQUEST) for name in self.request_rings()]
            self.pens = tuple(ring.open_producer(self.segment, requests) for requests in rings)
        else:
            self.execution = open_execution(self.segment, self.sizes, self.latency_ns)
            recover(self.execution)

    def calendar(self) -> Calendar | None:
        """Return the calendar that risk gets: everything trades always, but for blackouts."""
        if not self.blackouts:
            return None
        return make_calendar([ALWAYS] * self.sizes.instruments, [], [], self.blackouts)

    def step(self, stage: str, tick_budget: int = 8) -> int:
        """Let one stage take one step.

        Returns:
            How much it did.
        """
        self.stepping = stage
        if stage == "ingest":
            return self.step_ingest(tick_budget)
        if stage == "risk":
            return int(risk_step(self.risk, tick_budget, self.scratch))
        return int(execution_step(self.execution, tick_budget))

    def step_ingest(self, tick_budget: int) -> int:
        """Hand ingest the next ticks of the feed, and let it step; after the end it makes timer ticks."""
        local = self.ingest.local
        if local[CHUNK_AT] == local[CHUNK_END]:
            position = int(self.ingest.words[topology.FEED_POSITION])
            count = min(tick_budget, len(self.ticks) - position)
            self.ingest.chunk[:count] = self.ticks[position : position + count]
            local[CHUNK_AT], local[CHUNK_END] = 0, count
            local[ENDED] = count == 0
        # Each call is 10 ms later, so that timer ticks come after the end.
        self.now_ns += 10_000_000
        return int(ingest_step(self.ingest, self.now_ns))

    def submit(
        self, instrument: int, side: int, quantity_lots: int, strategy: int = 0, kind: int = SUBMIT, order_type: int = MARKET
    ) -> None:
        """Write an order request as a strategy's client does."""
        self.send_request(
            strategy, kind=kind, instrument=instrument, side=side, quantity_lots=quantity_lots, order_type=order_type
        )

    def send_request(self, requester: int, **fields: int) -> int:
        """Write a request: a strategy's by its own pen, one of the control socket by the last.

        Args:
            requester: Number of the requests ring.
            fields: Of REQUEST; one by the control socket says for which strategy it is.
        Returns:
            Its request_id.
        """
        self.stepping = "strategy"
        pen = self.pens[requester]
        seq = int(ring.claim(pen, 1))
        assert seq != ring.FULL, "the test asks more than its requests ring holds"
        slot = seq & (self.sizes.requests - 1)
        request = pen.ring.slots[slot : slot + 1]
        request[:] = np.zeros(1, REQUEST)
        request["request_id"], request["strategy"] = seq + 1, requester
        for name, value in fields.items():
            request[name] = value
        ring.publish(pen)
        return seq + 1

    def request_rings(self) -> list[str]:
        """Return the names of the requests rings, in order of their requesters."""
        return [f"requests.{name}" for name in (*topology.strategy_names(self.sizes.strategies), topology.CONTROL)]

    def inbox_left(self, requester: int) -> range:
        """Return the sequences of the requests that a requester has sent and risk has not taken."""
        words = self.pens[requester].ring.words
        return range(int(words[ring.CURSOR]), int(words[ring.PUBLISHED]))

    def requests_sent(self) -> int:
        """Return how many requests are published."""
        return sum(int(pen.ring.words[ring.PUBLISHED]) for pen in self.pens)

    def drain_sidecar(self) -> None:
        """Play the sidecar: consume all that it gates."""
        for reader in self.sidecar:
            ring.advance(reader, int(reader.ring.words[ring.PUBLISHED]))

    def settle(self, turns_max: int = 2_000) -> None:
        """Step all stages in turn until the feed is used up and nothing is under way."""
        quiet = 0
        for _ in range(turns_max):
            done = 0 if self.ingest.words[topology.FEED_POSITION] == len(self.ticks) else self.step("ingest")
            done += self.step("risk") + self.step("execution")
            self.drain_sidecar()
            quiet = quiet + 1 if done == 0 else 0
            if quiet == 2:
                if not self.working():
                    return
                # Time goes on after the data: what is due later must still come.
                self.step("ingest")
                quiet = 0
        raise AssertionError(f"not settled after {turns_max} turns")

    def working(self) -> bool:
        """Tell whether any order works or any exit is owed."""
        table = self.positions()
        owed = ((self.stops()["state"] == 2) & (self.stops()["owed"] == 1)).any()
        return bool(table["working_buy_lots"].any() or table["working_sell_lots"].any() or owed)

    def positions(self) -> np.ndarray:
        """Return a copy of the positions table."""
        return rows.snapshot(rows.open_table(self.segment, "positions", POSITION))

    def stops(self) -> np.ndarray:
        """Return the stops that are armed or fired, each with its present level: array of STOP_ROW."""
        return StopRows(self.segment).read()

    def records(self, name: str, dtype: np.dtype) -> np.ndarray:
        """Return a copy of all records of a ring that are still in it."""
        view = ring.RingView(ring.open_ring(self.segment, name, dtype))
        return view.read(0, view.capacity)

    def count(self, worker: str) -> dict[str, int]:
        """Return a worker's counters by name."""
        return counters.snapshot(counters.open_counters(self.segment, worker), topology.COUNTERS[worker])

    def venue_net(self) -> np.ndarray:
        """Return net lots by the venue's own record."""
        return venue_positions(self.segment, self.sizes)

    def venue_fills(self) -> np.ndarray:
        """Return the venue's own record of fills."""
        count = int(self.segment.array("venue.state")[topology.VENUE_FILLS])
        return self.segment.array("venue.fills", VENUE_FILL)[:count].copy()

    def venue_order_table(self) -> np.ndarray:
        """Return a copy of the venue's own record of orders."""
        return rows.snapshot(rows.open_table(self.segment, "venue.orders", VENUE_ORDER))

    def venue_order_ids(self) -> list[int]:
        """Return the ids of the orders that the venue has taken, by its own record."""
        return [int(order_id) for order_id in self.venue_order_table()["order_id"] if order_id]
