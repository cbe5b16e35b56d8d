"""Watching prices: which stops a price moves, and which it fires.

Stops that follow the same price in the same direction are a group. All prices here are signed (pipeline.risk.levels), so that
each group looks like LONG stops. Four words decide nearly every tick:

    fire    highest level of the group's stops: a price at or below it fires one
    top     a price at or above it moves something: the front, or what is below `event`
    front   best price of the stops that float: those whose best price every new one moves. They share this word, so that a
            new high costs the same for one trailing stop and for a thousand: it moves the front, and the tightest of their
            distances gives `fire`. Their own levels are worked out when somebody asks.
    event   the lowest price at which a stop begins to float, wakes, breaks even, or has its target

Only a price beyond `fire` or `event` has the stops of the group looked at one by one (`sweep`). A stop floats once a price has
passed its own best; it stops floating when one is set with a lower entry: then it keeps the front's price as its own, and
floats again when the price is back. In shared memory a stop's best price is its own word, or FLOATS, which means the front's.

In place, and safe to be killed in: a stop says FLOATS before the front moves, and keeps the front's price before the front goes
back; the tick comes again and does the same again.
"""

import numpy as np

from pipeline.messages import ARMED, ATR, CHANDELIER, TAKE_PROFIT, TIME
from pipeline.risk.alarms import DEADLINES, ENTRIES, NEXT_ALARM, push_alarm, remove_alarm
from pipeline.risk.atr import close_bar, is_ready
from pipeline.risk.levels import (
    NEVER,
    NONE,
    NOTHING,
    atr_distance,
    entry_of,
    follows,
    is_awake,
    is_even,
    level_at,
    share_of,
    target_of,
    threshold_of,
    trailing_distance,
)
from pipeline.risk.stops import (
    ATRS,
    DUE,
    END,
    EVENT,
    FIRED_COUNT,
    FLOATS,
    FRONT,
    MORE,
    MORE_STRIDE,
    NO_FRONT,
    TIGHTEST_OFFSET,
    TIGHTEST_PPM,
    WAITING,
    fire_word,
    group_index,
    group_of,
)
from pipeline.topology import RISK_NOW_NS, STOP_GROUPS
from shm.atomics import store_release
from shm.jit import njit, njit_inner, njit_merged
from shm.rows import current


@njit_merged
def follow(book, instrument, group, price):
    """Let a price of a group's watch move what floats.

    Args:
        book: StopBook.
        instrument: Its index.
        group: The group's number within it.
        price: The price, signed, in units of the watch.
    Returns:
        Whether the group's stops have to be looked at one by one.
    """
    bounds = book.bounds[instrument]
    at, more = fire_word(group), MORE + MORE_STRIDE * group
    if price >= bounds[at + 1]:
        if price > bounds[more + FRONT]:
            store_release(book.fronts, STOP_GROUPS * instrument + group, price)
            bounds[more + FRONT] = price
            bounds[at] = max(bounds[at], floating_level(bounds, more, price))
            bounds[at + 1] = min(price + 1, bounds[more + EVENT])
        if price >= bounds[more + EVENT]:
            return True
    return price <= bounds[at]


@njit_merged
def floating_level(bounds, more, front):
    """Return the highest level among the stops that float."""
    level = NOTHING
    if bounds[more + TIGHTEST_PPM] != NONE:
        level = front - share_of(front, bounds[more + TIGHTEST_PPM])
    if bounds[more + TIGHTEST_OFFSET] != NONE:
        level = max(level, front - bounds[more + TIGHTEST_OFFSET])
    return level


@njit_inner
def sweep(book, instrument, group, price):
    """Look at the stops of a group one by one: move them with a price, note those that it fires, and set the bounds anew.

    Args:
        book: StopBook; `fired` gets the slots of the stops that fire, in order of their ids, from `counts[FIRED_COUNT]` on.
        instrument: Its index.
        group: The group's number within it.
        price: The price, signed; 0 = none, only set the bounds.
    """
    index = STOP_GROUPS * instrument + group
    bounds = book.bounds[instrument]
    more = MORE + MORE_STRIDE * group
    front = book.fronts[index]
    if price != 0:
        front = price if front == NO_FRONT else max(front, price)
    bounds[fire_word(group)] = NOTHING
    bounds[more + EVENT] = NEVER
    bounds[more + TIGHTEST_PPM], bounds[more + TIGHTEST_OFFSET] = NONE, NONE
    float_count = 0
    slot = np.int64(book.heads[index])
    while slot != END:
        extreme = book.extremes[slot]
        if extreme != WAITING and book.table.copies[current(book.table, slot)]["state"] == ARMED:
            floats = extreme == FLOATS
            if price != 0 and not floats and price >= extreme and follows(book.terms[slot]):
                # From now on the front's price is its own.
                book.extremes[slot] = FLOATS
                floats = True
            float_count += floats
            is_target = book.terms[slot]["kind"] == TAKE_PROFIT
            if include(book, bounds, group, slot, front if floats else extreme) and price != 0:
                level = book.levels[slot]
                if (price >= level) if is_target else (price <= level):
                    book.fired[book.counts[FIRED_COUNT]] = slot
                    book.counts[FIRED_COUNT] += 1
        slot = np.int64(book.nexts[slot])
    store_release(book.fronts, index, front if float_count > 0 else NO_FRONT)
    set_top(book, instrument, group)


