"""Requests of strategies: checked, then sent on as orders, or refused with a reason."""

import numpy as np

from pipeline.messages import (
    BUY,
    NEW,
    REASON_NONE,
    REJECT_ENTRIES_BLOCKED,
    REJECT_NO_ROOM,
    REJECT_UNKNOWN_INSTRUMENT,
    REQUEST_REFUSED,
)
from pipeline.risk.checks import check_request
from pipeline.risk.events import new_event
from pipeline.risk.fills import STOPS_PER_POSITION_MAX
from pipeline.risk.positions import add_working
from pipeline.risk.stops import FREE_COUNT
from pipeline.topology import ENTRIES_ALLOWED, ENTRY_ROOM_PER_MILLE, RISK_COUNTERS, RISK_NOW_NS
from shm.atomics import load_relaxed, monotonic_ns
from shm.counters import stage_add
from shm.jit import njit_inner
from shm.ring import claim, room, stage_advance, stage_publish, wake
from shm.rows import current, edit
from shm.transaction import commit

REQUESTS = RISK_COUNTERS.index("requests")
ENTRIES_SUBMITTED = RISK_COUNTERS.index("entries_submitted")
REFUSED = RISK_COUNTERS.index("refused")

#: Room that one input may need: an exit for each stop that a tick fires, an event for each stop that ends.
ORDERS_NEEDED, EVENTS_NEEDED = 8, 2 * STOPS_PER_POSITION_MAX
#: An entry's order id: the strategy's slot + 1, then the sequence of its request.
REQUEST_SEQ_BITS = 48


@njit_inner
def take_request(state, strategy, seq):
    """Check one request and send or refuse it, in one transaction with the cursor that consumes it."""
    reader = state.requests[strategy]
    slots = reader.ring.slots
    request = slots[seq & (slots.shape[0] - 1)]
    transaction = state.transaction
    stage_advance(transaction, reader, seq + 1)
    stage_add(transaction, state.counters, REQUESTS, 1)
    instrument = np.int64(request["instrument"])
    reason = REJECT_UNKNOWN_INSTRUMENT
    if instrument < state.marks.shape[0]:
        row = strategy * state.marks.shape[0] + instrument
        position = state.positions.copies[current(state.positions, row)]
        reason = check_request(state.limits, position, state.marks[instrument], request)
        if reason == REASON_NONE:
            reason = check_state(state, position, request)
    if reason == REASON_NONE:
        send_entry(state, strategy, seq, request)
    else:
        refuse(state, strategy, seq, request, reason)
    commit(transaction)
    wake(state.orders)


@njit_inner
def check_state(state, position, request):
    """Decide whether entries are allowed now, and whether the rings keep room for exits."""
    change, open_lots = request["side"] * request["quantity_lots"], position["quantity_lots"]
    reduces = open_lots != 0 and (change > 0) != (open_lots > 0) and abs(change) <= abs(open_lots)
    if load_relaxed(state.supervisor, ENTRIES_ALLOWED) != 1 and not reduces:
        return REJECT_ENTRIES_BLOCKED
    for_exits_per_mille = 1000 - ENTRY_ROOM_PER_MILLE
    # At least what one input may need: entries must not bring the stage to wait for room, since exits would wait with it.
    orders_kept = max(state.orders.ring.slots.shape[0] * for_exits_per_mille // 1000, ORDERS_NEEDED)
    events_kept = max(state.events.ring.slots.shape[0] * for_exits_per_mille // 1000, EVENTS_NEEDED)
    if room(state.orders) <= orders_kept or room(state.events) <= events_kept:
        return REJECT_NO_ROOM
    # A position that opens must find slots for its stops, those that are being opened now included.
    slots = state.book.extremes.shape[0]
    if state.book.counts[FREE_COUNT] <= slots * for_exits_per_mille // 1000:
        return REJECT_NO_ROOM
    return REASON_NONE


@njit_inner
def send_entry(state, strategy, seq, request):
    """Stage the order of an accepted request."""
    instrument, side, lots = np.int64(request["instrument"]), request["side"], request["quantity_lots"]
    row = strategy * state.marks.shape[0] + instrument
    position = state.positions.copies[edit(state.transaction, state.positions, row)]
    position["strategy"], position["instrument"] = strategy, instrument
    add_working(position, side, lots, 0)
    mark = state.marks[instrument]
    orders = state.orders.ring
    slot = claim(state.orders, 1) & (orders.slots.shape[0] - 1)
    for w in range(orders.slot_words.shape[1]):
        orders.slot_words[slot, w] = 0
    order = orders.slots[slot]
    order["order_id"] = ((strategy + 1) << REQUEST_SEQ_BITS) | seq
    order["event_ns"] = state.words[RISK_NOW_NS]
    order["tick_recv_ns"] = request["sent_ns"]
    order["sent_ns"] = monotonic_ns()
    order["quantity_lots"] = lots
    order["reference_ticks"] = mark["ask_ticks"] if side == BUY else mark["bid_ticks"]
    order["request_id"] = request["request_id"]
    order["instrument"] = instrument
    order["strategy"] = strategy
    order["kind"] = NEW
    order["order_type"] = request["order_type"]
    order["side"] = np.int32(side)
    order["generation"] = position["generation"]
    order["tick_seq"] = -1
    stage_publish(state.transaction, state.orders)
    stage_add(state.transaction, state.counters, ENTRIES_SUBMITTED, 1)


@njit_inner
def refuse(state, strategy, seq, request, reason):
    """Stage a refusal: counted by reason, and told in an event that the strategy reads."""
    event = state.events.ring.slots[new_event(state, REQUEST_REFUSED)]
    event["order_id"] = ((strategy + 1) << REQUEST_SEQ_BITS) | seq
    event["request_id"] = request["request_id"]
    event["instrument"] = request["instrument"]
    event["strategy"] = strategy
    event["side"] = np.int32(min(max(request["side"], -1), 1))
    event["quantity_lots"] = request["quantity_lots"]
    event["reason"] = reason
    stage_add(state.transaction, state.counters, REFUSED, 1)
    stage_add(state.transaction, state.refused, reason, 1)
