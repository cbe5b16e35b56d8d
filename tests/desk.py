"""The execution stage alone: the test holds the pens of ingest and of risk, and reads what risk and the sidecar would read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline import topology
from pipeline.execution.orders import recover
from pipeline.execution.state import ExecutionState, open_execution
from pipeline.execution.step import one_step as step
from pipeline.messages import (
    CANCEL,
    LIMIT,
    MARKET,
    NEW,
    ORDER,
    QUOTE,
    REPORT,
    TICK,
    TICK_CROSSED,
    TIMER,
    TRADE,
)
from pipeline.tables import ORDER_STATE, VENUE_FILL, VENUE_NONE, VENUE_ORDER
from shm import counters, ring, rows, segment
from tests.rig import private_arrays
from tests.venue_twin import Told

LATENCY_NS = 1_000
SIZES = topology.Sizes(
    instruments=3, strategies=1, ticks=64, requests=16, orders=64, reports=128, events=64, stops=16, working_orders=32,
    venue_orders=32,
)  # fmt: skip
RECORDS = {"ticks": TICK, "orders": ORDER, "reports": REPORT}
BLOB_BYTES = 256


class Desk:
    """An instance of which only execution runs.

    Args:
        latency_ns: Of the paper venue.
        sizes: Some of topology.Sizes.
    """

    def __init__(self, latency_ns: int = LATENCY_NS, **sizes: int) -> None:
        self.sizes, self.latency_ns = SIZES._replace(**sizes), latency_ns
        self.segment = segment.open_owned(f"test-desk-{os.getpid()}", topology.regions(self.sizes, BLOB_BYTES), fresh=True)
        topology.set_up(self.segment, self.sizes, {})
        segment.finish(self.segment)
        # The mapping lives as long as its views; the name is not needed.
        self.segment.unlink()
        self.rings = {name: ring.open_ring(self.segment, name, dtype) for name, dtype in RECORDS.items()}
        self.pens = {name: ring.open_producer(self.segment, self.rings[name]) for name in ("ticks", "orders")}
        others = (("ticks", "risk"), ("orders", "sidecar"), ("reports", "risk"), ("reports", "sidecar"))
        self.others = [(name, self.reader(name, worker)) for name, worker in others]
        self.execution: ExecutionState
        self.pristine = self.segment.memory.copy()
        self.open()

    def reader(self, name: str, worker: str) -> ring.Reader:
        """Return a worker's reading end of a ring."""
        return ring.open_reader(self.rings[name], topology.reader_index(name, worker, self.sizes.strategies))

    def open(self) -> None:
        """Open the stage as a fresh process would: from shared memory alone."""
        self.execution = open_execution(self.segment, self.sizes, self.latency_ns)
        recover(self.execution)

    def reset(self) -> None:
        """Bring the whole instance back to its first moment."""
        self.segment.memory[:] = self.pristine
        for array in private_arrays((tuple(self.pens.values()), tuple(self.others)), self.segment.memory):
            array[:] = 0
        self.open()

    def save(self) -> Callable[[], None]:
        """Keep everything, shared and private.

        Returns:
            A call that brings it back.
        """
        memory, execution = self.segment.memory.copy(), self.execution
        state: Any = (execution, tuple(self.pens.values()), tuple(reader for _, reader in self.others))
        private = [(array, array.copy()) for array in private_arrays(state, self.segment.memory)]

        def bring_back() -> None:
            self.segment.memory[:] = memory
            for array, content in private:
                array[...] = content
            self.execution = execution

        return bring_back

    def write(self, name: str, record: np.ndarray) -> None:
        """Publish one record."""
        pen = self.pens[name]
        seq = int(ring.claim(pen, 1))
        assert seq != ring.FULL, f"the test writes more than the ring {name} holds"
        pen.ring.slots[seq & (len(pen.ring.slots) - 1)] = record[0]
        ring.publish(pen)

    def order(
        self, order_id: int, side: int, lots: int = 10, limit: int | None = None, instrument: int = 0, **fields: int
    ) -> None:
        """Send an order, a market order where no limit is given; it is of the time of the last tick."""
        record = np.zeros(1, ORDER)
        record["kind"], record["order_id"], record["side"], record["quantity_lots"] = NEW, order_id, side, lots
        record["order_type"], record["price_ticks"] = MARKET if limit is None else LIMIT, limit or 0
        record["instrument"], record["event_ns"] = instrument, self.last_event_ns()
        for field, value in fields.items():
            record[field] = value
        self.write("orders", record)

    def cancel(self, order_id: int) -> None:
        """Send a cancel."""
        record = np.zeros(1, ORDER)
        record["kind"], record["order_id"] = CANCEL, order_id
        self.write("orders", record)

    def tick(self, kind: int, instrument: int, a: int, b: int, after_ns: int = LATENCY_NS, flags: int = 0) -> None:
        """Publish a tick, some time after the last."""
        record = np.zeros(1, TICK)
        record["kind"], record["instrument"], record["a"], record["b"], record["flags"] = kind, instrument, a, b, flags
        record["event_ns"] = self.last_event_ns() + after_ns
        self.write("ticks", record)

    def quote(self, bid: int, ask: int, instrument: int = 0, after_ns: int = LATENCY_NS) -> None:
        """Publish a quote."""
        self.tick(QUOTE, instrument, bid, ask, after_ns)

    def trade(self, price: int, instrument: int = 0, after_ns: int = LATENCY_NS) -> None:
        """Publish a trade."""
        self.tick(TRADE, instrument, price, 1, after_ns)

    def timer(self, after_ns: int = LATENCY_NS) -> None:
        """Publish a timer tick."""
        self.tick(TIMER, 0, 0, 0, after_ns)

    def rejected(self, bid: int, ask: int, instrument: int = 0, after_ns: int = LATENCY_NS) -> None:
        """Publish a quote that hygiene has rejected."""
        self.tick(QUOTE, instrument, bid, ask, after_ns, TICK_CROSSED)

    def last_event_ns(self) -> int:
        """Return the time of the last tick published."""
        words, slots = self.rings["ticks"].words, self.rings["ticks"].slots
        published = int(words[ring.PUBLISHED])
        return int(slots[(published - 1) & (len(slots) - 1)]["event_ns"]) if published else LATENCY_NS

    def step(self, tick_budget: int = 8) -> int:
        """Let execution take one step.

        Returns:
            How much it did.
        """
        return int(step(self.execution, tick_budget))

    def settle(self) -> None:
        """Let execution step until nothing is left to do; the others keep up."""
        for _ in range(1_000):
            done = self.step()
            self.catch_up()
            if done == 0:
                return
        raise AssertionError("execution is never done")

    def catch_up(self) -> None:
        """Let all other readers read all."""
        for name, reader in self.others:
            ring.advance(reader, int(self.rings[name].words[ring.PUBLISHED]))

    def published(self, name: str) -> int:
        """Return how many records a ring has seen."""
        return int(self.rings[name].words[ring.PUBLISHED])

    def records(self, name: str, first: int = 0) -> np.ndarray:
        """Return a copy of a ring's records from a sequence on."""
        view = ring.RingView(self.rings[name])
        assert view.published - first <= view.capacity, f"{name} has wrapped"
        return view.read(first, view.capacity)

    def told(self, first: int = 0) -> list[Told]:
        """Return what the reports say, in order."""
        fields = ("kind", "order_id", "reason", "quantity_lots", "price_ticks", "left_lots")
        return [tuple(int(report[field]) for field in fields) for report in self.records("reports", first)]  # type: ignore[misc]

    def kinds_of(self, order_id: int) -> list[int]:
        """Return the kinds of the reports about an order, in order."""
        reports = self.records("reports")
        return [int(kind) for kind in reports["kind"][reports["order_id"] == order_id]]

    def states(self) -> dict[int, int]:
        """Return the state of each order that execution's table holds, by id."""
        table = rows.snapshot(rows.open_table(self.segment, "order_states", ORDER_STATE))
        return {int(row["order_id"]): int(row["state"]) for row in table if row["state"]}

    def venue_orders(self) -> np.ndarray:
        """Return the venue's own record of orders, by arrival."""
        table = rows.snapshot(rows.open_table(self.segment, "venue.orders", VENUE_ORDER))
        return np.sort(table[table["state"] != VENUE_NONE], order="place")

    def venue_fills(self) -> np.ndarray:
        """Return the venue's own record of fills."""
        count = int(self.segment.array("venue.state")[topology.VENUE_FILLS])
        return self.segment.array("venue.fills", VENUE_FILL)[:count].copy()

    def count(self, name: str) -> int:
        """Return one of execution's counters."""
        return counters.snapshot(counters.open_counters(self.segment, "execution"), topology.EXECUTION_COUNTERS)[name]

    def rejected_for(self, reason: int) -> int:
        """Return how many orders were rejected for a reason."""
        return int(counters.open_counters(self.segment, "rejected").words[counters.STRIDE * reason])
