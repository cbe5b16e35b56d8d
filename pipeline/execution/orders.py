"""Orders and cancels on their way: the intent is written down before the venue hears of it, and the answer after.

ring --take_order--> SUBMITTING --submit--> WORKING --fill-------------------------> DONE
                         |                   |   ^ it has filled: its report comes     ^
                         |      take_cancel  |   |                                     |
                         |                   +-> CANCELLING --ask_to_cancel, it worked-+
                         |  after a restart:          |  after a restart: ask again
                         |  does the venue know the id?
                         +--yes: WORKING        +--no: submit, the same id

Rows are used in turn. One whose order still works is passed over, so that an order may rest for as long as it likes.
"""

import numpy as np

from pipeline.execution.fees import fee_of
from pipeline.execution.paper import BAD_TYPE, DUPLICATE, NO_MARKET, TAKEN, cancel_order, knows, submit
from pipeline.messages import (
    ACCEPTED,
    CANCEL,
    CANCELLED,
    EXIT,
    FILLED,
    REASON_NONE,
    REJECT_NO_MARKET,
    REJECT_NO_ROOM,
    REJECT_ORDER_TYPE,
    REJECTED,
)
from pipeline.order_index import NOT_SEEN, forget, recall, remember
from pipeline.tables import CANCELLING, DONE, ORDER_FREE, SUBMITTING, VENUE_CANCELLED, WORKING
from pipeline.topology import ENTRY_ROOM_PER_MILLE, EXECUTION_COUNTERS, FILLS_REPORTED, VENUE_NOW_NS
from shm.atomics import monotonic_ns
from shm.counters import stage_add
from shm.histogram import record
from shm.jit import njit, njit_inner
from shm.ring import claim, stage_advance, stage_publish, wake
from shm.rows import current, edit
from shm.transaction import commit, stage

ORDERS = EXECUTION_COUNTERS.index("orders")
ORDERS_ACCEPTED = EXECUTION_COUNTERS.index("accepted")
ORDERS_FILLED = EXECUTION_COUNTERS.index("filled")
ORDERS_REJECTED = EXECUTION_COUNTERS.index("rejected")
ORDERS_CANCELLED = EXECUTION_COUNTERS.index("cancelled")
CANCELS = EXECUTION_COUNTERS.index("cancels")
FILLS = EXECUTION_COUNTERS.index("fills")
DUPLICATES = EXECUTION_COUNTERS.index("duplicates")
RESENT = EXECUTION_COUNTERS.index("resent")
ADOPTED = EXECUTION_COUNTERS.index("adopted")

# Words of `local`, private: the row from which to look for a free one, and how many rows hold an order that has not ended.
NEXT_ROW, TAKEN_COUNT = 0, 1


@njit_inner
def take_order(state, seq):
    """Take one record out of the ring. An order: write the intent, then send it. A cancel: the same with what it takes back."""
    slots = state.orders.ring.slots
    order = slots[seq & (slots.shape[0] - 1)]
    transaction = state.transaction
    stage_advance(transaction, state.orders, seq + 1)
    if order["kind"] == CANCEL:
        take_cancel(state, order["order_id"])
        return
    if recall(state.by_id, order["order_id"]) != NOT_SEEN:
        stage_add(transaction, state.counters, DUPLICATES, 1)
        commit(transaction)
        return
    stage_add(transaction, state.counters, ORDERS, 1)
    if not has_row(state, order["flags"]):
        refuse(state, order)
        return
    row = free_row(state)
    intent = state.states.copies[edit(transaction, state.states, row)]
    intent["order_id"] = order["order_id"]
    intent["seq"] = seq
    intent["quantity_lots"] = order["quantity_lots"]
    intent["filled_lots"] = 0
    intent["price_ticks"] = order["price_ticks"]
    intent["event_ns"] = order["event_ns"]
    intent["sent_ns"] = order["sent_ns"]
    intent["stop_id"] = order["stop_id"]
    intent["request_id"] = order["request_id"]
    intent["generation"] = order["generation"]
    intent["instrument"] = order["instrument"]
    intent["strategy"] = order["strategy"]
    intent["order_type"] = order["order_type"]
    intent["side"] = order["side"]
    intent["flags"] = order["flags"]
    intent["state"] = SUBMITTING
    caused_ns = order["tick_recv_ns"]
    # Intent before action: from here on a restart asks the venue about this id, and the slot of the ring is risk's again.
    commit(transaction)
    state.local[TAKEN_COUNT] += 1
    remember(state.by_id, intent["order_id"], row)
    now_ns = monotonic_ns()
    record(state.risk_to_execution, now_ns - intent["sent_ns"])
    if intent["flags"] & EXIT:
        record(state.tick_to_order, now_ns - caused_ns)
    else:
        record(state.request_to_order, now_ns - caused_ns)
    send(state, row)


