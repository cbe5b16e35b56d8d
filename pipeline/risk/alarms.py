"""Alarms: when time itself has to do with a stop. Two heaps of slots, the earliest at the root (Williams 1964, CACM 232).

ENTRIES     stops that wait for the entry time of their position
DEADLINES   time stops, by their deadline
"""

import numpy as np

from pipeline.risk.levels import NEVER
from shm.jit import njit_inner

ENTRIES, DEADLINES = 0, 1
# Words of StopBook.counts: how many alarms each heap holds, and the earliest time in it.
ALARM_COUNT, NEXT_ALARM = 4, 6


@njit_inner
def alarm_ns(book, heap, place):
    """Return the time of an alarm."""
    terms = book.terms[np.int64(book.alarms[heap, place])]
    return terms["entry_ns"] if heap == ENTRIES else terms["deadline_ns"]


@njit_inner
def is_earlier(book, heap, place, other):
    """Tell whether one alarm of a heap comes before another: by time, then by the stop's id."""
    first_ns, second_ns = alarm_ns(book, heap, place), alarm_ns(book, heap, other)
    if first_ns != second_ns:
        return first_ns < second_ns
    first, second = book.terms[np.int64(book.alarms[heap, place])], book.terms[np.int64(book.alarms[heap, other])]
    return first["stop_id"] < second["stop_id"]


@njit_inner
def swap(book, heap, place, other):
    """Exchange two places of a heap."""
    slot = np.int64(book.alarms[heap, place])
    book.alarms[heap, place] = book.alarms[heap, other]
    book.alarms[heap, other] = slot


@njit_inner
def rise(book, heap, place):
    """Move an alarm up until its parent is not later."""
    while place > 0 and is_earlier(book, heap, place, (place - 1) // 2):
        swap(book, heap, place, (place - 1) // 2)
        place = (place - 1) // 2


@njit_inner
def sink(book, heap, place):
    """Move an alarm down until no child is earlier."""
    count = book.counts[ALARM_COUNT + heap]
    while True:
        child = 2 * place + 1
        if child >= count:
            return
        if child + 1 < count and is_earlier(book, heap, child + 1, child):
            child += 1
        if not is_earlier(book, heap, child, place):
            return
        swap(book, heap, place, child)
        place = child


@njit_inner
def note_next(book, heap):
    """Keep the earliest time where each tick compares with it."""
    empty = book.counts[ALARM_COUNT + heap] == 0
    book.counts[NEXT_ALARM + heap] = NEVER if empty else alarm_ns(book, heap, 0)


@njit_inner
def push_alarm(book, heap, slot):
    """Put a stop into a heap."""
    place = book.counts[ALARM_COUNT + heap]
    book.alarms[heap, place] = slot
    book.counts[ALARM_COUNT + heap] = place + 1
    rise(book, heap, place)
    note_next(book, heap)


@njit_inner
def remove_alarm(book, heap, slot):
    """Take a stop out of a heap, where it is in it."""
    count = book.counts[ALARM_COUNT + heap]
    for place in range(count):
        if book.alarms[heap, place] == slot:
            book.counts[ALARM_COUNT + heap] = count - 1
            if place < count - 1:
                book.alarms[heap, place] = book.alarms[heap, count - 1]
                sink(book, heap, place)
                rise(book, heap, place)
            break
    note_next(book, heap)
