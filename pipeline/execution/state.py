"""What the execution stage holds: its arrays as kernels take them, and how they are opened."""

from typing import NamedTuple

import numpy as np

from pipeline import topology
from pipeline.execution.fees import Fees, make_fees
from pipeline.execution.paper import PaperVenue, open_venue
from pipeline.messages import ORDER, REPORT, TICK
from pipeline.order_index import OrderIndex, make_index
from pipeline.tables import ORDER_STATE
from shm.counters import Counters, open_counters
from shm.histogram import open_histogram
from shm.ring import Producer, Reader, open_producer, open_reader, open_ring
from shm.rows import Table, open_table
from shm.segment import Segment
from shm.transaction import Transaction, open_transaction


class ExecutionState(NamedTuple):
    """Everything that the kernels of this stage touch."""

    transaction: Transaction
    orders: Reader
    reports: Producer
    ticks: Reader  #: the paper venue's market
    states: Table  #: ORDER_STATE
    by_id: OrderIndex  #: order id -> row
    local: np.ndarray  #: private: orders.NEXT_ROW, orders.TAKEN_COUNT
    venue: PaperVenue
    fees: Fees
    words: np.ndarray  #: topology's execution words
    words_base: int
    counters: Counters
    rejected: Counters
    risk_to_execution: np.ndarray  #: histogram words
    tick_to_order: np.ndarray
    request_to_order: np.ndarray


def open_execution(segment: Segment, sizes: topology.Sizes, latency_ns: int, fees: Fees | None = None) -> ExecutionState:
    """Open the stage on an instance: first redo what a dead process left half applied, then read.

    Args:
        segment: The instance.
        sizes: What it was made with.
        latency_ns: Of the paper venue.
        fees: Of the paper venue; None = it takes none.
    """
    transaction = open_transaction(segment, "execution")

    def reader(name: str, dtype: np.dtype) -> Reader:
        return open_reader(open_ring(segment, name, dtype), topology.reader_index(name, "execution", sizes.strategies))

    return ExecutionState(
        transaction=transaction,
        orders=reader("orders", ORDER),
        reports=open_producer(segment, open_ring(segment, "reports", REPORT)),
        ticks=reader("ticks", TICK),
        states=open_table(segment, "order_states", ORDER_STATE),
        by_id=make_index(sizes.working_orders),
        local=np.zeros(2, np.int64),
        venue=open_venue(segment, latency_ns),
        fees=fees if fees is not None else make_fees(np.zeros(sizes.instruments, np.int64)),
        words=segment.array("execution.state"),
        words_base=segment.base("execution.state"),
        counters=open_counters(segment, "execution"),
        rejected=open_counters(segment, "rejected"),
        risk_to_execution=open_histogram(segment, "risk_to_execution"),
        tick_to_order=open_histogram(segment, "tick_to_order"),
        request_to_order=open_histogram(segment, "request_to_order"),
    )
