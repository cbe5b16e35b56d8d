"""Arming and ending stops: a position that opens gets the configured ones, and when it is flat all of its stops end."""

import numpy as np

from pipeline.messages import (
    ARMED,
    END_EXIT_FILLED,
    END_POSITION_FLAT,
    ENDED,
    LONG,
    SHORT,
    STATIC,
    STOP_ARMED,
    STOP_ENDED,
    TRAILING,
    TRIGGERED,
)
from pipeline.risk.events import stop_event
from pipeline.risk.levels import first_level
from pipeline.risk.stops import END, NO_SLOT, add, remove, take_slot
from pipeline.topology import RISK_COUNTERS, RISK_NEXT_STOP
from shm.counters import stage_add
from shm.jit import njit_inner
from shm.ring import AT
from shm.rows import current, edit, latest
from shm.transaction import stage, staged

STOPS_ARMED = RISK_COUNTERS.index("stops_armed")
STOPS_ENDED = RISK_COUNTERS.index("stops_ended")
STATIC_ARMED = RISK_COUNTERS.index("stops_static_armed")
TRAILING_ARMED = RISK_COUNTERS.index("stops_trailing_armed")
NO_STOP_SLOT = RISK_COUNTERS.index("no_stop_slot")
DEFAULT_STOPS_MAX = 2


@njit_inner
def arm_defaults(state, row, new_slots):
    """Stage the configured stops for a position that has just opened.

    Args:
        state: RiskState.
        row: The position's row; its copy in this transaction says what opened.
        new_slots: int64, filled with the slots taken, so that the book learns of them after the commit.
    Returns:
        How many stops were staged.
    """
    count = 0
    if state.limits.default_stop_ppm > 0:
        count = arm(state, row, STATIC, state.limits.default_stop_ppm, new_slots, count)
    if state.limits.trailing_stop_ppm > 0:
        count = arm(state, row, TRAILING, state.limits.trailing_stop_ppm, new_slots, count)
    return count


@njit_inner
def arm(state, row, kind, percent_ppm, new_slots, count):
    """Stage one stop of a position.

    Returns:
        `count` plus one; or `count` itself where the table is full, which the counter no_stop_slot tells.
    """
    book, transaction = state.book, state.transaction
    position = state.positions.copies[latest(transaction, state.positions, row)]
    slot = take_slot(book)
    if slot == NO_SLOT:
        stage_add(transaction, state.counters, NO_STOP_SLOT, 1)
        return count
    next_stop = state.words_base + RISK_NEXT_STOP
    stop_id = staged(transaction, next_stop, transaction.memory[next_stop]) + 1
    stage(transaction, next_stop, stop_id)
    spare = edit(transaction, book.table, slot)
    for w in range(book.table.words.shape[1]):
        book.table.words[spare, w] = 0
    stop = book.table.copies[spare]
    stop["stop_id"] = stop_id
    stop["generation"] = position["generation"]
    stop["entry_ticks"] = position["entry_ticks"]
    stop["entry_ns"] = position["entry_ns"]
    stop["percent_ppm"] = percent_ppm
    stop["position"] = row
    stop["instrument"] = position["instrument"]
    stop["strategy"] = position["strategy"]
    stop["kind"] = kind
    stop["state"] = ARMED
    stop["side"] = LONG if position["quantity_lots"] > 0 else SHORT
    stop["level_ticks"] = first_level(stop)
    # The slot is free, so nothing reads its extreme; the row that will is not committed yet.
    book.extremes[slot] = 0
    event = state.events.ring.slots[stop_event(state, STOP_ARMED, slot)]
    event["quantity_lots"] = abs(position["quantity_lots"])
    # The first tick that it can see: with it, and the ticks, anyone can check what it does.
    event["tick_seq"] = state.ticks.local[AT]
    stage_add(transaction, state.counters, STOPS_ARMED, 1)
    stage_add(transaction, state.counters, STATIC_ARMED if kind == STATIC else TRAILING_ARMED, 1)
    new_slots[count] = slot
    return count + 1


@njit_inner
def end_stops(state, row, instrument, generation, ended_slots):
    """Stage the end of every stop of one generation of a position.

    Args:
        state: RiskState.
        row: The position's row.
        instrument: Its instrument.
        generation: The generation that is over.
        ended_slots: int64, filled with their slots, so that the book forgets them after the commit.
    Returns:
        How many stops end.
    """
    book, transaction = state.book, state.transaction
    count = 0
    slot = book.heads[instrument]
    while slot != END:
        stop = book.table.copies[current(book.table, slot)]
        if stop["position"] == row and stop["generation"] == generation:
            reason = END_EXIT_FILLED if stop["state"] == TRIGGERED else END_POSITION_FLAT
            ending = book.table.copies[edit(transaction, book.table, slot)]
            ending["state"] = ENDED
            ending["owed"] = 0
            event = state.events.ring.slots[stop_event(state, STOP_ENDED, slot)]
            event["reason"] = reason
            event["tick_seq"] = state.ticks.local[AT]
            stage_add(transaction, state.counters, STOPS_ENDED, 1)
            ended_slots[count] = slot
            count += 1
        slot = book.nexts[slot]
    return count


@njit_inner
def settle_book(state, instrument, ended_slots, ended_count, new_slots, new_count):
    """Bring the private lists up to date with what a committed transaction ended and armed."""
    for k in range(ended_count):
        remove(state.book, ended_slots[k], instrument)
    for k in range(new_count):
        add(state.book, new_slots[k], np.int64(instrument))
