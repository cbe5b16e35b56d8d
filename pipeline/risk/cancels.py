"""Taking orders back: one by its id, or all that work in a scope.

A cancel is an order of kind CANCEL in the ring. Its intent is the state of the order's row, TAKEN_BACK, which changes in the
same transaction, so that no cancel is sent twice and none is lost; what became of it comes as a report. All of a scope is a
flag in shared memory, and the orders go one after the other as the ring finds room: a death in between leaves the flag, and the
rest.
"""

import numpy as np

from pipeline.messages import BUY, CANCEL, EXIT, REASON_NONE, REJECT_UNKNOWN_ORDER, REQUEST_DONE, SELL
from pipeline.risk.events import new_event
from pipeline.risk.scopes import forbids_exits, has_row, is_flagged
from pipeline.risk.sent import NOT_SEEN, ORDER_OF, find_sent
from pipeline.tables import SCOPE_CANCELS, SENT, TAKEN_BACK
from pipeline.topology import RISK_COUNTERS, RISK_NOW_NS
from shm.atomics import monotonic_ns
from shm.counters import stage_add
from shm.jit import njit_inner
from shm.ring import claim, room, stage_publish, wake
from shm.rows import current, edit
from shm.transaction import commit

CANCELS = RISK_COUNTERS.index("cancels")
#: Orders taken back in one step: the rest waits for the next, so that ticks are never late by more.
CANCEL_BATCH = 16


@njit_inner
def send_cancel(state, row):
    """Stage the cancel of an order that works."""
    noted = state.sent.table.copies[edit(state.transaction, state.sent.table, row)]
    noted["state"] = TAKEN_BACK
    position = np.int64(noted["position"])
    instrument_count = state.marks.shape[0]
    orders = state.orders.ring
    slot = claim(state.orders, 1) & (orders.slots.shape[0] - 1)
    for w in range(orders.slot_words.shape[1]):
        orders.slot_words[slot, w] = 0
    order = orders.slots[slot]
    order["order_id"] = noted["order_id"]
    order["event_ns"] = state.words[RISK_NOW_NS]
    order["tick_recv_ns"] = order["sent_ns"] = monotonic_ns()
    order["quantity_lots"] = noted["left_lots"]
    order["price_ticks"] = noted["price_ticks"]
    order["stop_id"] = noted["stop_id"]
    order["request_id"] = noted["request_id"]
    order["instrument"] = position % instrument_count
    order["strategy"] = position // instrument_count
    order["kind"] = CANCEL
    order["order_type"] = noted["order_type"]
    order["side"] = np.int32(BUY if noted["side"] == BUY else SELL)
    order["flags"] = np.uint32(noted["flags"])
    order["tick_seq"] = -1
    stage_publish(state.transaction, state.orders)
    stage_add(state.transaction, state.counters, CANCELS, 1)


@njit_inner
def cancel_order(state, strategy, request, requester):
    """Take back one order of a strategy, and tell that it was asked for; commits.

    Returns:
        REASON_NONE, or REJECT_UNKNOWN_ORDER: it has ended, is another's, or is the exit of a stop.
    """
    row = find_sent(state.sent, request["value"])
    if row == NOT_SEEN:
        return REJECT_UNKNOWN_ORDER
    noted = state.sent.table.copies[current(state.sent.table, row)]
    instrument_count = state.marks.shape[0]
    if np.int64(noted["position"]) // instrument_count != strategy or np.int64(noted["flags"]) & EXIT:
        return REJECT_UNKNOWN_ORDER
    event = state.events.ring.slots[new_event(state, REQUEST_DONE)]
    event["request_id"], event["requester"] = request["request_id"], requester
    event["order_id"], event["strategy"] = request["value"], strategy
    event["instrument"] = np.int64(noted["position"]) % instrument_count
    event["value"] = 1
    # Asked twice is as asked once.
    if noted["state"] == SENT:
        send_cancel(state, row)
    commit(state.transaction)
    return REASON_NONE


@njit_inner
def count_working(state, scope):
    """Return how many orders of strategies work in a scope."""
    count = 0
    for k in range(state.sent.counts[0]):
        noted = state.sent.table.copies[current(state.sent.table, state.sent.lists[ORDER_OF, k])]
        if not np.int64(noted["flags"]) & EXIT:
            count += has_row(state.scopes, scope, np.int64(noted["position"]))
    return count


@njit_inner
def may_be_taken_back(scopes, noted):
    """Tell whether an order goes with the others of its scope: not one whose cancel is on its way, nor an exit that may leave.

    Args:
        scopes: Scopes.
        noted: SENT_ORDER, read only.
    """
    if noted["state"] != SENT:
        return False
    return np.int64(noted["flags"]) & EXIT == 0 or forbids_exits(scopes, np.int64(noted["position"]))


@njit_inner
def take_back_flagged(state):
    """Send the cancels of orders in scopes that are being emptied, as far as one step may and there is room.

    Exits of stops go on, but for those of a position that is killed and not being left: these stay owed.

    Returns:
        How many were sent.
    """
    sent_count = 0
    k = 0
    while k < state.sent.counts[0] and sent_count < CANCEL_BATCH and room(state.orders) > 1:
        row = state.sent.lists[ORDER_OF, k]
        noted = state.sent.table.copies[current(state.sent.table, row)]
        if may_be_taken_back(state.scopes, noted) and is_flagged(state.scopes, np.int64(noted["position"]), SCOPE_CANCELS):
            send_cancel(state, row)
            commit(state.transaction)
            sent_count += 1
        k += 1
    if sent_count > 0:
        wake(state.orders)
    return sent_count
