"""What the risk stage holds: its arrays as kernels take them, and how they are opened."""

from typing import NamedTuple

import numpy as np

from pipeline import topology
from pipeline.messages import EVENT, ORDER, REPORT, TICK
from pipeline.risk.atr import open_atr
from pipeline.risk.inbox import Inbox, open_inbox
from pipeline.risk.limits import Limits
from pipeline.risk.stops import StopBook, make_book
from pipeline.risk.watching import restore
from pipeline.tables import MARK, POSITION
from shm.counters import Counters, open_counters
from shm.heartbeat import Heartbeat, open_heartbeat
from shm.histogram import open_histogram
from shm.ring import Producer, Reader, open_producer, open_reader, open_ring
from shm.rows import Table, open_table
from shm.segment import Segment
from shm.transaction import Transaction, open_transaction


class RiskState(NamedTuple):
    """Everything that the kernels of this stage touch."""

    transaction: Transaction
    ticks: Reader
    reports: Reader
    inbox: Inbox  #: requests of each strategy, then of the control socket
    orders: Producer
    events: Producer
    positions: Table
    book: StopBook
    marks: np.ndarray  #: MARK per instrument
    words: np.ndarray  #: topology.RISK_* words
    words_base: int
    counters: Counters
    refused: Counters
    limits: Limits
    supervisor: np.ndarray  #: topology's supervisor words
    local: np.ndarray  #: private words: exits.RECV_NS, firing.NEXT_STALE_LOOK
    heartbeat: Heartbeat
    ingest_to_risk: np.ndarray  #: histogram words
    execution_to_risk: np.ndarray


def open_risk(segment: Segment, sizes: topology.Sizes, limits: Limits) -> RiskState:
    """Open the stage on an instance: first redo what a dead process left half applied, then read."""
    transaction = open_transaction(segment, "risk")
    names = topology.strategy_names(sizes.strategies)

    def reader(name: str, dtype: np.dtype) -> Reader:
        return open_reader(open_ring(segment, name, dtype), topology.reader_index(name, "risk", sizes.strategies))

    atr = open_atr(segment, transaction, sizes.instruments, limits.atr_period, limits.bar_ns)
    state = RiskState(
        transaction=transaction,
        ticks=reader("ticks", TICK),
        reports=reader("reports", REPORT),
        inbox=open_inbox(segment, (*names, topology.CONTROL)),
        orders=open_producer(segment, open_ring(segment, "orders", ORDER)),
        events=open_producer(segment, open_ring(segment, "events", EVENT)),
        positions=open_table(segment, "positions", POSITION),
        book=make_book(segment, atr, sizes.instruments),
        marks=segment.array("marks", MARK),
        words=segment.array("risk.state"),
        words_base=segment.base("risk.state"),
        counters=open_counters(segment, "risk"),
        refused=open_counters(segment, "refused"),
        limits=limits,
        supervisor=segment.array("supervisor.state"),
        local=np.zeros(8, np.int64),
        heartbeat=open_heartbeat(segment, "risk"),
        ingest_to_risk=open_histogram(segment, "ingest_to_risk"),
        execution_to_risk=open_histogram(segment, "execution_to_risk"),
    )
    restore(state)
    return state
