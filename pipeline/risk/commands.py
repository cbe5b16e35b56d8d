"""Stops by hand: set, moved and cancelled by a strategy, or by a person for it. What cannot be is refused with a reason."""

import numpy as np

from pipeline.messages import (
    ARMED,
    ATR,
    CHANDELIER,
    END_CANCELLED,
    ENDED,
    FIRE_NOW,
    MID,
    PRICE_TICKS_LIMIT,
    REASON_NONE,
    REJECT_EXIT_WORKING,
    REJECT_LAST_STOP,
    REJECT_NO_POSITION,
    REJECT_NO_STOP,
    REJECT_STOP_CROSSED,
    REJECT_STOP_PERCENT,
    REJECT_STOP_TABLE_FULL,
    REJECT_STOP_TERMS,
    STATIC,
    STOP_MOVED,
    TAKE_PROFIT,
    TIME,
    TRAILING,
    TRIGGER_NOW,
)
from pipeline.risk.arming import arm, copy_terms, count_stops, end_stop, enter_book, guard, has_spare_slots, leave_book
from pipeline.risk.atr import NO_SERIES, link, pick_series, stage_series
from pipeline.risk.events import level_now, stop_event
from pipeline.risk.exits import fire, watched_price
from pipeline.risk.levels import PPM, is_awake, target_of
from pipeline.risk.positions import left_to_exit
from pipeline.risk.stops import NO_SLOT, WAITING, find_stop, group_of, link_stop, release_slot, take_slot
from pipeline.risk.watching import best_of, sweep
from pipeline.topology import RISK_COUNTERS, RISK_NOW_NS
from shm.counters import stage_add
from shm.jit import njit, njit_inner
from shm.ring import AT
from shm.rows import current, edit
from shm.transaction import commit

STOPS_MOVED = RISK_COUNTERS.index("stops_moved")
#: Stops of one position by hand: its end must fit one transaction with those that its next one gets.
STOPS_BY_HAND_MAX = 96
NS_PER_SECOND = 1_000_000_000
#: Times of entry are below 2**62, so that a deadline stays below 2**63.
HOLDING_NS_LIMIT = 1 << 62


@njit
def check_terms(limits, request):
    """Decide whether what a request says of a stop makes sense by itself.

    Returns:
        REASON_NONE, REJECT_STOP_TERMS or REJECT_STOP_PERCENT.
    """
    kind, percent = np.int64(request["stop_kind"]), np.int64(request["percent_ppm"])
    has_price, has_offset = request["price_ticks"] > 0, request["offset_ticks"] > 0
    ways = np.int64(has_price) + np.int64(has_offset) + np.int64(percent > 0)
    if (
        kind < STATIC
        or kind > TAKE_PROFIT
        or request["watch"] > MID
        or not is_in_bounds(request, np.int64(request["watch"]))
        or request["holding_ns"] >= HOLDING_NS_LIMIT
    ):
        return REJECT_STOP_TERMS
    if (kind == STATIC or kind == TAKE_PROFIT) and (ways != 1 or has_offset):
        return REJECT_STOP_TERMS
    if kind == TRAILING and ways - np.int64(has_price) != 1:
        return REJECT_STOP_TERMS
    if (kind == ATR or kind == CHANDELIER) and (has_price or has_offset):
        return REJECT_STOP_TERMS
    if kind == TIME and (ways > 0 or request["holding_ns"] <= 0):
        return REJECT_STOP_TERMS
    if kind == TAKE_PROFIT and request["breakeven_ppm"] > 0:
        return REJECT_STOP_TERMS
    if max(np.int64(request["activation_ppm"]), np.int64(request["breakeven_ppm"])) >= PPM or request["fraction_ppm"] > PPM:
        return REJECT_STOP_TERMS
    if percent > 0 and not limits.min_stop_ppm <= percent <= limits.max_stop_ppm:
        return REJECT_STOP_PERCENT
    return REASON_NONE


@njit
def is_in_bounds(request, watch):
    """Tell whether price and offset of a request are such that levels cannot wrap around; 0 = not given."""
    limit = PRICE_TICKS_LIMIT * (2 if watch == MID else 1)
    return 0 <= request["price_ticks"] < limit and 0 <= request["offset_ticks"] < limit


