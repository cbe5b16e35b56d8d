"""Taking orders back: one by its id, or all that work in a scope.

A cancel is an order of kind CANCEL in the ring. Its intent is the state of the order's row, TAKEN_BACK, which changes in the
same transaction, so that no cancel is sent twice and none is lost; what became of it comes as a report. All of a scope is a
flag in shared memory, and the orders go one after the other as the ring finds room: a death in between leaves the flag, and the
rest.
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import BUY, CANCEL, EXIT, REASON_NONE, REJECT_UNKNOWN_ORDER, REQUEST_DONE, SELL
from pipeline.risk.event_pen import new_event, pen_of
from pipeline.risk.scopes import Scopes, forbids_exits, has_row, is_flagged
from pipeline.risk.sent import NOT_SEEN, ORDER_OF, SentOrders, find_sent
from pipeline.tables import SCOPE_CANCELS, SCOPE_FLATTENS, SCOPE_WORDS, SENT, TAKEN_BACK
from pipeline.topology import RISK_COUNTERS, RISK_NOW_NS
from shm.atomics import monotonic_ns
from shm.counters import Counters, stage_add
from shm.jit import njit, njit_inner, njit_merged
from shm.ring import Producer, claim, room, stage_publish, wake
from shm.rows import current, edit
from shm.transaction import Transaction, commit, stage

CANCELS = RISK_COUNTERS.index("cancels")
#: Orders taken back in one step: the rest waits for the next, so that ticks are never late by more.
CANCEL_BATCH = 16
# Words of RiskState.local: how many scopes have a flag up, and of how many of these only orders are taken back.
FLAGGED_COUNT, CANCELLED_COUNT = 2, 3


class Works(NamedTuple):
    """What taking orders back touches. The fields have the names of RiskState's."""

    transaction: Transaction
    sent: SentOrders
    scopes: Scopes
    orders: Producer
    events: Producer
    words: np.ndarray  #: topology.RISK_* words
    counters: Counters


@njit_merged
def works_of(state):
    """Return the part of RiskState that taking orders back touches: the kernels here then compile for few arrays."""
    return Works(state.transaction, state.sent, state.scopes, state.orders, state.events, state.words, state.counters)


@njit_inner
def send_cancel(works, row):
    """Stage the cancel of an order that works."""
    noted = works.sent.table.copies[edit(works.transaction, works.sent.table, row)]
    noted["state"] = TAKEN_BACK
    position, instrument_count = np.int64(noted["position"]), works.scopes.instruments
    orders = works.orders.ring
    slot = claim(works.orders, 1) & (orders.slots.shape[0] - 1)
    for w in range(orders.slot_words.shape[1]):
        orders.slot_words[slot, w] = 0
    order = orders.slots[slot]
    order["order_id"] = noted["order_id"]
    order["event_ns"] = works.words[RISK_NOW_NS]
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
    stage_publish(works.transaction, works.orders)
    stage_add(works.transaction, works.counters, CANCELS, 1)


@njit_inner
def cancel_order(works, strategy, request, requester):
    """Take back one order of a strategy, and tell that it was asked for; commits.

    Returns:
        REASON_NONE, or REJECT_UNKNOWN_ORDER: it has ended, is another's, or is the exit of a stop.
    """
    row = find_sent(works.sent, request["value"])
    if row == NOT_SEEN:
        return REJECT_UNKNOWN_ORDER
    noted = works.sent.table.copies[current(works.sent.table, row)]
    position, instrument_count = np.int64(noted["position"]), works.scopes.instruments
    if position // instrument_count != strategy or np.int64(noted["flags"]) & EXIT:
        return REJECT_UNKNOWN_ORDER
    event = works.events.ring.slots[new_event(pen_of(works), REQUEST_DONE)]
    event["request_id"], event["requester"] = request["request_id"], requester
    event["order_id"], event["strategy"] = request["value"], strategy
    event["instrument"] = position % instrument_count
    event["value"] = 1
    # Asked twice is as asked once.
    if noted["state"] == SENT:
        send_cancel(works, row)
    commit(works.transaction)
    return REASON_NONE


@njit_inner
def count_working(works, scope):
    """Return how many orders of strategies work in a scope."""
    count = 0
    for k in range(works.sent.counts[0]):
        noted = works.sent.table.copies[current(works.sent.table, works.sent.lists[ORDER_OF, k])]
        if not np.int64(noted["flags"]) & EXIT:
            count += has_row(works.scopes, scope, np.int64(noted["position"]))
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
def take_back_flagged(works):
    """Send the cancels of orders in scopes that are being emptied, as far as one step may and there is room.

    Exits of stops go on, but for those of a position that is killed and not being left: these stay owed.

    Returns:
        How many were sent.
    """
    sent_count = 0
    k = 0
    while k < works.sent.counts[0] and sent_count < CANCEL_BATCH and room(works.orders) > 1:
        row = works.sent.lists[ORDER_OF, k]
        noted = works.sent.table.copies[current(works.sent.table, row)]
        if may_be_taken_back(works.scopes, noted) and is_flagged(works.scopes, np.int64(noted["position"]), SCOPE_CANCELS):
            send_cancel(works, row)
            commit(works.transaction)
            sent_count += 1
        k += 1
    if sent_count > 0:
        wake(works.orders)
    return sent_count


@njit_inner
def has_to_take_back(works, scope):
    """Tell whether an order of a scope still has to be taken back."""
    for k in range(works.sent.counts[0]):
        noted = works.sent.table.copies[current(works.sent.table, works.sent.lists[ORDER_OF, k])]
        if may_be_taken_back(works.scopes, noted) and has_row(works.scopes, scope, np.int64(noted["position"])):
            return True
    return False


@njit_inner
def lower_flags(works, held):
    """Lower the flags of scopes in which nothing is left to do: no order to take back, no position to leave; then commit."""
    for scope in range(works.scopes.words.shape[0] // SCOPE_WORDS):
        at = scope * SCOPE_WORDS
        flattens = works.scopes.words[at + SCOPE_FLATTENS] != 0
        if works.scopes.words[at + SCOPE_CANCELS] == 0 and not flattens:
            continue
        if (flattens and has_held(works.scopes, held, scope)) or has_to_take_back(works, scope):
            continue
        stage(works.transaction, works.scopes.base + at + SCOPE_CANCELS, 0)
        stage(works.transaction, works.scopes.base + at + SCOPE_FLATTENS, 0)
    commit(works.transaction)


@njit
def has_held(scopes, held, scope):
    """Tell whether a position of a scope is open or has orders at work."""
    for k in range(held.count[0]):
        if has_row(scopes, scope, np.int64(held.rows[k])):
            return True
    return False


@njit
def count_flags(scopes, local):
    """Count the scopes that have something to take back or to leave, so that a step without any asks one word.

    Args:
        scopes: Scopes.
        local: RiskState.local, of which FLAGGED_COUNT and CANCELLED_COUNT are set.
    """
    flagged, cancelled = 0, 0
    for scope in range(scopes.words.shape[0] // SCOPE_WORDS):
        at = scope * SCOPE_WORDS
        cancels, flattens = scopes.words[at + SCOPE_CANCELS], scopes.words[at + SCOPE_FLATTENS]
        flagged += (cancels | flattens) != 0
        cancelled += cancels > flattens
    local[FLAGGED_COUNT], local[CANCELLED_COUNT] = flagged, cancelled
