"""The stop book: which stops watch an instrument, and which of them a price fires.

The rows of the table and the extremes are in shared memory and are the truth. Everything else here is private, made anew from
them at each start: a list of stops per instrument in order of their ids, each stop's level, and four bounds per instrument.
Most ticks end after comparing with the bounds.

    FIRE_LONG    highest level of the armed LONG stops: a bid at or below it fires one
    RISE         a bid above it moves the extreme of a LONG stop, or arms one
    FIRE_SHORT   lowest level of the armed SHORT stops: an ask at or above it fires one
    FALL         an ask below it moves the extreme of a SHORT stop, or arms one
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import ARMED, LONG, PRICE_TICKS_LIMIT, TRAILING, TRIGGERED
from pipeline.risk.levels import extreme_with, level_at
from shm.jit import njit, njit_inner
from shm.rows import Table, current

FIRE_LONG, RISE, FIRE_SHORT, FALL = 0, 1, 2, 3
END = -1
NO_SLOT = -1
# Private counts.
FREE_COUNT, OWED_COUNT = 0, 1


class StopBook(NamedTuple):
    """The stops of one instance, as kernels take them."""

    table: Table
    extremes: np.ndarray  #: shared, int64 per slot: best price since armed, 0 = not armed yet
    heads: np.ndarray  #: int64 per instrument: its first slot
    nexts: np.ndarray  #: int64 per slot: the next slot of the same instrument
    levels: np.ndarray  #: int64 per slot
    bounds: np.ndarray  #: int64 (instruments, 4)
    free: np.ndarray  #: slots that hold nothing, the last FREE_COUNT first
    owed: np.ndarray  #: slots of fired stops without a working exit
    counts: np.ndarray  #: FREE_COUNT, OWED_COUNT
    fired: np.ndarray  #: scratch: slots that the last price fired


def make_book(table: Table, extremes: np.ndarray, instrument_count: int) -> StopBook:
    """Return the book over a table of stops, its private part made from the rows."""
    slot_count = len(extremes)
    words = np.int64
    book = StopBook(
        table, extremes, np.full(instrument_count, END, words), np.full(slot_count, END, words), np.zeros(slot_count, words),
        np.zeros((instrument_count, 4), words), np.zeros(slot_count, words), np.zeros(slot_count, words), np.zeros(2, words),
        np.zeros(slot_count, words),
    )  # fmt: skip
    committed = 2 * np.arange(slot_count) + (table.commits & 1)
    newest_first = np.argsort(table.copies["stop_id"][committed], kind="stable")[::-1].astype(words)
    fill_lists(book, newest_first)
    return book


@njit
def fill_lists(book, newest_first):
    """Make the private part from the rows: lists in order of ids, levels, bounds, free and owed slots.

    Args:
        book: StopBook whose private part is empty.
        newest_first: int64, all slots by falling id: each is put before the last, so that lists come out oldest first.
    """
    table = book.table
    for k in range(newest_first.shape[0]):
        slot = newest_first[k]
        stop = table.copies[current(table, slot)]
        if stop["state"] == ARMED or stop["state"] == TRIGGERED:
            instrument = np.int64(stop["instrument"])
            book.nexts[slot] = book.heads[instrument]
            book.heads[instrument] = slot
            book.levels[slot] = level_at(stop, book.extremes[slot])
            if stop["owed"]:
                add_owed(book, slot)
        else:
            release_slot(book, slot)
    for instrument in range(book.heads.shape[0]):
        set_bounds(book, instrument)


@njit_inner
def set_bounds(book, instrument):
    """Compute the four bounds of one instrument from its stops."""
    fire_long, rise, fire_short, fall = 0, PRICE_TICKS_LIMIT, PRICE_TICKS_LIMIT, 0
    slot = book.heads[instrument]
    while slot != END:
        stop = book.table.copies[current(book.table, slot)]
        if stop["state"] == ARMED:
            extreme = book.extremes[slot]
            moves = extreme == 0 or stop["kind"] == TRAILING
            if stop["side"] == LONG:
                fire_long = max(fire_long, book.levels[slot])
                rise = min(rise, extreme) if moves else rise
            else:
                fire_short = min(fire_short, book.levels[slot])
                fall = max(fall, extreme if extreme != 0 else PRICE_TICKS_LIMIT) if moves else fall
        slot = book.nexts[slot]
    bounds = book.bounds[instrument]
    bounds[FIRE_LONG], bounds[RISE], bounds[FIRE_SHORT], bounds[FALL] = fire_long, rise, fire_short, fall


@njit_inner
def quiet(book, instrument, bid_ticks, ask_ticks):
    """Tell whether a quote can neither fire nor move any stop of its instrument."""
    bounds = book.bounds[instrument]
    return (
        bid_ticks > bounds[FIRE_LONG]
        and bid_ticks <= bounds[RISE]
        and ask_ticks < bounds[FIRE_SHORT]
        and ask_ticks >= bounds[FALL]
    )


@njit_inner
def watch(book, instrument, bid_ticks, ask_ticks, event_ns):
    """Update the stops of one instrument with a quote and find those that it fires.

    Args:
        book: StopBook; `fired` is filled in order of stop ids.
        instrument: Its index.
        bid_ticks: What LONG stops watch.
        ask_ticks: What SHORT stops watch.
        event_ns: Time of the quote; a stop is armed from the first quote at or after its entry.
    Returns:
        How many stops fired.
    """
    fired_count = 0
    slot = book.heads[instrument]
    while slot != END:
        stop = book.table.copies[current(book.table, slot)]
        extreme = book.extremes[slot]
        if stop["state"] == ARMED and (extreme != 0 or event_ns >= stop["entry_ns"]):
            price = bid_ticks if stop["side"] == LONG else ask_ticks
            moved = extreme_with(stop, extreme, price)
            if moved != extreme:
                # In place: if we die here, the same quote comes again and sets the same value.
                book.extremes[slot] = moved
                book.levels[slot] = level_at(stop, moved)
            if is_crossed(stop["side"], price, book.levels[slot]):
                book.fired[fired_count] = slot
                fired_count += 1
        slot = book.nexts[slot]
    set_bounds(book, instrument)
    return fired_count


@njit_inner
def is_crossed(side, price_ticks, level_ticks):
    """Tell whether a watched price is at or beyond a level."""
    return price_ticks <= level_ticks if side == LONG else price_ticks >= level_ticks


@njit_inner
def take_slot(book):
    """Return a free slot, or NO_SLOT where the table is full."""
    if book.counts[FREE_COUNT] == 0:
        return NO_SLOT
    book.counts[FREE_COUNT] -= 1
    return book.free[book.counts[FREE_COUNT]]


@njit_inner
def release_slot(book, slot):
    """Give a slot back."""
    book.free[book.counts[FREE_COUNT]] = slot
    book.counts[FREE_COUNT] += 1


@njit_inner
def add(book, slot, instrument):
    """Put a stop whose row is committed at the end of its instrument's list."""
    stop = book.table.copies[current(book.table, slot)]
    book.nexts[slot] = END
    book.levels[slot] = level_at(stop, book.extremes[slot])
    last = book.heads[instrument]
    if last == END:
        book.heads[instrument] = slot
    else:
        while book.nexts[last] != END:
            last = book.nexts[last]
        book.nexts[last] = slot
    set_bounds(book, instrument)


