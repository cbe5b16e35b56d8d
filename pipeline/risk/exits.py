"""Exits: a stop fires, its order leaves, and if that comes back unfilled the stop stays owed and is sent again.

An exit is a market order, or a limit order with a collar that is taken back after a while and sent again as a market order.
"""

import numpy as np

from pipeline.messages import (
    BID_ASK,
    BUY,
    CANCEL,
    EXIT,
    LAST,
    LIMIT,
    LONG,
    MARKET,
    MID,
    NEW,
    REDUCE_ONLY,
    SELL,
    STATIC,
    STOP_OWED,
    STOP_TRIGGERED,
    TIME,
    TRIGGER_FLATTEN,
    TRIGGERED,
)
from pipeline.order_ids import exit_order_id
from pipeline.risk.account import account_of, book_exit
from pipeline.risk.alarms import DEADLINES, remove_alarm
from pipeline.risk.events import stop_event
from pipeline.risk.levels import NOTHING, PPM
from pipeline.risk.positions import add_working, left_to_exit
from pipeline.risk.scopes import forbids_exits
from pipeline.risk.sent import has_sent_room, stage_sent
from pipeline.risk.stops import PENDING_COUNT, add_pending, remove_pending
from pipeline.topology import RISK_COUNTERS, RISK_NOW_NS
from shm.atomics import monotonic_ns
from shm.counters import stage_add
from shm.jit import njit, njit_inner
from shm.ring import claim, room, stage_publish, wake
from shm.rows import current, edit
from shm.transaction import commit

EXITS_SUBMITTED = RISK_COUNTERS.index("exits_submitted")
EXITS_OWED = RISK_COUNTERS.index("exits_owed")
ESCALATED = RISK_COUNTERS.index("escalated")
STOPS_TRIGGERED = RISK_COUNTERS.index("stops_triggered")
#: The counters of the kinds stand one behind the other, in order of their codes.
KIND_TRIGGERED = RISK_COUNTERS.index("static_triggered") - STATIC

NS_PER_MS = 1_000_000
#: Word of RiskState.local: monotonic receipt of the tick in hand.
RECV_NS = 0


@njit
def watched_price(mark, watch, side):
    """Return the price that a stop watches, in units of its watch; 0 = not known."""
    if watch == BID_ASK:
        return mark["bid_ticks"] if side == LONG else mark["ask_ticks"]
    if watch == LAST:
        return mark["last_ticks"]
    return mark["bid_ticks"] + mark["ask_ticks"] if mark["bid_ticks"] > 0 and mark["ask_ticks"] > 0 else 0


@njit_inner
def fire(state, slot, price_ticks, reason, tick_seq):
    """Fire one armed stop, in one transaction: row, position, order and event together.

    Args:
        state: RiskState.
        slot: The stop's slot; it is ARMED. Its group's bounds are set anew by the caller.
        price_ticks: The watched price, in units of the watch; 0 = not known.
        reason: TRIGGER_*.
        tick_seq: Sequence of the cause in the ticks ring.
    Returns:
        1 where the stop fired, 0 where exits of other stops already take the whole position: it stays armed until that is flat.
    """
    book, transaction = state.book, state.transaction
    terms = book.terms[slot]
    position = state.positions.copies[current(state.positions, np.int64(terms["position"]))]
    if position["exit_lots"] > 0 and left_to_exit(position) == 0:
        return 0
    level = book.levels[slot]
    level_ticks = 0 if level == NOTHING else np.int64(terms["side"]) * level
    stop = book.table.copies[edit(transaction, book.table, slot)]
    stop["state"] = TRIGGERED
    stop["reason"] = reason
    stop["trigger_ns"] = state.words[RISK_NOW_NS]
    stop["trigger_ticks"] = price_ticks
    stop["trigger_level_ticks"] = level_ticks
    stop["trigger_seq"] = tick_seq
    if reason == TRIGGER_FLATTEN:
        # At any price: its exit is a market order from the first, which nothing has to take back.
        stop["escalated"] = 2
    stage_add(transaction, state.counters, STOPS_TRIGGERED, 1)
    stage_add(transaction, state.counters, KIND_TRIGGERED + np.int64(terms["kind"]), 1)
    sent_lots = send_exit(state, slot)
    event = state.events.ring.slots[stop_event(state, STOP_TRIGGERED, slot)]
    event["price_ticks"] = price_ticks
    event["level_ticks"] = level_ticks
    event["quantity_lots"] = sent_lots
    event["tick_seq"] = tick_seq
    event["reason"] = reason
    # Intent and action in one: the row says TRIGGERED exactly when the order is in the ring.
    commit(transaction)
    if sent_lots > 0:
        wake(state.orders)
    if sent_lots == 0 or (terms["limit_ticks"] > 0 and reason != TRIGGER_FLATTEN):
        add_pending(book, slot)
    if terms["kind"] == TIME:
        remove_alarm(book, DEADLINES, slot)
    return 1


