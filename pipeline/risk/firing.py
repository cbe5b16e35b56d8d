"""From a tick to the stops that it fires: prices first, then deadlines, then markets that have gone stale."""

import numpy as np

from pipeline.messages import (
    ARMED,
    BID_ASK,
    LAST,
    LONG,
    MID,
    QUOTE,
    TAKE_PROFIT,
    TRIGGER_DEADLINE,
    TRIGGER_LEVEL,
    TRIGGER_STALE,
    TRIGGER_TARGET,
)
from pipeline.risk.alarms import ALARM_COUNT, DEADLINES, NEXT_ALARM, alarm_ns, push_alarm, remove_alarm
from pipeline.risk.entries import EVENTS_NEEDED, ORDERS_NEEDED
from pipeline.risk.events import level_now
from pipeline.risk.exits import fire, watched_price
from pipeline.risk.levels import is_awake
from pipeline.risk.stops import END, FIRED_COUNT, MIDS, group_of
from pipeline.risk.watching import best_of, catch_up, follow, sweep
from pipeline.topology import RISK_COUNTERS, RISK_NOW_NS, STOP_GROUPS
from shm.counters import add
from shm.jit import njit_inner, njit_merged
from shm.ring import room, wake
from shm.rows import current

STALLED = RISK_COUNTERS.index("stalled")
#: Word of RiskState.local: stream time of the next look for stale instruments.
NEXT_STALE_LOOK = 1
#: That often within `stale_ns`.
STALE_LOOKS = 8


@njit_merged
def follow_quote(book, instrument, bid_ticks, ask_ticks):
    """Let a quote move what floats.

    Returns:
        Which groups have to be looked at, a bit each.
    """
    bounds = book.bounds[instrument]
    groups = 0
    if bid_ticks <= bounds[0] or bid_ticks >= bounds[1]:
        groups |= follow(book, instrument, 2 * BID_ASK, bid_ticks) << (2 * BID_ASK)
    if -ask_ticks <= bounds[2] or -ask_ticks >= bounds[3]:
        groups |= follow(book, instrument, 2 * BID_ASK + 1, -ask_ticks) << (2 * BID_ASK + 1)
    if bounds[MIDS] > 0:
        groups |= follow(book, instrument, 2 * MID, bid_ticks + ask_ticks) << (2 * MID)
        groups |= follow(book, instrument, 2 * MID + 1, -bid_ticks - ask_ticks) << (2 * MID + 1)
    return groups


@njit_merged
def follow_trade(book, instrument, price_ticks):
    """Let a trade move what floats.

    Returns:
        Which groups have to be looked at, a bit each.
    """
    groups = follow(book, instrument, 2 * LAST, price_ticks) << (2 * LAST)
    return groups | follow(book, instrument, 2 * LAST + 1, -price_ticks) << (2 * LAST + 1)