@njit_inner
def fill_terms(state, slot, request):
    """Fill a free slot's terms from a request; `guard` adds what comes from the position. Stages nothing.

    Returns:
        REASON_NONE, or REJECT_STOP_TABLE_FULL where there is no room for its ATR series.
    """
    limits = state.limits
    terms = state.book.terms[slot]
    kind = np.int64(request["stop_kind"])
    terms["price_ticks"] = request["price_ticks"]
    terms["offset_ticks"] = request["offset_ticks"]
    terms["deadline_ns"] = request["holding_ns"]
    terms["percent_ppm"] = request["percent_ppm"]
    terms["activation_ppm"] = request["activation_ppm"]
    terms["breakeven_ppm"] = request["breakeven_ppm"]
    terms["atr_ppm"] = request["atr_ppm"]
    terms["series"] = 0
    terms["fraction_ppm"] = request["fraction_ppm"] if request["fraction_ppm"] < PPM else 0
    terms["limit_ticks"] = request["limit_ticks"]
    terms["escalate_ms"] = request["escalate_ms"] if request["escalate_ms"] > 0 else limits.escalate_ms
    terms["kind"] = kind
    terms["watch"] = request["watch"]
    if kind != ATR and kind != CHANDELIER:
        return REASON_NONE
    if terms["percent_ppm"] == 0:
        terms["percent_ppm"] = limits.fallback_ppm
    if terms["atr_ppm"] == 0:
        terms["atr_ppm"] = limits.atr_ppm
    series = pick_series(state, np.int64(request["instrument"]), shape_of(limits, request))
    if series == NO_SERIES:
        return REJECT_STOP_TABLE_FULL
    terms["series"] = series
    return REASON_NONE


@njit
def shape_of(limits, request):
    """Return the (period, bar_ns) of the ATR series that a request asks for, or the configured ones."""
    period = np.int64(request["atr_period"]) if request["atr_period"] > 0 else limits.atr_period
    bar_ns = np.int64(request["bar_seconds"]) * NS_PER_SECOND if request["bar_seconds"] > 0 else limits.bar_ns
    return period, bar_ns


@njit_inner
def is_crossed(state, slot):
    """Tell whether the present price would fire the stop whose terms a slot holds."""
    book = state.book
    terms = book.terms[slot]
    side = np.int64(terms["side"])
    if terms["kind"] == TIME:
        return state.words[RISK_NOW_NS] >= terms["deadline_ns"]
    price = side * watched_price(state.marks[np.int64(terms["instrument"])], np.int64(terms["watch"]), side)
    if price == 0 or not is_awake(terms, max(best_of(book, slot), price)):
        return False
    if terms["kind"] == TAKE_PROFIT:
        return price >= target_of(terms)
    return price <= level_now(book, slot)


@njit_inner
def set_stop(state, row, request, requester):
    """Set a stop on an open position, in one transaction with the cursor that the caller has staged.

    Args:
        state: RiskState.
        row: The position's row.
        request: REQUEST of kind SET_STOP.
        requester: Whose request it is, for the event.
    Returns:
        REASON_NONE after the commit; or why it is refused, with nothing staged but what was.
    """
    book = state.book
    position = state.positions.copies[current(state.positions, row)]
    reason = check_terms(state.limits, request)
    if reason == REASON_NONE and position["quantity_lots"] == 0:
        reason = REJECT_NO_POSITION
    if reason == REASON_NONE and position["exit_lots"] > 0 and left_to_exit(position) == 0:
        reason = REJECT_EXIT_WORKING
    if reason == REASON_NONE and count_stops(state, row, np.int64(request["instrument"]))[0] >= STOPS_BY_HAND_MAX:
        reason = REJECT_STOP_TABLE_FULL
    if reason == REASON_NONE and not has_spare_slots(state, 1):
        reason = REJECT_STOP_TABLE_FULL
    if reason != REASON_NONE:
        return reason
    slot = take_slot(book)
    if slot == NO_SLOT:
        return REJECT_STOP_TABLE_FULL
    reason = fill_terms(state, slot, request)
    if reason == REASON_NONE:
        # Not before the position is held: the fill can come from ticks that are still ahead of this stage.
        guard(state, row, slot, max(state.words[RISK_NOW_NS], position["entry_ns"]))
        at_once = is_crossed(state, slot)
        if not at_once or request["flags"] & FIRE_NOW:
            arm_in_slot(state, slot, request, requester, at_once)
            return REASON_NONE
        reason = REJECT_STOP_CROSSED
    release_slot(book, slot)
    return reason


@njit_inner
def arm_in_slot(state, slot, request, requester, at_once):
    """Arm the stop whose terms a slot holds, and have the book watch it; or fire it at once."""
    terms = state.book.terms[slot]
    kind, instrument, is_new = np.int64(terms["kind"]), np.int64(terms["instrument"]), False
    if kind == ATR or kind == CHANDELIER:
        is_new = stage_series(state, np.int64(terms["series"]), instrument, shape_of(state.limits, request))
    event = state.events.ring.slots[arm(state, slot)]
    event["request_id"], event["requester"] = request["request_id"], requester
    fires = at_once and fire_at_once(state, slot) == 1
    if not fires:
        commit(state.transaction)
    if is_new:
        link(state.book.atr, np.int64(terms["series"]), instrument)
    if fires:
        link_stop(state.book, slot)
    else:
        enter_book(state, slot)


@njit_inner
def fire_at_once(state, slot):
    """Fire a stop that was set beyond the price on purpose, in the transaction that sets it: no kill may come in between.

    Returns:
        What `fire` returns; after 0 there is still to commit.
    """
    terms = state.book.terms[slot]
    price = watched_price(state.marks[np.int64(terms["instrument"])], np.int64(terms["watch"]), np.int64(terms["side"]))
    return fire(state, slot, price, TRIGGER_NOW, -1)


