"""Orders on their way: the intent is written down before the venue hears of it, and the answer after.

ring --take_order--> SUBMITTING --submit--> WORKING --fill--> DONE
                         |  after a restart: does the venue know the id?
                         +--yes: WORKING        +--no: submit, the same id
"""

import numpy as np

from pipeline.execution.order_index import NOT_SEEN, recall, remember
from pipeline.execution.paper import DUPLICATE, NO_MARKET, TAKEN, knows, submit
from pipeline.messages import (
    ACCEPTED,
    EXIT,
    FILLED,
    REASON_NONE,
    REJECT_NO_MARKET,
    REJECT_NO_ROOM,
    REJECTED,
)
from pipeline.tables import DONE, ORDER_FREE, SUBMITTING, WORKING
from pipeline.topology import EXECUTION_COUNTERS, FILLS_REPORTED
from shm.atomics import monotonic_ns
from shm.counters import stage_add
from shm.histogram import record
from shm.jit import njit, njit_inner
from shm.ring import claim, stage_advance, stage_publish, wake
from shm.rows import current, edit, latest
from shm.transaction import commit, stage

ORDERS = EXECUTION_COUNTERS.index("orders")
ORDERS_ACCEPTED = EXECUTION_COUNTERS.index("accepted")
ORDERS_FILLED = EXECUTION_COUNTERS.index("filled")
ORDERS_REJECTED = EXECUTION_COUNTERS.index("rejected")
FILLS = EXECUTION_COUNTERS.index("fills")
DUPLICATES = EXECUTION_COUNTERS.index("duplicates")
RESENT = EXECUTION_COUNTERS.index("resent")
ADOPTED = EXECUTION_COUNTERS.index("adopted")


@njit_inner
def is_row_free(state, seq):
    """Tell whether the row of an orders ring sequence can be used: its last order has ended."""
    row = seq & (state.states.commits.shape[0] - 1)
    found = np.int64(state.states.copies[current(state.states, row)]["state"])
    return found == ORDER_FREE or found == DONE


@njit_inner
def take_order(state, seq):
    """Take one order out of the ring: write the intent, then send it."""
    slots = state.orders.ring.slots
    order = slots[seq & (slots.shape[0] - 1)]
    transaction = state.transaction
    stage_advance(transaction, state.orders, seq + 1)
    if recall(state.by_id, order["order_id"]) != NOT_SEEN:
        stage_add(transaction, state.counters, DUPLICATES, 1)
        commit(transaction)
        return
    row = seq & (state.states.commits.shape[0] - 1)
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
    stage_add(transaction, state.counters, ORDERS, 1)
    # Intent before action: from here on a restart asks the venue about this id.
    commit(transaction)
    remember(state.by_id, order["order_id"], row)
    now_ns = monotonic_ns()
    record(state.risk_to_execution, now_ns - order["sent_ns"])
    if order["flags"] & EXIT:
        record(state.tick_to_order, now_ns - order["tick_recv_ns"])
    else:
        record(state.request_to_order, now_ns - order["tick_recv_ns"])
    send(state, row)


@njit_inner
def send(state, row):
    """Send an order whose intent is written, and write down the venue's answer."""
    answer = submit(state.venue, state.states.copies[current(state.states, row)])
    if answer == TAKEN or answer == DUPLICATE:
        settle(state, row, WORKING, REASON_NONE)
    else:
        settle(state, row, DONE, REJECT_NO_MARKET if answer == NO_MARKET else REJECT_NO_ROOM)


@njit_inner
def settle(state, row, new_state, reason):
    """Write down what became of a submission, and report it, in one transaction."""
    transaction = state.transaction
    order = state.states.copies[edit(transaction, state.states, row)]
    order["state"] = new_state
    if new_state == WORKING:
        report_slot = new_report(state, row, ACCEPTED)
        stage_add(transaction, state.counters, ORDERS_ACCEPTED, 1)
    else:
        report_slot = new_report(state, row, REJECTED)
        stage_add(transaction, state.counters, ORDERS_REJECTED, 1)
        stage_add(transaction, state.rejected, reason, 1)
    state.reports.ring.slots[report_slot]["reason"] = reason
    commit(transaction)
    wake(state.reports)


@njit_inner
def new_report(state, row, kind):
    """Claim a report about an order and fill it from its row; it becomes readable when the transaction commits.

    Returns:
        Its slot. The stage has made sure that there is room.
    """
    reports = state.reports.ring
    slot = claim(state.reports, 1) & (reports.slots.shape[0] - 1)
    for w in range(reports.slot_words.shape[1]):
        reports.slot_words[slot, w] = 0
    report = reports.slots[slot]
    order = state.states.copies[latest(state.transaction, state.states, row)]
    report["order_id"] = order["order_id"]
    report["event_ns"] = order["event_ns"]
    report["sent_ns"] = monotonic_ns()
    report["order_sent_ns"] = order["sent_ns"]
    report["quantity_lots"] = order["quantity_lots"]
    report["left_lots"] = order["quantity_lots"] - order["filled_lots"]
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
        order["state"] = DONE
        report = state.reports.ring.slots[new_report(state, row, FILLED)]
        report["fill_id"] = done["fill_id"]
        report["event_ns"] = done["event_ns"]
        report["quantity_lots"] = done["quantity_lots"]
        report["price_ticks"] = done["price_ticks"]
        stage_add(transaction, state.counters, FILLS, 1)
        stage_add(transaction, state.counters, ORDERS_FILLED, 1)
    commit(transaction)


@njit
def recover(state):
    """After a restart: know the ids again, and settle every submission whose answer we did not live to see.

    Ambiguous is not failed: the venue is asked by id, and only an order that it does not know is sent again, under the same id.
    """
    for row in range(state.states.commits.shape[0]):
        order = state.states.copies[current(state.states, row)]
        if order["state"] != ORDER_FREE:
            remember(state.by_id, order["order_id"], row)
    for row in range(state.states.commits.shape[0]):
        order = state.states.copies[current(state.states, row)]
        if order["state"] == SUBMITTING:
            if knows(state.venue, order["order_id"]):
                stage_add(state.transaction, state.counters, ADOPTED, 1)
                settle(state, row, WORKING, REASON_NONE)
            else:
                stage_add(state.transaction, state.counters, RESENT, 1)
                send(state, row)
