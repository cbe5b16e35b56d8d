"""Scopes: what has limits and a trading state. Each position lies in three: the account, its strategy, its instrument.

Their words are shared memory that only transactions of risk change, one word at a time (tables.SCOPE_*).
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import KILLED
from pipeline.tables import SCOPE_FLATTENS, SCOPE_STATE, SCOPE_WORDS
from pipeline.topology import ACCOUNT, Sizes
from shm.jit import njit
from shm.segment import Segment

#: Scopes of one position.
KINDS = 3


class Scopes(NamedTuple):
    """Every scope's words, as kernels take them."""

    words: np.ndarray  #: int64, SCOPE_WORDS for each scope
    base: int  #: index of words[0] in the segment's memory
    books: int  #: positions of one instrument
    instruments: int


def open_scopes(segment: Segment, sizes: Sizes) -> Scopes:
    """Return the scopes of an instance."""
    return Scopes(segment.array("scopes"), segment.base("scopes"), sizes.book_count, sizes.instruments)


@njit
def scope_of_row(scopes, row, kind):
    """Return one of the scopes of a row of the positions table: kind 0 the account, 1 its strategy, 2 its instrument."""
    if kind == 0:
        return ACCOUNT
    return 1 + row // scopes.instruments if kind == 1 else 1 + scopes.books + row % scopes.instruments


@njit
def has_row(scopes, scope, row):
    """Tell whether a position lies in a scope."""
    for kind in range(KINDS):
        if scope_of_row(scopes, row, kind) == scope:
            return True
    return False


@njit
def is_flagged(scopes, row, word):
    """Tell whether a word is set in any scope of a position."""
    for kind in range(KINDS):
        if scopes.words[scope_of_row(scopes, row, kind) * SCOPE_WORDS + word] != 0:
            return True
    return False


@njit
def strictest_of_row(scopes, row):
    """Return the strictest trading state of a position's scopes."""
    state = np.int64(0)
    for kind in range(KINDS):
        state = max(state, scopes.words[scope_of_row(scopes, row, kind) * SCOPE_WORDS + SCOPE_STATE])
    return state


@njit
def forbids_exits(scopes, row):
    """Tell whether a position is KILLED and not being left: then not even exits may leave."""
    return strictest_of_row(scopes, row) == KILLED and not is_flagged(scopes, row, SCOPE_FLATTENS)