@njit_inner
def armed_slot(state, row, request):
    """Return the slot of the armed stop that a request names, or the negated reason why there is none."""
    book = state.book
    slot = find_stop(book, np.int64(request["instrument"]), request["stop_id"])
    if slot == NO_SLOT or book.terms[slot]["position"] != row:
        return -REJECT_NO_STOP
    return slot if book.table.copies[current(book.table, slot)]["state"] == ARMED else -REJECT_EXIT_WORKING


@njit_inner
def cancel_stop(state, row, request, requester):
    """Cancel an armed stop; see `set_stop`. The last one that protects a position stays where stops are enforced."""
    book = state.book
    slot = armed_slot(state, row, request)
    if slot < 0:
        return -slot
    terms = book.terms[slot]
    is_last = terms["kind"] != TAKE_PROFIT and count_stops(state, row, np.int64(request["instrument"]))[1] <= 1
    if is_last and state.limits.enforces:
        return REJECT_LAST_STOP
    event = state.events.ring.slots[end_stop(state, slot, END_CANCELLED)]
    event["request_id"], event["requester"] = request["request_id"], requester
    commit(state.transaction)
    instrument, group = np.int64(terms["instrument"]), group_of(terms)
    leave_book(state, slot)
    sweep(book, instrument, group, 0)
    return REASON_NONE


@njit_inner
def move_stop(state, row, request, requester):
    """Give an armed stop another price, percent or offset; see `set_stop`.

    The stop keeps its id and moves to another slot, so that its new terms can be written before they count.
    """
    book = state.book
    slot = armed_slot(state, row, request)
    if slot < 0:
        return -slot
    target = take_slot(book)
    if target == NO_SLOT:
        return REJECT_STOP_TABLE_FULL
    copy_terms(book.terms, target, book.terms, slot)
    reason = change_terms(state.limits, book.terms[target], request)
    waits = book.extremes[slot] == WAITING
    book.extremes[target] = WAITING if waits else best_of(book, slot)
    # A ratchet of the terms before would hold a level that was moved away from the price.
    book.floors[target] = book.floors[slot]
    if reason == REASON_NONE and is_crossed(state, target) and not request["flags"] & FIRE_NOW:
        reason = REJECT_STOP_CROSSED
    if reason != REASON_NONE:
        release_slot(book, target)
        return reason
    at_once = is_crossed(state, target)
    book.levels[target] = level_now(book, target)
    moved = book.table.copies[edit(state.transaction, book.table, target)]
    for w in range(book.table.words.shape[1]):
        book.table.words[edit(state.transaction, book.table, target), w] = 0
    moved["state"] = ARMED
    left = book.table.copies[edit(state.transaction, book.table, slot)]
    left["state"] = ENDED
    event = state.events.ring.slots[stop_event(state, STOP_MOVED, target)]
    event["request_id"], event["requester"] = request["request_id"], requester
    event["tick_seq"] = state.ticks.local[AT]
    stage_add(state.transaction, state.counters, STOPS_MOVED, 1)
    fires = at_once and fire_at_once(state, target) == 1
    if not fires:
        commit(state.transaction)
    leave_book(state, slot)
    if fires:
        link_stop(book, target)
        sweep(book, np.int64(request["instrument"]), group_of(book.terms[target]), 0)
    else:
        enter_book(state, target)
    return REASON_NONE


@njit
def change_terms(limits, terms, request):
    """Change the one of price, percent and offset that a request gives; the new way replaces the old one.

    Returns:
        REASON_NONE, or REJECT_STOP_TERMS, REJECT_STOP_PERCENT.
    """
    kind, percent = np.int64(terms["kind"]), np.int64(request["percent_ppm"])
    has_price, has_offset = request["price_ticks"] > 0, request["offset_ticks"] > 0
    if np.int64(has_price) + np.int64(has_offset) + np.int64(percent > 0) != 1 or kind == TIME:
        return REJECT_STOP_TERMS
    if not is_in_bounds(request, np.int64(terms["watch"])):
        return REJECT_STOP_TERMS
    if (has_offset and kind != TRAILING) or (has_price and (kind == ATR or kind == CHANDELIER)):
        return REJECT_STOP_TERMS
    if percent > 0 and not limits.min_stop_ppm <= percent <= limits.max_stop_ppm:
        return REJECT_STOP_PERCENT
    if has_price:
        terms["price_ticks"] = request["price_ticks"]
        if kind != TRAILING:
            terms["percent_ppm"] = 0
    elif has_offset:
        terms["offset_ticks"], terms["percent_ppm"], terms["price_ticks"] = request["offset_ticks"], 0, 0
    else:
        terms["percent_ppm"], terms["offset_ticks"] = percent, 0
        terms["price_ticks"] = 0
    return REASON_NONE
