"""Requests of strategies: checked, then sent on as orders, or refused with a reason."""

import numpy as np

from pipeline.messages import (
    BUY,
    CANCEL_ALL,
    CANCEL_ORDER,
    CANCEL_STOP,
    FLATTEN,
    LIMIT,
    MOVE_STOP,
    NEW,
    REASON_NONE,
    REJECT_BAD_REQUEST,
    REJECT_ENTRIES_BLOCKED,
    REJECT_NO_ROOM,
    REJECT_UNKNOWN_INSTRUMENT,
    REQUEST_REFUSED,
    SET_STOP,
    SUBMIT,
)
from pipeline.order_ids import entry_order_id
from pipeline.risk.account import account_of, book_order, book_refused
from pipeline.risk.arming import has_spare_slots
from pipeline.risk.calendar import closed_reason
from pipeline.risk.cancels import cancel_order, count_flags, works_of
from pipeline.risk.checks import check_order
from pipeline.risk.commands import cancel_stop, move_stop, set_stop
from pipeline.risk.event_pen import new_event, pen_of
from pipeline.risk.fills import STOPS_PER_POSITION_MAX
from pipeline.risk.guard import FOUND_LIMIT, FOUND_LIMIT_ID, FOUND_SCOPE, FOUND_VALUE
from pipeline.risk.held import keep
from pipeline.risk.inbox import stage_taken
from pipeline.risk.positions import add_working
from pipeline.risk.review import review_of
from pipeline.risk.scope_requests import take_scope_request
from pipeline.risk.sent import has_sent_room, stage_sent
from pipeline.risk.state import guard_of
from pipeline.risk.stops import FREE_COUNT
from pipeline.risk.watching import catch_up
from pipeline.topology import ENTRIES_ALLOWED, ENTRY_ROOM_PER_MILLE, RISK_COUNTERS, RISK_NOW_NS
from shm.atomics import load_relaxed, monotonic_ns
from shm.counters import stage_add
from shm.jit import njit_inner
from shm.ring import claim, room, stage_publish, wake
from shm.rows import current, edit
from shm.transaction import commit

REQUESTS = RISK_COUNTERS.index("requests")
ENTRIES_SUBMITTED = RISK_COUNTERS.index("entries_submitted")
REFUSED = RISK_COUNTERS.index("refused")

#: Room that one input may need: an exit for each stop that a tick fires, an event for each stop that ends.
ORDERS_NEEDED, EVENTS_NEEDED = 8, 2 * STOPS_PER_POSITION_MAX


@njit_inner
def take_request(state, requester, seq):
    """Do or refuse one request, in one transaction with the cursor that consumes it.

    Args:
        state: RiskState.
        requester: Whose requests ring: a strategy's slot, or the last, that of the control socket.
        seq: Its sequence there.
    """
    inbox = state.inbox
    request = inbox.slots[requester, seq & (inbox.slots.shape[1] - 1)]
    transaction = state.transaction
    strategy_count = inbox.at.shape[0] - 1
    # A strategy speaks for itself, the control socket for whom it names.
    strategy = requester if requester < strategy_count else np.int64(request["strategy"])
    instrument = np.int64(request["instrument"])
    if instrument < state.marks.shape[0]:
        # A transaction of its own: what the request sets finds the ATR of this moment.
        catch_up(state, instrument)
    stage_taken(transaction, inbox, requester, seq)
    stage_add(transaction, state.counters, REQUESTS, 1)
    state.found[:] = 0
    reason = REJECT_UNKNOWN_INSTRUMENT
    if strategy >= strategy_count:
        reason = REJECT_BAD_REQUEST
    elif instrument < state.marks.shape[0]:
        reason = do_request(state, requester, strategy, seq, request)
    if reason != REASON_NONE:
        refuse(state, requester, seq, request, reason)
        if request["kind"] == SUBMIT and strategy < strategy_count:
            book_refused(account_of(state), strategy)
        commit(transaction)
    wake(state.orders)
    wake(state.events)


