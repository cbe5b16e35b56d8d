"""The stop book: where the stops of an instance lie, and in which lists.

A slot holds one stop: its terms, its row of two copies, and three words that ticks move in place. These are in shared memory
and are the truth. Everything else is private, made anew from them at each start:

    lists    one for each instrument, watch and side (a group): the slots of its stops in order of their ids
    bounds   40 words per instrument, by which most ticks end (see pipeline.risk.watching)

        0  fire, top of BID_ASK LONG     8  fire, top of LAST LONG     16 + 4g  front, event, tightest percent, tightest offset
        2  fire, top of BID_ASK SHORT   10  fire, top of LAST SHORT              of group g
        4  due: when the first bar         12  fire, top of MID LONG
           of its series ends           14  fire, top of MID SHORT
        5  how many MID stops
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import ARMED, LONG, MID, TIME, TRIGGERED
from pipeline.risk.alarms import DEADLINES, ENTRIES, NEXT_ALARM, push_alarm
from pipeline.risk.atr import AtrBook
from pipeline.risk.levels import NEVER
from pipeline.tables import STOP, STOP_TERMS
from pipeline.topology import STOP_GROUPS
from shm.jit import njit, njit_inner
from shm.rows import Table, current, open_table
from shm.segment import Segment

END = -1
NO_SLOT = -1
# Words of `counts`, private.
# Words 4 to 7 are those of pipeline.risk.alarms.
FREE_COUNT, PENDING_COUNT, FIRED_COUNT = 0, 1, 2
# Words of an instrument's bounds.
DUE, MIDS, MORE, MORE_STRIDE, BOUND_WORDS = 4, 5, 16, 4, 40
FRONT, EVENT, TIGHTEST_PPM, TIGHTEST_OFFSET = 0, 1, 2, 3
# What an extreme says beside a price: the stop waits for its entry time; it moves with the front of its group.
WAITING, FLOATS = 0, NEVER
#: A group whose front is this has no stop that floats.
NO_FRONT = 0


class StopBook(NamedTuple):
    """The stops of one instance, as kernels take them; prices in the shared words are signed (pipeline.risk.levels)."""

    table: Table  #: STOP, shared
    terms: np.ndarray  #: STOP_TERMS per slot, shared
    extremes: np.ndarray  #: int64 per slot, shared: best price since armed, WAITING or FLOATS
    floors: np.ndarray  #: int64 per slot, shared: ratchet of ATR levels, NOTHING before the first
    levels: np.ndarray  #: int64 per slot, shared: level or target when last worked out; one that floats has moved on since
    fronts: np.ndarray  #: int64 per group, shared: best price of those that float
    atr: AtrBook
    heads: np.ndarray  #: int32 per group: its first slot
    tails: np.ndarray  #: int32 per group: its last
    nexts: np.ndarray  #: int32 per slot: the next of its group
    befores: np.ndarray  #: int32 per slot: the one before
    bounds: np.ndarray  #: int64 (instruments, BOUND_WORDS)
    free: np.ndarray  #: int32: slots that hold nothing, the last FREE_COUNT first
    pending: np.ndarray  #: int32: slots of fired stops that time must look after: no exit of theirs works, or a limit exit does
    alarms: np.ndarray  #: int32 (2, slots): slots that time concerns, two heaps (pipeline.risk.alarms)
    fired: np.ndarray  #: int32, scratch: slots that the last price fired
    counts: np.ndarray  #: int64 words, see above


def make_book(segment: Segment, atr: AtrBook, instrument_count: int) -> StopBook:
    """Return the book of an instance, its private part made from the rows."""
    terms = segment.array("stops.terms", STOP_TERMS)
    table = open_table(segment, "stops", STOP)
    slots, groups = len(terms), STOP_GROUPS * instrument_count
    extremes, floors, levels, fronts = (segment.array(f"stops.{name}") for name in ("extremes", "floors", "levels", "fronts"))
    book = StopBook(
        table, terms, extremes, floors, levels, fronts, atr, _ends(groups), _ends(groups), _ends(slots), _ends(slots),
        np.zeros((instrument_count, BOUND_WORDS), np.int64), np.zeros(slots, np.int32), np.zeros(slots, np.int32),
        np.zeros((2, slots), np.int32), np.zeros(slots, np.int32), np.zeros(8, np.int64),
    )  # fmt: skip
    book.counts[NEXT_ALARM : NEXT_ALARM + 2] = NEVER
    states = table.copies["state"][2 * np.arange(slots) + (table.commits & 1)]
    is_held = (states == ARMED) | (states == TRIGGERED)
    # Free slots are taken in order; lists hold the stops by their ids.
    by_id = np.argsort(np.where(is_held, terms["stop_id"], 0), kind="stable")
    fill_lists(book, by_id[is_held[by_id]], np.flatnonzero(~is_held)[::-1].copy())
    return book


def _ends(count: int) -> np.ndarray:
    return np.full(count, END, np.int32)


@njit
def fill_lists(book, held, free):
    """Make the lists from the rows.

    Args:
        book: StopBook whose private part is empty.
        held: int64, slots of armed and fired stops in order of their ids.
        free: int64, the other slots, the last to be taken first.
    """
    for k in range(free.shape[0]):
        release_slot(book, free[k])
    for k in range(held.shape[0]):
        slot = held[k]
        link_stop(book, slot)
        stop = book.table.copies[current(book.table, slot)]
        if stop["owed"] or (stop["state"] == TRIGGERED and book.terms[slot]["limit_ticks"] > 0 and not stop["escalated"]):
            add_pending(book, slot)
        if stop["state"] == ARMED:
            if book.terms[slot]["kind"] == TIME:
                push_alarm(book, DEADLINES, slot)
            if book.extremes[slot] == FLOATS and book.fronts[group_index(book, slot)] == NO_FRONT:
                # Killed before the front moved: the tick that lifts it comes again.
                book.extremes[slot] = WAITING
            if book.extremes[slot] == WAITING:
                push_alarm(book, ENTRIES, slot)


@njit
def group_of(terms):
    """Return the number of a stop's group within its instrument: watch and side."""
    return 2 * np.int64(terms["watch"]) + (0 if terms["side"] == LONG else 1)