@njit_inner
def remove(book, slot, instrument):
    """Take a stop that has ended out of its instrument's list, and free its slot."""
    if book.heads[instrument] == slot:
        book.heads[instrument] = book.nexts[slot]
    else:
        before = book.heads[instrument]
        while book.nexts[before] != slot:
            before = book.nexts[before]
        book.nexts[before] = book.nexts[slot]
    remove_owed(book, slot)
    release_slot(book, slot)
    set_bounds(book, instrument)


@njit_inner
def find(book, instrument, stop_id):
    """Return the slot of a stop by its id, or NO_SLOT."""
    slot = book.heads[instrument]
    while slot != END:
        if book.table.copies[current(book.table, slot)]["stop_id"] == stop_id:
            return slot
        slot = book.nexts[slot]
    return NO_SLOT


@njit_inner
def add_owed(book, slot):
    """Remember that a fired stop has no working exit."""
    for k in range(book.counts[OWED_COUNT]):
        if book.owed[k] == slot:
            return
    book.owed[book.counts[OWED_COUNT]] = slot
    book.counts[OWED_COUNT] += 1


@njit_inner
def remove_owed(book, slot):
    """Forget it again."""
    for k in range(book.counts[OWED_COUNT]):
        if book.owed[k] == slot:
            book.counts[OWED_COUNT] -= 1
            book.owed[k] = book.owed[book.counts[OWED_COUNT]]
            return