@njit_inner
def do_request(state, requester, strategy, seq, request):
    """Do one request for a strategy, and commit.

    Returns:
        REASON_NONE, or why it is refused, with nothing staged but what was.
    """
    instrument, kind = np.int64(request["instrument"]), np.int64(request["kind"])
    row = strategy * state.marks.shape[0] + instrument
    if kind == SET_STOP:
        return set_stop(state, row, request, requester)
    if kind == MOVE_STOP:
        return move_stop(state, row, request, requester)
    if kind == CANCEL_STOP:
        return cancel_stop(state, row, request, requester)
    if kind == CANCEL_ORDER:
        return cancel_order(works_of(state), strategy, request, requester)
    if CANCEL_ALL <= kind <= FLATTEN:
        is_person = requester == state.inbox.at.shape[0] - 1
        reason = take_scope_request(review_of(state), works_of(state), request, requester, is_person)
        count_flags(state.scopes, state.local)
        return reason
    if requester != strategy:
        return REJECT_BAD_REQUEST
    closed = closed_reason(state.calendar, instrument, state.words[RISK_NOW_NS])
    reason = check_order(guard_of(state), closed, strategy, instrument, request)
    if reason == REASON_NONE:
        reason = check_state(state, state.positions.copies[current(state.positions, row)], request)
    if reason == REASON_NONE:
        send_entry(state, strategy, seq, request)
        commit(state.transaction)
        keep(state.held, state.positions, row)
    return reason


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
    if room(state.orders) <= orders_kept or room(state.events) <= events_kept or not has_sent_room(state.sent, 0):
        return REJECT_NO_ROOM
    # A position that opens must find slots for its stops, those that are being opened now included.
    slots = state.book.terms.shape[0]
    if state.book.counts[FREE_COUNT] <= slots * for_exits_per_mille // 1000:
        return REJECT_NO_ROOM
    if not reduces and not has_spare_slots(state, 2 * state.limits.defaults.shape[0]):
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
    order["order_id"] = entry_order_id(strategy, seq)
    order["event_ns"] = state.words[RISK_NOW_NS]
    order["tick_recv_ns"] = request["sent_ns"]
    order["sent_ns"] = monotonic_ns()
    order["quantity_lots"] = lots
    order["price_ticks"] = request["price_ticks"] if request["order_type"] == LIMIT else 0
    order["reference_ticks"] = mark["ask_ticks"] if side == BUY else mark["bid_ticks"]
    order["request_id"] = request["request_id"]
    order["instrument"] = instrument
    order["strategy"] = strategy
    order["kind"] = NEW
    order["order_type"] = request["order_type"]
    order["side"] = np.int32(side)
    order["generation"] = position["generation"]
    order["tick_seq"] = -1
    position["last_order_ns"], position["last_order_lots"] = order["event_ns"], side * lots
    position["last_order_ticks"] = order["price_ticks"]
    stage_sent(state.transaction, state.sent, order, row)
    book_order(account_of(state), row)
    stage_publish(state.transaction, state.orders)
    stage_add(state.transaction, state.counters, ENTRIES_SUBMITTED, 1)


@njit_inner
def refuse(state, requester, seq, request, reason):
    """Stage a refusal: counted by reason, and told in an event that the strategy reads."""
    event = state.events.ring.slots[new_event(pen_of(state), REQUEST_REFUSED)]
    event["order_id"] = entry_order_id(requester, seq) if request["kind"] == SUBMIT else 0
    event["requester"] = requester
    event["stop_id"] = request["stop_id"]
    event["request_id"] = request["request_id"]
    event["instrument"] = request["instrument"]
    event["strategy"] = requester if requester < state.inbox.at.shape[0] - 1 else np.int64(request["strategy"])
    event["side"] = np.int32(min(max(request["side"], -1), 1))
    event["quantity_lots"] = request["quantity_lots"]
    event["reason"] = reason
    event["value"], event["limit"] = state.found[FOUND_VALUE], state.found[FOUND_LIMIT]
    event["scope"], event["limit_id"] = state.found[FOUND_SCOPE], state.found[FOUND_LIMIT_ID]
    stage_add(state.transaction, state.counters, REFUSED, 1)
    stage_add(state.transaction, state.refused, reason, 1)