@njit_inner
def include(book, bounds, group, slot, best):
    """Work out an armed stop's level, and tighten its group's bounds so far that nothing of it is missed.

    Args:
        book: StopBook.
        bounds: Its instrument's.
        group: The group's number.
        slot: The stop's slot.
        best: Its best price, signed.
    Returns:
        Whether it is awake.
    """
    terms = book.terms[slot]
    at, more = fire_word(group), MORE + MORE_STRIDE * group
    floats = book.extremes[slot] == FLOATS
    atr_ticks = atr_of(book, terms)
    level, target = level_at(terms, best, book.floors[slot], atr_ticks), target_of(terms)
    book.levels[slot] = target if target != NEVER else level
    awake = is_awake(terms, best)
    bounds[more + EVENT] = min(bounds[more + EVENT], next_event(terms, best, floats, awake))
    if not awake:
        return False
    bounds[at] = max(bounds[at], level)
    distance = trailing_distance(terms, best, atr_ticks)
    if floats and distance != NONE:
        if terms["offset_ticks"] > 0 or terms["kind"] == CHANDELIER:
            bounds[more + TIGHTEST_OFFSET] = tighter(bounds[more + TIGHTEST_OFFSET], distance)
        else:
            bounds[more + TIGHTEST_PPM] = tighter(bounds[more + TIGHTEST_PPM], np.int64(terms["percent_ppm"]))
    return True


@njit_inner
def set_top(book, instrument, group):
    """Set where a rising price has to be looked at, once `event` and the group's front are known."""
    bounds = book.bounds[instrument]
    more, front = MORE + MORE_STRIDE * group, book.fronts[STOP_GROUPS * instrument + group]
    bounds[more + FRONT] = front if front != NO_FRONT else NEVER
    bounds[fire_word(group) + 1] = min(front + 1, bounds[more + EVENT]) if front != NO_FRONT else bounds[more + EVENT]


@njit
def tighter(known, distance):
    """Return the smaller of two distances; the first may be NONE."""
    return distance if known == NONE else min(known, distance)


@njit
def next_event(terms, best, floats, awake):
    """Return the lowest price at which something about a stop changes beside the front: signed, NEVER where nothing does."""
    event = NEVER
    if not awake:
        event = threshold_of(terms, terms["activation_ppm"])
    elif terms["kind"] == TAKE_PROFIT:
        event = target_of(terms)
    if terms["breakeven_ppm"] > 0 and not is_even(terms, best):
        event = min(event, threshold_of(terms, terms["breakeven_ppm"]))
    if not floats and follows(terms):
        event = min(event, best + 1)
    return event


@njit_inner
def atr_of(book, terms):
    """Return m * ATR of a stop in units of its watch, NONE where it has no ATR or needs none."""
    kind = np.int64(terms["kind"])
    if kind != ATR and kind != CHANDELIER:
        return NONE
    row = book.atr.table.copies[current(book.atr.table, np.int64(terms["series"]))]
    return atr_distance(np.int64(terms["atr_ppm"]), row["atr"], np.int64(terms["watch"])) if is_ready(row) else NONE


@njit_inner
def best_of(book, slot):
    """Return the best price of an armed stop since it was armed, signed; its entry where it waits."""
    extreme = book.extremes[slot]
    if extreme == FLOATS:
        front = book.fronts[group_index(book, slot)]
        return front if front != NO_FRONT else entry_of(book.terms[slot])
    return extreme if extreme != WAITING else entry_of(book.terms[slot])


@njit_inner
def wake_stop(book, slot):
    """Begin to watch: stream time has reached the stop's entry. Its best price is the entry's so far."""
    terms = book.terms[slot]
    index = group_index(book, slot)
    entry = entry_of(terms)
    atr_ticks = atr_of(book, terms)
    if terms["kind"] == ATR and atr_ticks != NONE:
        # A kill can bring one back that was awake already: what its level has reached stays.
        book.floors[slot] = max(book.floors[slot], entry - atr_ticks)
    front = book.fronts[index]
    instrument, group = np.int64(terms["instrument"]), group_of(terms)
    if not follows(terms) or (front != NO_FRONT and entry > front):
        book.extremes[slot] = entry
    elif front != NO_FRONT and entry < front:
        other = np.int64(book.heads[index])
        while other != END:
            if book.extremes[other] == FLOATS:
                store_release(book.extremes, other, front)
            other = np.int64(book.nexts[other])
        store_release(book.fronts, index, entry)
        store_release(book.extremes, slot, FLOATS)
        # Those that floated have bounds of their own again.
        sweep(book, instrument, group, 0)
        return
    else:
        store_release(book.fronts, index, entry)
        store_release(book.extremes, slot, FLOATS)
    # Bounds that are tight enough for one more are right: they are not worked out anew for each of many that are set at once.
    include(book, book.bounds[instrument], group, slot, entry)
    set_top(book, instrument, group)


