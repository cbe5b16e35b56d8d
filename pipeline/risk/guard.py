"""What the pre-trade check looks at: positions, marks, limits and scopes, and where it leaves what it has found."""

from typing import NamedTuple

import numpy as np

from pipeline.risk.amounts import bounded
from pipeline.risk.held import Held, make_held
from pipeline.risk.limits import Limits
from pipeline.tables import BAR, LIMITS, MARK, POSITION, SCOPE_FEES, SCOPE_REALISED, SCOPE_WORDS, SERIES
from pipeline.topology import Sizes
from shm.jit import njit_inline, njit_merged
from shm.layout import CACHE_LINE, WORD
from shm.prefetch import prefetch
from shm.rows import Table, open_table
from shm.segment import Segment

# Words of `found`: what a refused order would amount to, what is allowed, whose limit it is, and which (its place in LIMITS).
# Value and limit are in the unit of that limit. All 0 where no limit, state or age is the reason.
FOUND_VALUE, FOUND_LIMIT, FOUND_SCOPE, FOUND_LIMIT_ID = 0, 1, 2, 3
# Rows of `sums`: the account's, those of the strategy and of the instrument of the order.
OF_ACCOUNT, OF_STRATEGY, OF_INSTRUMENT = 0, 1, 2
# Words of a row of `sums`, in money units: gross exposure, net exposure if all that is bought or all that is sold fills, open
# P&L. Then how many positions are held, and their worst lots (of the instrument only).
GROSS, LONG_SUM, SHORT_SUM, UNREALISED, HELD_COUNT, WORST_LOTS = 0, 1, 2, 3, 4, 5
SUM_WORDS = 8
#: No version of a row: they count from 0.
NEVER = -1
_MARK_BYTES, _LIMITS_BYTES, _POSITION_BYTES, _SERIES_BYTES = (table.itemsize for table in (MARK, LIMITS, POSITION, SERIES))
_SCOPE_BYTES = SCOPE_WORDS * WORD


class Guard(NamedTuple):
    """The check's arrays, as kernels take them. It writes the last three arrays alone."""

    positions: Table  #: POSITION
    marks: np.ndarray  #: MARK per instrument
    limit_rows: Table  #: LIMITS per scope
    scopes: np.ndarray  #: int64, SCOPE_WORDS for each scope
    scopes_base: int  #: index of scopes[0] in the segment's memory, for those who stage a change
    series: Table  #: SERIES: the first are the configured one of each instrument
    bars: np.ndarray  #: BAR per series
    words: np.ndarray  #: topology.RISK_* words
    limits: Limits
    held: Held  #: private
    sums: np.ndarray  #: int64 (3, SUM_WORDS), private
    found: np.ndarray  #: int64 (4,), private
    complete: np.ndarray  #: int64 per scope, private: the version of its limits in which all were found to be set, else NEVER
    book_count: int


def whole_lines(count: int) -> np.ndarray:
    """Return int64 zeros that begin with a cache line.

    What is stored across the end of one is not handed on to the load that follows: a check took half as long again.
    """
    memory = np.zeros(count + CACHE_LINE // WORD, np.int64)
    first = -memory.ctypes.data % CACHE_LINE // WORD
    return memory[first : first + count]


def open_guard(segment: Segment, sizes: Sizes, limits: Limits) -> Guard:
    """Open the check on an instance, with what its positions table holds at this moment."""
    positions = open_table(segment, "positions", POSITION)
    return Guard(
        positions=positions,
        marks=segment.array("marks", MARK),
        limit_rows=open_table(segment, "limits", LIMITS),
        scopes=segment.array("scopes"),
        scopes_base=segment.base("scopes"),
        series=open_table(segment, "series", SERIES),
        bars=segment.array("bars", BAR),
        words=segment.array("risk.state"),
        limits=limits,
        held=make_held(positions, sizes.instruments),
        sums=whole_lines(3 * SUM_WORDS).reshape(3, SUM_WORDS),
        found=whole_lines(4),
        complete=np.full(sizes.scope_count, NEVER, np.int64),
        book_count=sizes.book_count,
    )


@njit_merged
def scope_word(guard, scope, word):
    """Return a word of a scope as it is committed."""
    return guard.scopes[scope * SCOPE_WORDS + word]


@njit_inline
def strategy_scope(strategy):
    """Return the scope of a strategy's slot, as topology.scope_of_strategy does."""
    return 1 + strategy


@njit_merged
def instrument_scope(guard, instrument):
    """Return the scope of an instrument, as topology.scope_of_instrument does."""
    return 1 + guard.book_count + instrument


@njit_merged
def profit(guard, scope, of_scope):
    """Return the P&L of a scope in money units, realised - fees + unrealised, with the sums of this moment.

    Args:
        guard: Guard, its sums filled (pipeline.risk.valuation).
        scope: Whose.
        of_scope: Its row of the sums: OF_ACCOUNT, ...
    """
    realised, fees = scope_word(guard, scope, SCOPE_REALISED), scope_word(guard, scope, SCOPE_FEES)
    return bounded(realised - fees + guard.sums[of_scope, UNREALISED])


@njit_merged
def ask_ahead(guard, strategy, instrument):
    """Ask for what the check of an order reads of its strategy and instrument, all of it at once.

    An instrument whose turn comes seldom is in no near cache; line by line, it would take longer to come than the check.
    """
    scope, row = instrument_scope(guard, instrument), strategy * guard.marks.shape[0] + instrument
    prefetch(guard.marks, instrument * _MARK_BYTES)
    prefetch(guard.positions.commits, row * WORD)
    prefetch(guard.limit_rows.commits, scope * WORD)
    # Both copies of a row: to wait for the word that tells which counts takes as long as they do.
    for line in range(0, 2 * _POSITION_BYTES, CACHE_LINE):
        prefetch(guard.positions.copies, 2 * row * _POSITION_BYTES + line)
    for line in range(0, _SCOPE_BYTES, CACHE_LINE):
        prefetch(guard.scopes, scope * _SCOPE_BYTES + line)
    for line in range(0, 2 * _LIMITS_BYTES, CACHE_LINE):
        prefetch(guard.limit_rows.copies, 2 * scope * _LIMITS_BYTES + line)
    for line in range(0, 2 * _SERIES_BYTES, CACHE_LINE):
        prefetch(guard.series.copies, 2 * instrument * _SERIES_BYTES + line)
    prefetch(guard.series.commits, instrument * WORD)
    prefetch(guard.limits.value_units, instrument * WORD)
    prefetch(guard.limits.lot_units, instrument * WORD)
    prefetch(guard.held.places, row * WORD)
    prefetch(guard.complete, scope * WORD)
