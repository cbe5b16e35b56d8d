"""Arming and ending stops: a position that opens gets the configured ones, and when it is flat all of its stops end."""

import numpy as np

from pipeline.messages import (
    ARMED,
    ATR,
    CHANDELIER,
    END_EXIT_FILLED,
    END_POSITION_FLAT,
    ENDED,
    LONG,
    MID,
    SHORT,
    STATIC,
    STOP_ARMED,
    STOP_ENDED,
    TAKE_PROFIT,
    TIME,
    TRIGGERED,
)
from pipeline.risk.alarms import DEADLINES, ENTRIES, push_alarm, remove_alarm
from pipeline.risk.events import level_now, stop_event
from pipeline.risk.levels import NOTHING
from pipeline.risk.stops import END, FREE_COUNT, NO_SLOT, WAITING, group_of, link_stop, take_slot, unlink_stop
from pipeline.risk.watching import join, sweep
from pipeline.topology import RISK_COUNTERS, RISK_NEXT_STOP, STOP_GROUPS
from shm.counters import stage_add
from shm.jit import njit, njit_inner
from shm.ring import AT
from shm.rows import current, edit, latest
from shm.transaction import commit, stage, staged

STOPS_ARMED = RISK_COUNTERS.index("stops_armed")
STOPS_ENDED = RISK_COUNTERS.index("stops_ended")
#: The counters of the kinds stand one behind the other, in order of their codes.
KIND_ARMED = RISK_COUNTERS.index("stops_static_armed") - STATIC
NO_STOP_SLOT = RISK_COUNTERS.index("no_stop_slot")
#: Configured stops of one position: static, trailing, atr, time, take-profit.
DEFAULT_STOPS_MAX = 8


@njit_inner
def arm_defaults(state, row, new_slots):
    """Stage the configured stops for a position that has just opened, or has lost its last stop.

    Args:
        state: RiskState.
        row: The position's row; its copy in this transaction says what opened.
        new_slots: int64, filled with the slots taken, so that the book learns of them after the commit.
    Returns:
        How many stops were staged.
    """
    count = 0
    defaults = state.limits.defaults
    for k in range(defaults.shape[0]):
        slot = take_slot(state.book)
        if slot == NO_SLOT:
            stage_add(state.transaction, state.counters, NO_STOP_SLOT, 1)
            return count
        copy_terms(state.book.terms, slot, defaults, k)
        guard(state, row, slot, 0)
        arm(state, slot)
        new_slots[count] = slot
        count += 1
    return count


@njit_inner
def has_spare_slots(state, count):
    """Tell whether so many slots are free beside those that positions may still need for their configured stops.

    A position that may open or flip needs them then; and one that is open, once a fraction's exit leaves it without a stop.
    """
    free = state.book.counts[FREE_COUNT] - count
    each, row_count = state.limits.defaults.shape[0], state.positions.commits.shape[0]
    if free >= 2 * each * row_count:
        return True
    kept = 0
    for row in range(row_count):
        position = state.positions.copies[current(state.positions, row)]
        works = position["working_buy_lots"] > 0 or position["working_sell_lots"] > 0
        kept += each * (np.int64(works) + np.int64(works or position["quantity_lots"] != 0))
    return free >= kept


@njit
def copy_terms(terms, slot, source, index):
    """Fill the terms of a free slot from a record of another array."""
    terms[slot] = source[index]


@njit_inner
def guard(state, row, slot, from_ns):
    """Fill what a free slot's terms take from the position that they are to guard. Stages nothing: who has the slot can look.

    Args:
        state: RiskState.
        row: The position's row.
        slot: The slot; `deadline_ns` of its terms is the longest holding so far.
        from_ns: Stream time from which it watches; 0 = the position's entry.
    """
    position = state.positions.copies[latest(state.transaction, state.positions, row)]
    terms = state.book.terms[slot]
    terms["entry_ticks"] = position["entry_ticks"] * (2 if terms["watch"] == MID else 1)
    terms["entry_ns"] = from_ns if from_ns > 0 else position["entry_ns"]
    terms["deadline_ns"] += position["entry_ns"]
    terms["position"] = row
    terms["instrument"] = position["instrument"]
    terms["generation"] = position["generation"]
    terms["side"] = LONG if position["quantity_lots"] > 0 else SHORT
    kind = np.int64(terms["kind"])
    if (kind == ATR or kind == CHANDELIER) and terms["series"] == state.limits.default_series:
        terms["series"] = position["instrument"]
    # The slot is free, so nothing reads these.
    state.book.extremes[slot] = WAITING
    state.book.floors[slot] = NOTHING