@njit_inner
def fire_crossed(state, seq, instrument, groups):
    """Look at the stops of some groups of an instrument with its present mark, and fire those that it crosses, by their ids.

    Returns:
        False where an exit would find no room: the tick is taken again later.
    """
    if not has_room(state):
        add(state.counters, STALLED, 1)
        return False
    book, mark = state.book, state.marks[instrument]
    book.counts[FIRED_COUNT] = 0
    for group in range(STOP_GROUPS):
        if groups >> group & 1:
            side = LONG if group % 2 == 0 else -LONG
            sweep(book, instrument, group, side * watched_price(mark, group // 2, side))
    count = book.counts[FIRED_COUNT]
    if count == 0:
        return True
    sort_fired(book, count)
    went = fire_all(state, seq, count)
    for group in range(STOP_GROUPS):
        if groups >> group & 1:
            sweep(book, instrument, group, 0)
    wake(state.events)
    return went


@njit_inner
def fire_all(state, seq, count):
    """Fire the stops of `book.fired`.

    Returns:
        False where there was no room for all of them.
    """
    book = state.book
    for k in range(count):
        if room(state.orders) < 1 or room(state.events) < 1:
            return False
        slot = np.int64(book.fired[k])
        terms = book.terms[slot]
        price = watched_price(state.marks[np.int64(terms["instrument"])], np.int64(terms["watch"]), np.int64(terms["side"]))
        fire(state, slot, price, TRIGGER_TARGET if terms["kind"] == TAKE_PROFIT else TRIGGER_LEVEL, seq)
    return True


@njit_inner
def sort_fired(book, count):
    """Put the slots of `fired` in order of their stops' ids: the groups, each in order, follow one another (insertion sort)."""
    for k in range(1, count):
        slot = np.int64(book.fired[k])
        stop_id = book.terms[slot]["stop_id"]
        place = k
        while place > 0 and book.terms[np.int64(book.fired[place - 1])]["stop_id"] > stop_id:
            book.fired[place] = book.fired[place - 1]
            place -= 1
        book.fired[place] = slot


@njit_inner
def fire_deadlines(state, seq):
    """Fire the time stops whose deadline has come, the earliest first. A deadline needs no price.

    Returns:
        False where an exit would find no room: the tick is taken again later.
    """
    book, now_ns = state.book, state.words[RISK_NOW_NS]
    count = 0
    while book.counts[ALARM_COUNT + DEADLINES] > 0 and now_ns >= alarm_ns(book, DEADLINES, 0):
        book.fired[count] = book.alarms[DEADLINES, 0]
        remove_alarm(book, DEADLINES, np.int64(book.alarms[DEADLINES, 0]))
        count += 1
    put_back, went = 0, True
    for k in range(count):
        slot = np.int64(book.fired[k])
        terms = book.terms[slot]
        went = went and has_room(state)
        price = watched_price(state.marks[np.int64(terms["instrument"])], np.int64(terms["watch"]), np.int64(terms["side"]))
        awake = is_awake(terms, best_of(book, slot))
        if went and awake and fire(state, slot, price, TRIGGER_DEADLINE, seq) == 1:
            sweep(book, np.int64(terms["instrument"]), group_of(terms), 0)
        else:
            # It sleeps, exits of other stops take the whole position already, or there is no room. It stays due.
            push_alarm(book, DEADLINES, slot)
            put_back += 1
    if put_back > 0:
        # Look again with the next tick: what wakes it, or lets it go, may come with any.
        book.counts[NEXT_ALARM + DEADLINES] = now_ns
    if not went:
        add(state.counters, STALLED, 1)
    wake(state.events)
    return went


@njit_inner
def fire_stale(state, seq):
    """Leave the positions of instruments for which nothing valid has come for too long, by their first stop each."""
    book, now_ns = state.book, state.words[RISK_NOW_NS]
    state.local[NEXT_STALE_LOOK] = now_ns + state.limits.stale_ns // STALE_LOOKS
    for instrument in range(state.marks.shape[0]):
        mark = state.marks[instrument]
        if now_ns - max(mark["quote_ns"], mark["trade_ns"]) <= state.limits.stale_ns:
            continue
        catch_up(state, instrument)
        for group in range(STOP_GROUPS):
            slot = np.int64(book.heads[STOP_GROUPS * instrument + group])
            while slot != END and has_room(state):
                if book.table.copies[current(book.table, slot)]["state"] == ARMED:
                    terms = book.terms[slot]
                    price = watched_price(mark, np.int64(terms["watch"]), np.int64(terms["side"]))
                    # One that floats has moved on since its level was worked out.
                    book.levels[slot] = level_now(book, slot)
                    fire(state, slot, price, TRIGGER_STALE, seq)
                slot = np.int64(book.nexts[slot])
            sweep(book, instrument, group, 0)
    wake(state.events)


@njit_inner
def has_room(state):
    """Tell whether whatever one input can cause finds room in the rings."""
    return room(state.orders) >= ORDERS_NEEDED and room(state.events) >= EVENTS_NEEDED


@njit_merged
def groups_of_tick(book, instrument, tick):
    """Return which groups a tick makes look at their stops, a bit each, after it has moved what floats."""
    if tick["kind"] == QUOTE:
        return follow_quote(book, instrument, tick["a"], tick["b"])
    return follow_trade(book, instrument, tick["a"])