@njit_inner
def has_row(state, flags):
    """Tell whether there is a row for an order: resting entries must leave some for exits."""
    row_count = state.states.commits.shape[0]
    taken = state.local[TAKEN_COUNT]
    return taken < row_count and (flags & EXIT != 0 or taken < row_count * ENTRY_ROOM_PER_MILLE // 1000)


@njit_inner
def free_row(state):
    """Take the next row whose order has ended, and forget that order. There must be one."""
    mask = state.states.commits.shape[0] - 1
    row = state.local[NEXT_ROW] & mask
    while has_work(state, row):
        row = (row + 1) & mask
    state.local[NEXT_ROW] = row + 1
    ended = state.states.copies[current(state.states, row)]
    forget(state.by_id, ended["order_id"], row)
    return row


@njit_inner
def has_work(state, row):
    """Tell whether a row holds an order that has not ended."""
    found = np.int64(state.states.copies[current(state.states, row)]["state"])
    return found != ORDER_FREE and found != DONE


@njit_inner
def refuse(state, order):
    """Reject an order for which there is no row: the cursor that consumes it and the report in one transaction."""
    transaction = state.transaction
    state.reports.ring.slots[new_report(state, order, REJECTED)]["reason"] = REJECT_NO_ROOM
    stage_add(transaction, state.counters, ORDERS_REJECTED, 1)
    stage_add(transaction, state.rejected, REJECT_NO_ROOM, 1)
    commit(transaction)
    wake(state.reports)


@njit_inner
def send(state, row):
    """Send an order whose intent is written, and write down the venue's answer."""
    answer = submit(state.venue, state.states.copies[current(state.states, row)])
    if answer == TAKEN or answer == DUPLICATE:
        settle(state, row, WORKING, REASON_NONE)
    elif answer == NO_MARKET:
        settle(state, row, DONE, REJECT_NO_MARKET)
    else:
        settle(state, row, DONE, REJECT_ORDER_TYPE if answer == BAD_TYPE else REJECT_NO_ROOM)


@njit_inner
def settle(state, row, new_state, reason):
    """Write down what became of a submission, and report it, in one transaction."""
    transaction = state.transaction
    order = state.states.copies[edit(transaction, state.states, row)]
    order["state"] = new_state
    if new_state == WORKING:
        report_slot = new_report(state, order, ACCEPTED)
        stage_add(transaction, state.counters, ORDERS_ACCEPTED, 1)
    else:
        report_slot = new_report(state, order, REJECTED)
        stage_add(transaction, state.counters, ORDERS_REJECTED, 1)
        stage_add(transaction, state.rejected, reason, 1)
        state.local[TAKEN_COUNT] -= 1
    state.reports.ring.slots[report_slot]["reason"] = reason
    commit(transaction)
    wake(state.reports)


@njit_inner
def take_cancel(state, order_id):
    """Take a cancel whose cursor is staged: write the intent into the row of its order, then ask the venue.

    An order that has ended, or that nobody knows, is left as it is: the cancel was late, or came twice.
    """
    transaction = state.transaction
    stage_add(transaction, state.counters, CANCELS, 1)
    row = recall(state.by_id, order_id)
    if row == NOT_SEEN or state.states.copies[current(state.states, row)]["state"] != WORKING:
        commit(transaction)
        return
    state.states.copies[edit(transaction, state.states, row)]["state"] = CANCELLING
    # Intent before action: from here on a restart asks the venue what has become of this order.
    commit(transaction)
    ask_to_cancel(state, row)


@njit_inner
def ask_to_cancel(state, row):
    """Ask the venue to take an order back, and write down and report its answer, in one transaction."""
    answer = cancel_order(state.venue, state.states.copies[current(state.states, row)]["order_id"])
    transaction = state.transaction
    order = state.states.copies[edit(transaction, state.states, row)]
    if answer == VENUE_CANCELLED:
        order["state"] = DONE
        report = state.reports.ring.slots[new_report(state, order, CANCELLED)]
        report["event_ns"] = max(order["event_ns"], state.venue.words[VENUE_NOW_NS])
        report["quantity_lots"] = order["quantity_lots"] - order["filled_lots"]
        report["left_lots"] = order["quantity_lots"] - order["filled_lots"]
        stage_add(transaction, state.counters, ORDERS_CANCELLED, 1)
        state.local[TAKEN_COUNT] -= 1
    else:
        # It has filled, and the report of that ends it.
        order["state"] = WORKING
    commit(transaction)
    wake(state.reports)


@njit_inner
def new_report(state, order, kind):
    """Claim a report about an order and fill it in; it becomes readable when the transaction commits.

    Args:
        state: ExecutionState.
        order: ORDER_STATE row as it will be, or ORDER, read only.
        kind: ACCEPTED, ...
    Returns:
        Its slot. The stage has made sure that there is room.
    """
    reports = state.reports.ring
    slot = claim(state.reports, 1) & (reports.slots.shape[0] - 1)
    for w in range(reports.slot_words.shape[1]):
        reports.slot_words[slot, w] = 0
    report = reports.slots[slot]
    report["order_id"] = order["order_id"]
    report["event_ns"] = order["event_ns"]
    report["sent_ns"] = monotonic_ns()
    report["order_sent_ns"] = order["sent_ns"]
    report["quantity_lots"] = order["quantity_lots"]
    report["left_lots"] = order["quantity_lots"]
    report["stop_id"] = order["stop_id"]
    report["request_id"] = order["request_id"]
    report["instrument"] = order["instrument"]
    report["strategy"] = order["strategy"]
    report["kind"] = kind
    report["side"] = order["side"]
    report["flags"] = order["flags"]
    report["generation"] = order["generation"]
    stage_publish(state.transaction, state.reports)
    return slot


@njit_inner
def report_fill(state, number):
    """Report the venue's fill of this number, in one transaction with the count of fills reported."""
    transaction, venue = state.transaction, state.venue
    done = venue.fills[number & (venue.fills.shape[0] - 1)]
    stage(transaction, state.words_base + FILLS_REPORTED, number + 1)
    row = recall(state.by_id, done["order_id"])
    if row != NOT_SEEN:
        order = state.states.copies[edit(transaction, state.states, row)]
        order["filled_lots"] += done["quantity_lots"]
        # A cancel that was under way has lost.
        order["state"] = DONE
        report = state.reports.ring.slots[new_report(state, order, FILLED)]
        report["fill_id"] = done["fill_id"]
        report["event_ns"] = done["event_ns"]
        report["quantity_lots"] = done["quantity_lots"]
        report["left_lots"] = order["quantity_lots"] - order["filled_lots"]
        report["price_ticks"] = done["price_ticks"]
        report["fee_units"] = fee_of(state.fees, np.int64(done["instrument"]), done["quantity_lots"], done["price_ticks"])
        stage_add(transaction, state.counters, FILLS, 1)
        stage_add(transaction, state.counters, ORDERS_FILLED, 1)
        state.local[TAKEN_COUNT] -= 1
    commit(transaction)


@njit
def recover(state):
    """After a restart: know the ids again, and settle every order and cancel whose answer we did not live to see.

    Ambiguous is not failed: the venue is asked by id, and only an order that it does not know is sent again, under the same id.
    """
    last_seq = -1
    for row in range(state.states.commits.shape[0]):
        order = state.states.copies[current(state.states, row)]
        if order["state"] != ORDER_FREE:
            remember(state.by_id, order["order_id"], row)
            state.local[TAKEN_COUNT] += has_work(state, row)
            if order["seq"] > last_seq:
                last_seq = order["seq"]
                state.local[NEXT_ROW] = row + 1
    for row in range(state.states.commits.shape[0]):
        order = state.states.copies[current(state.states, row)]
        if order["state"] == SUBMITTING:
            if knows(state.venue, order["order_id"]):
                stage_add(state.transaction, state.counters, ADOPTED, 1)
                settle(state, row, WORKING, REASON_NONE)
            else:
                stage_add(state.transaction, state.counters, RESENT, 1)
                send(state, row)
        elif order["state"] == CANCELLING:
            ask_to_cancel(state, row)