@njit_inner
def arm(state, slot):
    """Stage the stop whose terms a free slot holds: its id, its row, its event, its counts.

    Returns:
        The event's slot in the events ring.
    """
    book, transaction = state.book, state.transaction
    terms = book.terms[slot]
    next_stop = state.words_base + RISK_NEXT_STOP
    terms["stop_id"] = staged(transaction, next_stop, transaction.memory[next_stop]) + 1
    stage(transaction, next_stop, terms["stop_id"])
    book.levels[slot] = level_now(book, slot)
    spare = edit(transaction, book.table, slot)
    for w in range(book.table.words.shape[1]):
        book.table.words[spare, w] = 0
    book.table.copies[spare]["state"] = ARMED
    event_slot = stop_event(state, STOP_ARMED, slot)
    event = state.events.ring.slots[event_slot]
    position = state.positions.copies[latest(transaction, state.positions, np.int64(terms["position"]))]
    event["quantity_lots"] = abs(position["quantity_lots"])
    # The first tick that it can see: with it, and the ticks, anyone can check what it does.
    event["tick_seq"] = state.ticks.local[AT]
    stage_add(transaction, state.counters, STOPS_ARMED, 1)
    stage_add(transaction, state.counters, KIND_ARMED + np.int64(terms["kind"]), 1)
    return event_slot


@njit
def place(state, template, index):
    """Arm a stop of a position that is in its row already, as a backtest has them; the stop watches after the next `restore`.

    Args:
        state: RiskState.
        template: Array of STOP_TERMS, complete but for what is said of `guard`; its own `entry_ticks` and `entry_ns` count.
        index: Which of them.
    Returns:
        The stop's id, or NO_SLOT where the table is full.
    """
    slot = take_slot(state.book)
    if slot == NO_SLOT:
        return NO_SLOT
    copy_terms(state.book.terms, slot, template, index)
    guard(state, np.int64(template[index]["position"]), slot, template[index]["entry_ns"])
    terms = state.book.terms[slot]
    terms["entry_ticks"] = template[index]["entry_ticks"]
    arm(state, slot)
    commit(state.transaction)
    link_stop(state.book, slot)
    push_alarm(state.book, ENTRIES, slot)
    if terms["kind"] == TIME:
        push_alarm(state.book, DEADLINES, slot)
    return terms["stop_id"]


@njit_inner
def end_stop(state, slot, reason):
    """Stage the end of one stop.

    Returns:
        The event's slot in the events ring.
    """
    book, transaction = state.book, state.transaction
    ending = book.table.copies[edit(transaction, book.table, slot)]
    ending["state"] = ENDED
    ending["owed"] = 0
    event_slot = stop_event(state, STOP_ENDED, slot)
    event = state.events.ring.slots[event_slot]
    event["reason"] = reason
    event["tick_seq"] = state.ticks.local[AT]
    stage_add(transaction, state.counters, STOPS_ENDED, 1)
    return event_slot


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
    book = state.book
    count = 0
    for group in range(STOP_GROUPS):
        slot = np.int64(book.heads[STOP_GROUPS * instrument + group])
        while slot != END:
            terms = book.terms[slot]
            if terms["position"] == row and terms["generation"] == generation:
                is_fired = book.table.copies[current(book.table, slot)]["state"] == TRIGGERED
                end_stop(state, slot, END_EXIT_FILLED if is_fired else END_POSITION_FLAT)
                ended_slots[count] = slot
                count += 1
            slot = np.int64(book.nexts[slot])
    return count


@njit_inner
def count_stops(state, row, instrument):
    """Return how many stops a position has, and how many of them protect it: armed, and no mere target."""
    book = state.book
    count, protecting = 0, 0
    for group in range(STOP_GROUPS):
        slot = np.int64(book.heads[STOP_GROUPS * instrument + group])
        while slot != END:
            terms = book.terms[slot]
            if terms["position"] == row:
                stop = book.table.copies[latest(state.transaction, book.table, slot)]
                count += 1
                protecting += stop["state"] == ARMED and terms["kind"] != TAKE_PROFIT
            slot = np.int64(book.nexts[slot])
    return count, protecting


@njit_inner
def settle_book(state, ended_slots, ended_count, new_slots, new_count):
    """Bring the private lists up to date with what a committed transaction ended and armed."""
    book = state.book
    for k in range(ended_count):
        leave_book(state, np.int64(ended_slots[k]))
    for k in range(new_count):
        enter_book(state, np.int64(new_slots[k]))
    for k in range(ended_count):
        # Slots keep their terms until they are taken again, which nothing does in between.
        terms = book.terms[np.int64(ended_slots[k])]
        sweep(book, np.int64(terms["instrument"]), group_of(terms), 0)


@njit_inner
def enter_book(state, slot):
    """Have the book watch a stop whose row is committed."""
    link_stop(state.book, slot)
    join(state, slot)


@njit_inner
def leave_book(state, slot):
    """Have the book forget a stop whose end is committed; its group's bounds are set anew by the caller."""
    if state.book.terms[slot]["kind"] == TIME:
        remove_alarm(state.book, DEADLINES, slot)
    if state.book.extremes[slot] == WAITING:
        remove_alarm(state.book, ENTRIES, slot)
    unlink_stop(state.book, slot)
