"""Tables whose rows are two copies and one commit word.

    commits (int64)   version of row i; its lowest bit tells which copy counts
    copies            2 * count records: row i's copies lie at 2 * i and 2 * i + 1

The writer fills the spare copy and flips the commit, by a transaction where several rows change together. A reader copies the
row and looks at the commit again. A kill at any instruction leaves the last committed copy whole.
"""

from typing import NamedTuple

import numpy as np

from shm.atomics import fence_acquire, load_acquire, load_relaxed
from shm.copy import copy_record
from shm.jit import njit, njit_inline
from shm.layout import WORD, Region
from shm.segment import Segment
from shm.transaction import stage, staged


class Table(NamedTuple):
    """A table's arrays, as kernels take them."""

    commits: np.ndarray  #: int64, one per row
    copies: np.ndarray  #: records, two per row
    words: np.ndarray  #: the same copies as int64 rows
    base: int  #: index of commits[0] in the segment's memory


def regions(name: str, dtype: np.dtype, count: int) -> list[Region]:
    """Return the regions of a table of `count` rows."""
    return [Region(f"{name}.commits", np.dtype(np.int64), count), Region(f"{name}.copies", dtype, 2 * count)]


def open_table(segment: Segment, name: str, dtype: np.dtype) -> Table:
    """Return the table of this name in a mapped instance."""
    copies = segment.array(f"{name}.copies", dtype)
    words = copies.view(np.int64).reshape(len(copies), dtype.itemsize // WORD)
    return Table(segment.array(f"{name}.commits"), copies, words, segment.base(f"{name}.commits"))


@njit_inline
def current(table, row):
    """Return the index in `copies` of the committed copy of a row. For the table's own writer."""
    return 2 * row + (load_relaxed(table.commits, row) & 1)


@njit
def edit(transaction, table, row):
    """Return the index in `copies` of a row's spare copy, filled with the row as it is and staged to count.

    A second call within one transaction returns the same copy, with what the first wrote.
    """
    index = table.base + row
    version = load_relaxed(table.commits, row)
    pending = staged(transaction, index, version)
    spare = 2 * row + ((version + 1) & 1)
    if pending == version:
        copy_record(table.copies, spare, 2 * row + (version & 1))
        stage(transaction, index, version + 1)
    return spare


@njit
def latest(transaction, table, row):
    """Return the index in `copies` of the copy that this transaction has made of a row, else of the committed one."""
    version = staged(transaction, table.base + row, load_relaxed(table.commits, row))
    return 2 * row + (version & 1)


@njit
def read(table, row, output_words):
    """Copy one row as it was at some moment. For other processes than the writer.

    Args:
        table: Table.
        row: Row number.
        output_words: One row of int64 words, filled.
    Returns:
        The version that was copied.
    """
    while True:
        # Acquire: pairs with the release in transaction.apply.
        version = load_acquire(table.commits, row)
        source = 2 * row + (version & 1)
        for w in range(table.words.shape[1]):
            output_words[w] = table.words[source, w]
        # Acquire: pairs with fence_release in transaction.apply. Two commits later our copy is being written again.
        fence_acquire()
        if load_relaxed(table.commits, row) == version:
            return version


@njit
def read_all(table, output_words):
    """Copy every row, each as it was at some moment, into int64 rows."""
    for row in range(table.commits.shape[0]):
        read(table, row, output_words[row])


def snapshot(table: Table) -> np.ndarray:
    """Return a copy of all rows, each whole; rows may be of different moments."""
    output = np.zeros(len(table.commits), table.copies.dtype)
    read_all(table, output.view(np.int64).reshape(len(output), table.words.shape[1]))
    return output