@njit
def wanted_lots(terms, position):
    """Return how many lots a stop's exit takes: its share of what is open, and no more than is left to exit."""
    left = left_to_exit(position)
    fraction = np.int64(terms["fraction_ppm"])
    if fraction == 0:
        return left
    return min(left, max(abs(position["quantity_lots"]) * fraction // PPM, 1))


@njit
def limit_price(terms, stop, mark):
    """Return the limit of a stop's exit in ticks, its collar beyond the price that it can get; 0 = a market order."""
    collar, side = np.int64(terms["limit_ticks"]), np.int64(terms["side"])
    if collar == 0 or stop["escalated"]:
        return 0
    price = stop["trigger_ticks"] if terms["watch"] == BID_ASK else 0
    if price == 0:
        price = watched_price(mark, BID_ASK, side)
    if price == 0:
        price = mark["last_ticks"]
    return max(price - side * collar, 1) if price > 0 else 0


@njit_inner
def may_exit(state, row):
    """Tell whether exits of a position may leave: not where it is KILLED, unless it is to be flattened, nor where none fits."""
    return has_sent_room(state.sent, EXIT) and not forbids_exits(state.scopes, row)


@njit_inner
def send_exit(state, slot):
    """Stage a fired stop's next exit order for its share of what is left of its position.

    Returns:
        Lots ordered; 0 where all that is open is already on its way out, or nothing may leave: then the stop stays owed.
    """
    book, transaction = state.book, state.transaction
    terms = book.terms[slot]
    stop = book.table.copies[edit(transaction, book.table, slot)]
    position = state.positions.copies[edit(transaction, state.positions, np.int64(terms["position"]))]
    lots = wanted_lots(terms, position)
    stop["owed"] = 1
    if lots == 0 or not may_exit(state, np.int64(terms["position"])):
        stop["retry_ns"] = state.words[RISK_NOW_NS] + state.limits.retry_ns
        return 0
    mark = state.marks[np.int64(terms["instrument"])]
    side = SELL if terms["side"] == LONG else BUY
    price = limit_price(terms, stop, mark)
    stop["owed"] = 0
    stop["attempt"] += 1
    if price > 0:
        stop["retry_ns"] = state.words[RISK_NOW_NS] + np.int64(terms["escalate_ms"]) * NS_PER_MS
    order = state.orders.ring.slots[new_exit_order(state, slot, NEW)]
    order["quantity_lots"] = lots
    order["price_ticks"] = price
    order["order_type"] = LIMIT if price > 0 else MARKET
    order["reference_ticks"] = stop["trigger_ticks"] // 2 if terms["watch"] == MID else stop["trigger_ticks"]
    add_working(position, side, lots, REDUCE_ONLY | EXIT)
    stage_sent(transaction, state.sent, order, np.int64(terms["position"]))
    book_exit(account_of(state), np.int64(terms["position"]))
    stage_add(transaction, state.counters, EXITS_SUBMITTED, 1)
    return lots


@njit_inner
def new_exit_order(state, slot, kind):
    """Claim an order about a stop's last exit, filled with what NEW and CANCEL share; it counts when the transaction commits.

    Returns:
        Its slot in the orders ring. The stage has made sure that there is room.
    """
    book = state.book
    terms = book.terms[slot]
    stop = book.table.copies[edit(state.transaction, book.table, slot)]
    orders = state.orders.ring
    order_slot = claim(state.orders, 1) & (orders.slots.shape[0] - 1)
    for w in range(orders.slot_words.shape[1]):
        orders.slot_words[order_slot, w] = 0
    order = orders.slots[order_slot]
    order["order_id"] = exit_order_id(terms["stop_id"], np.int64(stop["attempt"]))
    order["event_ns"] = state.words[RISK_NOW_NS]
    order["tick_recv_ns"] = state.local[RECV_NS]
    order["sent_ns"] = monotonic_ns()
    order["stop_id"] = terms["stop_id"]
    order["instrument"] = terms["instrument"]
    order["strategy"] = np.int64(terms["position"]) // state.marks.shape[0]
    order["kind"] = kind
    order["side"] = np.int32(SELL if terms["side"] == LONG else BUY)
    order["flags"] = REDUCE_ONLY | EXIT
    order["generation"] = terms["generation"]
    order["tick_seq"] = stop["trigger_seq"]
    stage_publish(state.transaction, state.orders)
    return order_slot


@njit_inner
def owe(state, slot):
    """Stage that a fired stop's exit came back unfilled: it is sent again after a wait that doubles each time.

    One that was taken back to become a market order is sent again at once.
    """
    book = state.book
    stop = book.table.copies[edit(state.transaction, book.table, slot)]
    wait_ns = state.limits.retry_ns
    for _ in range(1, np.int64(stop["attempt"])):
        if wait_ns < state.limits.retry_ns_max:
            wait_ns = min(2 * wait_ns, state.limits.retry_ns_max)
    if stop["escalated"] == 1:
        # Once: should the market order come back too, it waits as every other.
        stop["escalated"] = 2
        wait_ns = 0
    stop["owed"] = 1
    stop["retry_ns"] = state.words[RISK_NOW_NS] + wait_ns
    stage_add(state.transaction, state.counters, EXITS_OWED, 1)
    stop_event(state, STOP_OWED, slot)


@njit_inner
def look_after_pending(state):
    """Send the exits that are owed and due, and take back limit exits that have worked for too long, as far as there is room.

    Returns:
        How many orders were sent.
    """
    book = state.book
    sent_count = 0
    index = 0
    while index < book.counts[PENDING_COUNT]:
        slot = np.int64(book.pending[index])
        stop = book.table.copies[current(book.table, slot)]
        position = state.positions.copies[current(state.positions, np.int64(book.terms[slot]["position"]))]
        if room(state.orders) < 1:
            break
        waits = state.words[RISK_NOW_NS] < stop["retry_ns"] or (stop["owed"] and left_to_exit(position) == 0)
        if waits or not may_exit(state, np.int64(book.terms[slot]["position"])):
            index += 1
            continue
        if stop["owed"]:
            send_exit(state, slot)
        else:
            taken_back = book.table.copies[edit(state.transaction, book.table, slot)]
            taken_back["escalated"] = 1
            new_exit_order(state, slot, CANCEL)
            stage_add(state.transaction, state.counters, ESCALATED, 1)
        commit(state.transaction)
        wake(state.orders)
        remove_pending(book, slot)
        sent = book.table.copies[current(book.table, slot)]
        if book.terms[slot]["limit_ticks"] > 0 and not sent["escalated"]:
            add_pending(book, slot)
        sent_count += 1
    return sent_count
