"""Reports from execution: fills move positions, and positions that open or close arm or end their stops.

A report may come twice, late or out of order, as a venue's may: a fill counts once by its id, whenever it comes; the end of an
order counts where the order has not ended yet. What works is told by the order's own row, not by the report.
"""

import numpy as np

from pipeline.messages import CANCELLED as ORDER_CANCELLED
from pipeline.messages import END_EXIT_FILLED, EXIT, FILLED, PARTIALLY_FILLED
from pipeline.messages import REJECTED as ORDER_REJECTED
from pipeline.risk.account import account_of, book_executed, book_fill, count_reject
from pipeline.risk.arming import DEFAULT_STOPS_MAX, arm_defaults, count_stops, end_stop, end_stops, settle_book
from pipeline.risk.exits import owe
from pipeline.risk.held import keep
from pipeline.risk.positions import CLOSED, FLIPPED, OPENED, add_working, apply_fill
from pipeline.risk.sent import NOT_SEEN, find_sent, stage_left
from pipeline.risk.stops import NO_SLOT, add_pending, find_stop
from pipeline.risk.watching import catch_up
from pipeline.topology import FILLS_SEEN, RISK_COUNTERS
from shm.counters import stage_add
from shm.jit import njit_inner
from shm.ring import stage_advance, wake
from shm.rows import current, edit, latest
from shm.transaction import commit, stage

REPORTS = RISK_COUNTERS.index("reports")
FILLS = RISK_COUNTERS.index("fills")
BAD_REPORTS = RISK_COUNTERS.index("bad_reports")
DUPLICATE_FILLS = RISK_COUNTERS.index("duplicate_fills")
LATE_FILLS = RISK_COUNTERS.index("late_fills")
ORDERS_ENDED = RISK_COUNTERS.index("orders_ended")
#: Most stops that one position can hold: what ends together must fit one transaction.
STOPS_PER_POSITION_MAX = 128


@njit_inner
def take_report(state, seq, scratch):
    """Apply one report, in one transaction with the cursor that consumes it.

    Args:
        state: RiskState.
        seq: Its sequence in the reports ring.
        scratch: int64, at least STOPS_PER_POSITION_MAX words.
    """
    slots = state.reports.ring.slots
    report = slots[seq & (slots.shape[0] - 1)]
    transaction = state.transaction
    instrument_count = state.marks.shape[0]
    instrument, strategy = np.int64(report["instrument"]), np.int64(report["strategy"])
    row = strategy * instrument_count + instrument
    is_known = instrument < instrument_count and row < state.positions.commits.shape[0]
    if is_known:
        # A transaction of its own: what the report arms finds the ATR of this moment.
        catch_up(state, instrument)
    stage_advance(transaction, state.reports, seq + 1)
    stage_add(transaction, state.counters, REPORTS, 1)
    if not is_known:
        stage_add(transaction, state.counters, BAD_REPORTS, 1)
        commit(transaction)
        return
    kind = np.int64(report["kind"])
    if kind == FILLED or kind == PARTIALLY_FILLED:
        if is_new_fill(state, report["fill_id"]):
            take_fill(state, report, row, scratch)
            return
        stage_add(transaction, state.counters, DUPLICATE_FILLS, 1)
    elif kind == ORDER_REJECTED or kind == ORDER_CANCELLED:
        sent_row = find_sent(state.sent, report["order_id"])
        if sent_row != NOT_SEEN:
            take_back(state, report, row, sent_row)
            return
        stage_add(transaction, state.counters, BAD_REPORTS, 1)
    commit(transaction)


@njit_inner
def is_new_fill(state, fill_id):
    """Tell whether a fill comes for the first time, and stage that it came."""
    at = fill_id & (FILLS_SEEN - 1)
    if fill_id > 0 and state.fills_seen[at] == fill_id:
        return False
    stage(state.transaction, state.fills_seen_base + at, fill_id)
    return True