@njit_inner
def join(state, slot):
    """Take an armed stop that has just been linked under watch: now, or when its entry time has come."""
    book, now_ns = state.book, state.words[RISK_NOW_NS]
    terms = book.terms[slot]
    if terms["kind"] == TIME:
        push_alarm(book, DEADLINES, slot)
    if book.extremes[slot] == WAITING and now_ns < terms["entry_ns"]:
        push_alarm(book, ENTRIES, slot)
        return
    if book.extremes[slot] == WAITING:
        wake_stop(book, slot)
    else:
        sweep(book, np.int64(terms["instrument"]), group_of(terms), 0)


@njit_inner
def wake_due(state):
    """Wake the stops whose entry time has come: at the first tick of any instrument, after the bars that ended are closed."""
    book, now_ns = state.book, state.words[RISK_NOW_NS]
    while book.counts[NEXT_ALARM + ENTRIES] <= now_ns:
        slot = np.int64(book.alarms[ENTRIES, 0])
        terms = book.terms[slot]
        catch_up(state, np.int64(terms["instrument"]))
        remove_alarm(book, ENTRIES, slot)
        wake_stop(book, slot)


@njit_inner
def catch_up(state, instrument):
    """Close the bars of an instrument that have ended, and move ATR levels. To be called before anything looks at them."""
    book, now_ns = state.book, state.words[RISK_NOW_NS]
    if now_ns < book.bounds[instrument][DUE]:
        return
    due_ns = NEVER
    series = book.atr.heads[instrument]
    while series != END:
        end_ns = book.atr.bars[series]["end_ns"]
        if end_ns != 0 and now_ns >= end_ns:
            # Levels of the old ATR are kept before it goes; those of the new one come on top, or replace what was provisional.
            keep_levels(book, instrument, series)
            close_bar(state.transaction, book.atr, series)
            keep_levels(book, instrument, series)
        elif end_ns != 0:
            due_ns = min(due_ns, end_ns)
        series = book.atr.nexts[series]
    book.bounds[instrument][DUE] = due_ns


@njit_inner
def set_all_bounds(book, instrument):
    """Set the bounds of every group of an instrument anew."""
    for group in range(STOP_GROUPS):
        sweep(book, instrument, group, 0)


@njit_inner
def keep_levels(book, instrument, series):
    """Raise the ratchet of the stops of a series to their level by the present ATR. Twice is as once.

    A bound that is tighter than need be costs one more look. So the bounds are only tightened here: a level that replaces a
    provisional one may be wider, and a chandelier's distance may grow, and the next look finds it.
    """
    bounds = book.bounds[instrument]
    if bounds[ATRS] == 0:
        return
    for group in range(STOP_GROUPS):
        slot, found = np.int64(book.heads[STOP_GROUPS * instrument + group]), False
        while slot != END:
            terms = book.terms[slot]
            kind = np.int64(terms["kind"])
            if (kind == ATR or kind == CHANDELIER) and terms["series"] == series and book.extremes[slot] != WAITING:
                atr_ticks, best = atr_of(book, terms), best_of(book, slot)
                if atr_ticks != NONE:
                    base = entry_of(terms) if kind == ATR else best
                    book.floors[slot] = max(book.floors[slot], base - atr_ticks)
                if book.table.copies[current(book.table, slot)]["state"] == ARMED:
                    include(book, bounds, group, slot, best)
                    found = True
            slot = np.int64(book.nexts[slot])
        if found:
            set_top(book, instrument, group)


@njit
def restore(state):
    """Bring the book of a stage that has just opened to where its predecessor left it: ratchets, who watches, all bounds."""
    book = state.book
    for instrument in range(book.bounds.shape[0]):
        due_ns = NEVER
        series = book.atr.heads[instrument]
        while series != END:
            keep_levels(book, instrument, series)
            end_ns = book.atr.bars[series]["end_ns"]
            due_ns = min(due_ns, end_ns if end_ns != 0 else NEVER)
            series = book.atr.nexts[series]
        book.bounds[instrument][DUE] = due_ns
        set_all_bounds(book, instrument)
        catch_up(state, instrument)
    wake_due(state)
