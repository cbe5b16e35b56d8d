"""Which positions are held: those with open or working lots, in a private list, so that a check looks at no others.

    rows, books, instruments   of the held positions, packed, in no order
    places                     of each row of the positions table: where it stands in that list, or NOT_HELD

The list is no state of its own: a process that starts makes it anew from the positions table.
"""

from typing import NamedTuple

import numpy as np

from shm.jit import njit, njit_inline
from shm.rows import Table, current

NOT_HELD = -1


class Held(NamedTuple):
    """The list's arrays, private to the process. The packed ones are uint32: an index that cannot be negative costs less."""

    rows: np.ndarray  #: rows of the positions table
    books: np.ndarray  #: whose position it is: the strategy's slot
    instruments: np.ndarray
    places: np.ndarray  #: int64, by row of the positions table
    count: np.ndarray  # type: ignore[assignment]  #: one word: how many are held; hides tuple.count, which nobody calls on it
    instrument_count: int


def make_held(positions: Table, instrument_count: int) -> Held:
    """Return the list of what the positions table holds at this moment."""
    row_count = len(positions.commits)
    rows, books, instruments = (np.zeros(row_count, np.uint32) for _ in range(3))
    held = Held(rows, books, instruments, np.full(row_count, NOT_HELD, np.int64), np.zeros(1, np.int64), instrument_count)
    restore(held, positions)
    return held


def restore(held: Held, positions: Table) -> None:
    """Fill the list anew from the committed rows of the positions table."""
    now = positions.copies[2 * np.arange(len(positions.commits)) + (positions.commits & 1)]
    found = np.flatnonzero((now["quantity_lots"] != 0) | (now["working_buy_lots"] != 0) | (now["working_sell_lots"] != 0))
    held.places[:] = NOT_HELD
    held.places[found] = np.arange(len(found))
    held.count[0] = len(found)
    held.rows[: len(found)] = found
    held.books[: len(found)], held.instruments[: len(found)] = np.divmod(found, held.instrument_count)


@njit_inline
def is_held(position):
    """Tell whether a POSITION row has open or working lots."""
    return position["quantity_lots"] != 0 or position["working_buy_lots"] != 0 or position["working_sell_lots"] != 0


@njit
def join(held, row):
    """Put a row of the positions table into the list, where it is not in it already."""
    if held.places[row] != NOT_HELD:
        return
    place = held.count[0]
    held.rows[place] = row
    held.books[place] = row // held.instrument_count
    held.instruments[place] = row % held.instrument_count
    held.places[row] = place
    held.count[0] = place + 1


@njit
def leave(held, row):
    """Take a row of the positions table out of the list, where it is in it."""
    place = held.places[row]
    if place == NOT_HELD:
        return
    last = held.count[0] - 1
    moved = np.int64(held.rows[last])
    held.rows[place] = moved
    held.books[place] = held.books[last]
    held.instruments[place] = held.instruments[last]
    held.places[moved] = place
    held.places[row] = NOT_HELD
    held.count[0] = last


@njit
def keep(held, positions, row):
    """Let the list follow one row of the positions table. To be called after each commit that has changed the row."""
    if is_held(positions.copies[current(positions, row)]):
        join(held, row)
    else:
        leave(held, row)
