"""The stages in lock step: each tick has all its effects before the next one comes.

For each tick, in this order: risk takes it; execution takes the orders that it caused, and only then lets the venue see it;
risk takes the reports, and looks after exits that are owed or work as limit orders. So no order is late or early by what
happened to run when, and the same recording gives the same run.
"""

from typing import NamedTuple

import numpy as np

from pipeline.execution.state import ExecutionState
from pipeline.execution.step import has_orders
from pipeline.execution.step import step as execution_step
from pipeline.ingest.state import LAST_SENT_NS, IngestState
from pipeline.ingest.step import CHUNK_EMPTY, TIMER_NS
from pipeline.ingest.step import step as ingest_step
from pipeline.risk.arming import place
from pipeline.risk.atr import NO_SERIES, link, pick_series, stage_series
from pipeline.risk.state import RiskState
from pipeline.risk.step import step as risk_step
from pipeline.risk.stops import NO_SLOT, PENDING_COUNT
from shm.atomics import load_acquire, monotonic_ns
from shm.jit import njit
from shm.ring import AT, PUBLISHED, advance, available
from shm.transaction import commit

# What play() returns: so many ticks are played; the chunk is used up; a ring is full, and what is in it has to be fetched.
PLAYED, CHUNK_USED, FULL = 0, 1, 2


class Stages(NamedTuple):
    """All that plays."""

    ingest: IngestState
    risk: RiskState
    execution: ExecutionState
    scratch: np.ndarray  #: int64, as risk's step wants it


@njit
def play(stages, tick_count, is_over):
    """Play ticks until so many are done, or until Python is needed. Called again, it goes on where it was.

    Args:
        stages: Stages.
        tick_count: How many ticks.
        is_over: The recording has ended: ingest makes timer ticks, by which the venue fills what is under way; risk sees none.
    Returns:
        PLAYED, CHUNK_USED or FULL.
    """
    ingest, risk, execution = stages.ingest, stages.risk, stages.execution
    has_looked = False
    while True:
        waits = has_orders(execution)
        if waits or execution.ticks.local[AT] < risk.ticks.local[AT]:
            # The venue sees the tick when all orders are with it that come before.
            if execution_step(execution, 0 if waits else 1) > 0:
                continue
            if load_acquire(risk.reports.ring.words, PUBLISHED) == risk.reports.local[AT]:
                return FULL
        waits = load_acquire(risk.reports.ring.words, PUBLISHED) > risk.reports.local[AT]
        looks = not waits and not has_looked and not is_over and risk.book.counts[PENDING_COUNT] > 0
        if not waits and not looks:
            if tick_count == 0:
                return PLAYED
            if risk.ticks.local[AT] == available(risk.ticks):
                count = ingest_step(ingest, ingest.local[LAST_SENT_NS] + TIMER_NS if is_over else monotonic_ns())
                if count <= 0:
                    return CHUNK_USED if count == CHUNK_EMPTY else FULL
                continue
            if is_over:
                advance(risk.ticks, risk.ticks.local[AT] + 1)
                tick_count -= 1
                continue
        before = risk.ticks.local[AT]
        done = risk_step(risk, 0 if waits or looks else 1, stages.scratch)
        if done == 0 and not looks:
            return FULL
        # Exits that are owed or work as limit orders are looked after once a tick, and again as long as that leads to anything.
        has_looked = looks and done == 0
        tick_count -= risk.ticks.local[AT] - before


@njit
def place_all(state, terms, first, end):
    """Arm a range of stops whose positions are in their rows.

    Args:
        state: RiskState.
        terms: Array of STOP_TERMS.
        first: Index of the first.
        end: Index after the last; the events ring has room for all of them.
    Returns:
        The index after the last that found a slot.
    """
    for index in range(first, end):
        if place(state, terms, index) == NO_SLOT:
            return index
    return end


@njit
def make_series(state, instrument, period, bar_ns):
    """Begin the ATR series of an instrument with this period and length of bars, unless it is there.

    Returns:
        Its row, or NO_SERIES where the table is full.
    """
    shape = (period, bar_ns)
    series = pick_series(state, instrument, shape)
    if series != NO_SERIES and stage_series(state, series, instrument, shape):
        commit(state.transaction)
        link(state.book.atr, series, instrument)
    return series