@njit_inner
def take_fill(state, report, row, scratch):
    """Apply one fill: position, stops that end, stops that arm; then commit."""
    transaction = state.transaction
    instrument = np.int64(report["instrument"])
    side, lots = np.int64(report["side"]), report["quantity_lots"]
    position = state.positions.copies[edit(transaction, state.positions, row)]
    generation = position["generation"]
    position["strategy"], position["instrument"] = np.int64(report["strategy"]), instrument
    left_lots = stage_filled(state, report, position, lots)
    was_tick_lots = position["realised_tick_lots"]
    change = apply_fill(position, side, lots, report["price_ticks"], report["event_ns"])
    book_fill(account_of(state), row, change, position["realised_tick_lots"] - was_tick_lots, report["fee_units"])
    if left_lots == 0 and not report["flags"] & EXIT:
        book_executed(account_of(state), row)
    stage_add(transaction, state.counters, FILLS, 1)
    ended_slots, new_slots = scratch[DEFAULT_STOPS_MAX:], scratch[:DEFAULT_STOPS_MAX]
    ended_count, new_count, owed_slot = 0, 0, NO_SLOT
    if change == CLOSED or change == FLIPPED:
        ended_count = end_stops(state, row, instrument, generation, ended_slots)
    elif report["flags"] & EXIT and left_lots == 0:
        slot = find_stop(state.book, instrument, report["stop_id"])
        if slot != NO_SLOT and state.book.terms[slot]["fraction_ppm"] > 0:
            # It took its share, and is done.
            end_stop(state, slot, END_EXIT_FILLED)
            ended_slots[0] = slot
            ended_count = 1
        elif slot != NO_SLOT:
            # The exit is done and the position is not: something was added meanwhile. The stop owes the rest.
            owe(state, slot)
            owed_slot = slot
    if change == OPENED or change == FLIPPED or (ended_count == 1 and is_bare(state, row, instrument)):
        new_count = arm_defaults(state, row, new_slots)
    commit(transaction)
    keep(state.held, state.positions, row)
    settle_book(state, ended_slots, ended_count, new_slots, new_count)
    if owed_slot != NO_SLOT:
        add_pending(state.book, owed_slot)
    wake(state.events)


@njit_inner
def stage_filled(state, report, position, lots):
    """Stage that so much of an order no longer works.

    Returns:
        What is left of it; -1 where it had ended before this fill came.
    """
    row = find_sent(state.sent, report["order_id"])
    if row == NOT_SEEN:
        stage_add(state.transaction, state.counters, LATE_FILLS, 1)
        return -1
    sent = state.sent.table.copies[current(state.sent.table, row)]
    left_lots = max(sent["left_lots"] - lots, 0)
    add_working(position, np.int64(sent["side"]), left_lots - sent["left_lots"], np.int64(sent["flags"]))
    stage_left(state.transaction, state.sent, row, left_lots)
    if left_lots == 0:
        stage_add(state.transaction, state.counters, ORDERS_ENDED, 1)
    return left_lots


@njit_inner
def is_bare(state, row, instrument):
    """Tell whether a position is open and no stop protects it."""
    position = state.positions.copies[latest(state.transaction, state.positions, row)]
    return position["quantity_lots"] != 0 and count_stops(state, row, instrument)[1] == 0


@njit_inner
def take_back(state, report, row, sent_row):
    """Take an order that ended unfilled out of what works; an exit's stop is owed. Then commit."""
    transaction = state.transaction
    sent = state.sent.table.copies[current(state.sent.table, sent_row)]
    flags, left_lots = np.int64(sent["flags"]), sent["left_lots"]
    position = state.positions.copies[edit(transaction, state.positions, row)]
    add_working(position, np.int64(sent["side"]), -left_lots, flags)
    stage_left(transaction, state.sent, sent_row, 0)
    stage_add(transaction, state.counters, ORDERS_ENDED, 1)
    slot = NO_SLOT
    if flags & EXIT:
        slot = find_stop(state.book, np.int64(report["instrument"]), report["stop_id"])
        if slot != NO_SLOT:
            owe(state, slot)
    elif report["kind"] == ORDER_REJECTED:
        count_reject(account_of(state), row)
    commit(transaction)
    keep(state.held, state.positions, row)
    if slot != NO_SLOT:
        add_pending(state.book, slot)