@njit_inner
def group_index(book, slot):
    """Return where the group of a slot's stop lies among those of all instruments."""
    terms = book.terms[slot]
    return STOP_GROUPS * np.int64(terms["instrument"]) + group_of(terms)


@njit
def fire_word(group):
    """Return where a group's `fire` lies in its instrument's bounds; its `top` is the next word."""
    return 2 * group if group < 2 else 4 + 2 * group


@njit_inner
def take_slot(book):
    """Return a free slot, or NO_SLOT where the table is full."""
    if book.counts[FREE_COUNT] == 0:
        return NO_SLOT
    book.counts[FREE_COUNT] -= 1
    return np.int64(book.free[book.counts[FREE_COUNT]])


@njit_inner
def release_slot(book, slot):
    """Give a slot back."""
    book.free[book.counts[FREE_COUNT]] = slot
    book.counts[FREE_COUNT] += 1


@njit_inner
def link_stop(book, slot):
    """Put a stop whose row is committed into its group's list, in order of ids: nearly always at the end."""
    terms = book.terms[slot]
    instrument = np.int64(terms["instrument"])
    index = group_index(book, slot)
    before = np.int64(book.tails[index])
    while before != END and book.terms[before]["stop_id"] > terms["stop_id"]:
        before = np.int64(book.befores[before])
    after = np.int64(book.heads[index] if before == END else book.nexts[before])
    book.befores[slot], book.nexts[slot] = before, after
    if before == END:
        book.heads[index] = slot
    else:
        book.nexts[before] = slot
    if after == END:
        book.tails[index] = slot
    else:
        book.befores[after] = slot
    if terms["watch"] == MID:
        book.bounds[instrument][MIDS] += 1


@njit_inner
def unlink_stop(book, slot):
    """Take a stop that has ended out of its group's list, and free its slot."""
    terms = book.terms[slot]
    index = group_index(book, slot)
    before, after = np.int64(book.befores[slot]), np.int64(book.nexts[slot])
    if before == END:
        book.heads[index] = after
    else:
        book.nexts[before] = after
    if after == END:
        book.tails[index] = before
    else:
        book.befores[after] = before
    if terms["watch"] == MID:
        book.bounds[np.int64(terms["instrument"])][MIDS] -= 1
    remove_pending(book, slot)
    release_slot(book, slot)


@njit_inner
def find_stop(book, instrument, stop_id):
    """Return the slot of a stop by its id, or NO_SLOT."""
    for group in range(STOP_GROUPS):
        slot = np.int64(book.heads[STOP_GROUPS * instrument + group])
        while slot != END:
            if book.terms[slot]["stop_id"] == stop_id:
                return slot
            slot = np.int64(book.nexts[slot])
    return NO_SLOT


@njit_inner
def add_pending(book, slot):
    """Remember that time must look after a fired stop."""
    for k in range(book.counts[PENDING_COUNT]):
        if book.pending[k] == slot:
            return
    book.pending[book.counts[PENDING_COUNT]] = slot
    book.counts[PENDING_COUNT] += 1


@njit_inner
def remove_pending(book, slot):
    """Forget it again; the others stay in the order in which they came."""
    count = book.counts[PENDING_COUNT]
    for k in range(count):
        if book.pending[k] == slot:
            for after in range(k, count - 1):
                book.pending[after] = book.pending[after + 1]
            book.counts[PENDING_COUNT] = count - 1
            return
