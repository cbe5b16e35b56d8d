"""What the risk stage holds: its arrays as kernels take them, and how they are opened."""

from typing import NamedTuple

import numpy as np

from pipeline import topology
from pipeline.messages import EVENT, ORDER, REPORT, TICK
from pipeline.risk.atr import open_atr
from pipeline.risk.calendar import Calendar, open_calendar
from pipeline.risk.cancels import count_flags
from pipeline.risk.guard import NEVER, SUM_WORDS, Guard, whole_lines
from pipeline.risk.held import Held, make_held
from pipeline.risk.inbox import Inbox, open_inbox
from pipeline.risk.limits import Limits
from pipeline.risk.scopes import Scopes, open_scopes
from pipeline.risk.sent import SentOrders, open_sent
from pipeline.risk.stops import StopBook, make_book
from pipeline.risk.watching import restore
from pipeline.tables import LIMITS, MARK, POSITION
from shm.counters import Counters, open_counters
from shm.heartbeat import Heartbeat, open_heartbeat
from shm.histogram import open_histogram
from shm.jit import njit_merged
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
    limit_rows: Table  #: LIMITS by scope
    scopes: Scopes
    held: Held
    sent: SentOrders
    calendar: Calendar
    fills_seen: np.ndarray  #: int64: fill ids, each at its id modulo FILLS_SEEN
    fills_seen_base: int
    sums: np.ndarray  #: private, of the pre-trade check (risk.guard)
    found: np.ndarray
    complete: np.ndarray
    profits: np.ndarray  #: private, of the review
    supervisor: np.ndarray  #: topology's supervisor words
    local: np.ndarray  #: private words: exits.RECV_NS, firing.NEXT_STALE_LOOK, cancels.FLAGGED_COUNT, CANCELLED_COUNT
    heartbeat: Heartbeat
    ingest_to_risk: np.ndarray  #: histogram words
    execution_to_risk: np.ndarray


def open_risk(segment: Segment, sizes: topology.Sizes, limits: Limits, calendar: Calendar | None = None) -> RiskState:
    """Open the stage on an instance: first redo what a dead process left half applied, then read.

    Args:
        segment: The instance.
        sizes: What it was made with.
        limits: Settings.
        calendar: Hours and blackouts; None = every instrument trades always.
    """
    transaction = open_transaction(segment, "risk")
    names = topology.strategy_names(sizes.strategies)

    def reader(name: str, dtype: np.dtype) -> Reader:
        return open_reader(open_ring(segment, name, dtype), topology.reader_index(name, "risk", sizes.strategies))

    atr = open_atr(segment, transaction, sizes.instruments, limits.atr_period, limits.bar_ns)
    positions = open_table(segment, "positions", POSITION)
    state = RiskState(
        transaction=transaction,
        ticks=reader("ticks", TICK),
        reports=reader("reports", REPORT),
        inbox=open_inbox(segment, (*names, topology.CONTROL)),
        orders=open_producer(segment, open_ring(segment, "orders", ORDER)),
        events=open_producer(segment, open_ring(segment, "events", EVENT)),
        positions=positions,
        book=make_book(segment, atr, sizes.instruments),
        marks=segment.array("marks", MARK),
        words=segment.array("risk.state"),
        words_base=segment.base("risk.state"),
        counters=open_counters(segment, "risk"),
        refused=open_counters(segment, "refused"),
        limits=limits,
        limit_rows=open_table(segment, "limits", LIMITS),
        scopes=open_scopes(segment, sizes),
        held=make_held(positions, sizes.instruments),
        sent=open_sent(segment),
        calendar=calendar if calendar is not None else open_calendar(sizes.instruments),
        fills_seen=segment.array("fills.seen"),
        fills_seen_base=segment.base("fills.seen"),
        sums=whole_lines(3 * SUM_WORDS).reshape(3, SUM_WORDS),
        found=whole_lines(4),
        complete=np.full(sizes.scope_count, NEVER, np.int64),
        profits=np.zeros(1 + sizes.book_count, np.int64),
        supervisor=segment.array("supervisor.state"),
        local=np.zeros(8, np.int64),
        heartbeat=open_heartbeat(segment, "risk"),
        ingest_to_risk=open_histogram(segment, "ingest_to_risk"),
        execution_to_risk=open_histogram(segment, "execution_to_risk"),
    )
    restore(state)
    count_flags(state.scopes, state.local)
    return state


@njit_merged
def guard_of(state):
    """Return the part of the state that the pre-trade check looks at."""
    return Guard(
        state.positions,
        state.marks,
        state.limit_rows,
        state.scopes.words,
        state.scopes.base,
        state.book.atr.table,
        state.book.atr.bars,
        state.words,
        state.limits,
        state.held,
        state.sums,
        state.found,
        state.complete,
        state.scopes.books,
    )
