"""Exits: a stop fires, its order leaves, and if that comes back unfilled the stop stays owed and is sent again."""

import numpy as np

from pipeline.messages import (
    BUY,
    EXIT,
    LONG,
    MARKET,
    NEW,
    REDUCE_ONLY,
    SELL,
    STATIC,
    STOP_OWED,
    STOP_TRIGGERED,
    TRAILING,
    TRIGGERED,
)
from pipeline.risk.events import stop_event
from pipeline.risk.positions import add_working, left_to_exit
from pipeline.risk.stops import OWED_COUNT, add_owed, remove_owed, set_bounds
from pipeline.topology import RISK_COUNTERS, RISK_NOW_NS
from shm.atomics import monotonic_ns
from shm.counters import stage_add
from shm.jit import njit_inner
from shm.ring import claim, room, stage_publish, wake
from shm.rows import current, edit
from shm.transaction import commit

EXITS_SUBMITTED = RISK_COUNTERS.index("exits_submitted")
EXITS_OWED = RISK_COUNTERS.index("exits_owed")
STOPS_TRIGGERED = RISK_COUNTERS.index("stops_triggered")
STATIC_TRIGGERED = RISK_COUNTERS.index("static_triggered")
TRAILING_TRIGGERED = RISK_COUNTERS.index("trailing_triggered")

#: An exit's order id: bit 62, the stop's id, the attempt.
EXIT_ID_BIT = 1 << 62
ATTEMPT_BITS = 16


@njit_inner
def exit_order_id(stop_id, attempt):
    """Return the id of a stop's n-th exit: the same whoever computes it, and whenever."""
    return EXIT_ID_BIT | (stop_id << ATTEMPT_BITS) | attempt


@njit_inner
def fire(state, slot, price_ticks, tick_seq):
    """Fire one armed stop at a price, in one transaction: row, position, order and event together.

    Args:
        state: RiskState.
        slot: The stop's slot; it is ARMED.
        price_ticks: The watched price that is at or beyond its level.
        tick_seq: Sequence of that tick in the ticks ring.
    Returns:
        1 where the stop fired, 0 where exits of other stops already take the whole position: it stays armed until that is flat.
    """
    book, transaction = state.book, state.transaction
    armed = book.table.copies[current(book.table, slot)]
    position = state.positions.copies[current(state.positions, np.int64(armed["position"]))]
    if position["exit_lots"] > 0 and left_to_exit(position) == 0:
        return 0
    stop = book.table.copies[edit(transaction, book.table, slot)]
    stop["state"] = TRIGGERED
    stop["trigger_ns"] = state.words[RISK_NOW_NS]
    stop["trigger_ticks"] = price_ticks
    stop["trigger_level_ticks"] = book.levels[slot]
    stop["trigger_seq"] = tick_seq
    stage_add(transaction, state.counters, STOPS_TRIGGERED, 1)
    if stop["kind"] == STATIC:
        stage_add(transaction, state.counters, STATIC_TRIGGERED, 1)
    elif stop["kind"] == TRAILING:
        stage_add(transaction, state.counters, TRAILING_TRIGGERED, 1)
    sent_lots = send_exit(state, slot)
    event = state.events.ring.slots[stop_event(state, STOP_TRIGGERED, slot)]
    event["price_ticks"] = price_ticks
    event["level_ticks"] = book.levels[slot]
    event["quantity_lots"] = sent_lots
    event["tick_seq"] = tick_seq
    # Intent and action in one: the row says TRIGGERED exactly when the order is in the ring.
    commit(transaction)
    if sent_lots > 0:
        wake(state.orders)
    else:
        add_owed(book, slot)
    set_bounds(book, np.int64(armed["instrument"]))
    return 1


@njit_inner
def send_exit(state, slot):
    """Stage a fired stop's next exit order for what is left of its position.

    Returns:
        Lots ordered; 0 where all that is open is already on its way out, and the stop stays owed.
    """
    book, transaction = state.book, state.transaction
    stop = book.table.copies[edit(transaction, book.table, slot)]
    row = np.int64(stop["position"])
    position = state.positions.copies[edit(transaction, state.positions, row)]
    lots = left_to_exit(position)
    stop["owed"] = 1
    if lots == 0:
        stop["retry_ns"] = state.words[RISK_NOW_NS] + state.limits.retry_ns
        return 0
    mark = state.marks[np.int64(stop["instrument"])]
    side = SELL if stop["side"] == LONG else BUY
    stop["owed"] = 0
    stop["attempt"] += 1
    stop["order_id"] = exit_order_id(stop["stop_id"], np.int64(stop["attempt"]))
    orders = state.orders.ring
    order_slot = claim(state.orders, 1) & (orders.slots.shape[0] - 1)
    for w in range(orders.slot_words.shape[1]):
        orders.slot_words[order_slot, w] = 0
    order = orders.slots[order_slot]
    order["order_id"] = stop["order_id"]
    order["event_ns"] = state.words[RISK_NOW_NS]
    order["tick_recv_ns"] = mark["tick_recv_ns"]
    order["sent_ns"] = monotonic_ns()
    order["quantity_lots"] = lots
    order["reference_ticks"] = stop["trigger_ticks"]
    order["stop_id"] = stop["stop_id"]
    order["instrument"] = stop["instrument"]
    order["strategy"] = stop["strategy"]
    order["kind"] = NEW
    order["order_type"] = MARKET
    order["side"] = np.int32(side)
    order["flags"] = REDUCE_ONLY | EXIT
    order["generation"] = stop["generation"]
    order["tick_seq"] = stop["trigger_seq"]
    add_working(position, side, lots, REDUCE_ONLY | EXIT)
    stage_publish(transaction, state.orders)
    stage_add(transaction, state.counters, EXITS_SUBMITTED, 1)
    return lots


@njit_inner
def owe(state, slot):
    """Stage that a fired stop's exit came back unfilled: it is sent again after a wait that doubles each time."""
    book = state.book
    stop = book.table.copies[edit(state.transaction, book.table, slot)]
    wait_ns = state.limits.retry_ns
    for _ in range(1, np.int64(stop["attempt"])):
        if wait_ns < state.limits.retry_ns_max:
            wait_ns = min(2 * wait_ns, state.limits.retry_ns_max)
    stop["owed"] = 1
    stop["retry_ns"] = state.words[RISK_NOW_NS] + wait_ns
    stage_add(state.transaction, state.counters, EXITS_OWED, 1)
    stop_event(state, STOP_OWED, slot)


@njit_inner
def resend_owed(state):
    """Send the exits that are owed and due, as far as the orders ring has room.

    Returns:
        How many were sent.
    """
    book = state.book
    sent_count = 0
    index = 0
    while index < book.counts[OWED_COUNT]:
        slot = book.owed[index]
        stop = book.table.copies[current(book.table, slot)]
        position = state.positions.copies[current(state.positions, np.int64(stop["position"]))]
        if room(state.orders) < 1:
            break
        if state.words[RISK_NOW_NS] >= stop["retry_ns"] and left_to_exit(position) > 0:
            send_exit(state, slot)
            commit(state.transaction)
            wake(state.orders)
            remove_owed(book, slot)
            sent_count += 1
        else:
            index += 1
    return sent_count
