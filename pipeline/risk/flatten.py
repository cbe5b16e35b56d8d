"""Leaving every position of a scope: each by one of its stops, so that the exit is sent once, owed and sent again as any other.

A flag in shared memory says that a scope is being left. As long as it is up nothing new may be risked there, working orders are
taken back, and every position that is open and not on its way out has a stop fired; where it has none that could, one is set
for that. When nothing is left the flag goes down. A death in between leaves the flag, and the rest.
"""

import numpy as np

from pipeline.messages import ARMED, BID_ASK, STATIC, TRIGGER_FLATTEN
from pipeline.risk.arming import arm, guard
from pipeline.risk.cancels import count_flags, lower_flags, works_of
from pipeline.risk.events import level_now
from pipeline.risk.exits import fire, watched_price
from pipeline.risk.positions import left_to_exit
from pipeline.risk.scopes import is_flagged
from pipeline.risk.stops import END, NO_SLOT, group_of, link_stop, take_slot
from pipeline.risk.watching import catch_up, sweep
from pipeline.tables import SCOPE_FLATTENS
from pipeline.topology import STOP_GROUPS
from shm.jit import njit_inner
from shm.ring import room, wake
from shm.rows import current


@njit_inner
def flatten_flagged(state):
    """Fire a stop of each open position in a scope that is being left, and lower the flags of what is done.

    Returns:
        How many exits that caused.
    """
    fired_count = 0
    k = 0
    while k < state.held.count[0]:
        row = np.int64(state.held.rows[k])
        if is_flagged(state.scopes, row, SCOPE_FLATTENS) and has_room_to_fire(state):
            fired_count += flatten_position(state, row)
        k += 1
    lower_flags(works_of(state), state.held)
    count_flags(state.scopes, state.local)
    if fired_count > 0:
        wake(state.events)
    return fired_count


@njit_inner
def has_room_to_fire(state):
    """Tell whether an exit and its events find room."""
    return room(state.orders) > 1 and room(state.events) > 4


@njit_inner
def flatten_position(state, row):
    """Leave one position by one of its stops, unless all of it is on its way out.

    Returns:
        1 where a stop was fired.
    """
    position = state.positions.copies[current(state.positions, row)]
    if position["quantity_lots"] == 0 or left_to_exit(position) == 0:
        return 0
    instrument = row % state.marks.shape[0]
    catch_up(state, instrument)
    slot, is_owed = stop_to_fire(state.book, row, instrument)
    if is_owed:
        # It is sent again when its time has come.
        return 0
    book, is_new = state.book, slot == NO_SLOT
    if is_new:
        slot = take_slot(book)
        if slot == NO_SLOT:
            return 0
        set_flattening_stop(state, row, slot)
    terms = book.terms[slot]
    price = watched_price(state.marks[instrument], np.int64(terms["watch"]), np.int64(terms["side"]))
    # One that floats has moved on since its level was worked out.
    book.levels[slot] = level_now(book, slot)
    fired = fire(state, slot, price, TRIGGER_FLATTEN, -1)
    if is_new:
        link_stop(book, slot)
    sweep(book, instrument, group_of(terms), 0)
    return fired


@njit_inner
def stop_to_fire(book, row, instrument):
    """Return the slot of the first armed stop that exits a whole position, or NO_SLOT; and whether a fired one owes an exit."""
    for group in range(STOP_GROUPS):
        slot = np.int64(book.heads[STOP_GROUPS * instrument + group])
        while slot != END:
            terms = book.terms[slot]
            if terms["position"] == row and terms["fraction_ppm"] == 0:
                stop = book.table.copies[current(book.table, slot)]
                if stop["state"] == ARMED:
                    return slot, False
                if stop["owed"]:
                    return slot, True
            slot = np.int64(book.nexts[slot])
    return NO_SLOT, False


@njit_inner
def set_flattening_stop(state, row, slot):
    """Stage a stop for a position that has none to leave it by; it is fired in the same transaction."""
    terms = state.book.terms[slot]
    terms["price_ticks"] = terms["offset_ticks"] = terms["deadline_ns"] = 0
    terms["percent_ppm"] = terms["activation_ppm"] = terms["breakeven_ppm"] = terms["atr_ppm"] = 0
    terms["series"] = terms["fraction_ppm"] = terms["limit_ticks"] = 0
    terms["escalate_ms"] = state.limits.escalate_ms
    terms["kind"], terms["watch"] = STATIC, BID_ASK
    guard(state, row, slot, 0)
    arm(state, slot)
