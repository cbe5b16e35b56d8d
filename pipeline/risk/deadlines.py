"""Deadlines of time stops: a binary heap of slots, the earliest at its root (Williams 1964, CACM algorithm 232)."""

from pipeline.risk.levels import NEVER
from shm.jit import njit_inner

# Words of StopBook.counts, as in pipeline.risk.stops.
DEADLINE_COUNT, NEXT_DEADLINE = 2, 3


@njit_inner
def is_earlier(book, place, other):
    """Tell whether the stop at one place of the heap comes before that at another: by deadline, then by id."""
    first, second = book.terms[int(book.deadlines[place])], book.terms[int(book.deadlines[other])]
    if first["deadline_ns"] != second["deadline_ns"]:
        return first["deadline_ns"] < second["deadline_ns"]
    return first["stop_id"] < second["stop_id"]


@njit_inner
def swap(book, place, other):
    """Exchange two places of the heap."""
    slot = int(book.deadlines[place])
    book.deadlines[place] = book.deadlines[other]
    book.deadlines[other] = slot


@njit_inner
def rise(book, place):
    """Move a place up until its parent is not later."""
    while place > 0 and is_earlier(book, place, (place - 1) // 2):
        swap(book, place, (place - 1) // 2)
        place = (place - 1) // 2


@njit_inner
def sink(book, place):
    """Move a place down until no child is earlier."""
    count = book.counts[DEADLINE_COUNT]
    while True:
        child = 2 * place + 1
        if child >= count:
            return
        if child + 1 < count and is_earlier(book, child + 1, child):
            child += 1
        if not is_earlier(book, child, place):
            return
        swap(book, place, child)
        place = child


@njit_inner
def note_next(book):
    """Keep the earliest deadline where each tick compares with it."""
    book.counts[NEXT_DEADLINE] = NEVER
    if book.counts[DEADLINE_COUNT] > 0:
        book.counts[NEXT_DEADLINE] = book.terms[int(book.deadlines[0])]["deadline_ns"]


@njit_inner
def push_deadline(book, slot):
    """Put an armed time stop into the heap."""
    place = book.counts[DEADLINE_COUNT]
    book.deadlines[place] = slot
    book.counts[DEADLINE_COUNT] = place + 1
    rise(book, place)
    note_next(book)


@njit_inner
def remove_deadline(book, slot):
    """Take a stop out of the heap, where it is in it: it has fired, or ended."""
    count = book.counts[DEADLINE_COUNT]
    for place in range(count):
        if book.deadlines[place] == slot:
            book.counts[DEADLINE_COUNT] = count - 1
            if place < count - 1:
                book.deadlines[place] = book.deadlines[count - 1]
                sink(book, place)
                rise(book, place)
            break
    note_next(book)
