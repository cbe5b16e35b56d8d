"""Average true range, after Wilder, of bars in stream time (J. W. Wilder, New Concepts in Technical Trading Systems, 1978).

    true range = max(high - low, |high - previous close|, |low - previous close|), of the first bar high - low
    ATR        = mean of the first n true ranges, then (ATR * (n - 1) + true range) / n

A series is an instrument, a period n and a length of bars. Bars are aligned to the epoch, made of trade prices or of mids, and
skipped where they are empty. A bar closes when stream time reaches its end, in one transaction; its open part is stored in
place. Prices are in half ticks, so that a mid is exact. Series 0, 1, ... are the configured one of each instrument: they start
with the data. Others start when the first stop asks for them.
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import LAST
from pipeline.tables import BAR, SERIES
from pipeline.topology import RISK_SERIES
from shm.atomics import fence_release
from shm.jit import njit, njit_inner, njit_merged
from shm.layout import WORD
from shm.rows import Table, current, edit, open_table
from shm.segment import Segment
from shm.transaction import Transaction, commit, stage

END = -1
NO_SERIES = -1
#: A BAR's words; the first is `end_ns`.
BAR_WORDS = BAR.itemsize // WORD


class AtrBook(NamedTuple):
    """The series of one instance, as kernels take them."""

    table: Table  #: SERIES
    bars: np.ndarray  #: BAR per series, shared
    bars_base: int  #: index of bars[0] in the segment's memory
    heads: np.ndarray  #: int64 per instrument, private: its first series
    nexts: np.ndarray  #: int64 per series, private: the next of the same instrument


def open_atr(segment: Segment, transaction: Transaction, instrument_count: int, period: int, bar_ns: int) -> AtrBook:
    """Open the series of an instance, and begin the configured one of each instrument where it is new."""
    table = open_table(segment, "series", SERIES)
    bars = segment.array("bars", BAR)
    assert len(bars) >= instrument_count, "the first series are the configured ones, one for each instrument"
    heads, nexts = np.full(instrument_count, END, np.int64), np.full(len(bars), END, np.int64)
    book = AtrBook(table, bars, segment.base("bars"), heads, nexts)
    rows = table.copies[2 * np.arange(len(bars)) + (table.commits & 1)]
    for series in np.flatnonzero(rows["bar_ns"]).tolist():
        link(book, series, int(rows["instrument"][series]))
    for instrument in range(instrument_count):
        if rows["bar_ns"][instrument] == 0:
            begin(transaction, book, instrument, instrument, (period, bar_ns))
            commit(transaction)
            link(book, instrument, instrument)
    return book


@njit
def begin(transaction, book, series, instrument, shape):
    """Stage a new series.

    Args:
        transaction: Risk's.
        book: AtrBook.
        series: Its row, which is free.
        instrument: Its instrument.
        shape: (period in bars, bar length in ns).
    """
    row = book.table.copies[edit(transaction, book.table, series)]
    row["bar_ns"] = shape[1]
    row["previous_close"] = 0
    row["bar_count"] = 0
    row["seed_sum"] = 0
    row["atr"] = 0.0
    row["instrument"] = instrument
    row["period"] = shape[0]


@njit
def link(book, series, instrument):
    """Put a committed series into its instrument's list."""
    book.nexts[series] = book.heads[instrument]
    book.heads[instrument] = series


@njit
def find_series(book, instrument, shape):
    """Return the series of an instrument with this (period, bar_ns), or NO_SERIES."""
    series = book.heads[instrument]
    while series != END:
        row = book.table.copies[current(book.table, series)]
        if row["period"] == shape[0] and row["bar_ns"] == shape[1]:
            return series
        series = book.nexts[series]
    return NO_SERIES


@njit_inner
def pick_series(state, instrument, shape):
    """Return the series with this shape, or the free row that it would have, or NO_SERIES where the table is full."""
    book = state.book.atr
    found = find_series(book, instrument, shape)
    if found != NO_SERIES:
        return found
    series = state.marks.shape[0] + state.words[RISK_SERIES]
    return series if series < book.bars.shape[0] else NO_SERIES


@njit_inner
def stage_series(state, series, instrument, shape):
    """Begin a series where its row is free, as `pick_series` has found it.

    Returns:
        Whether it is new, and has to be linked after the commit.
    """
    book = state.book.atr
    if book.table.copies[current(book.table, series)]["bar_ns"] != 0:
        return False
    stage(state.transaction, state.words_base + RISK_SERIES, state.words[RISK_SERIES] + 1)
    begin(state.transaction, book, series, instrument, shape)
    return True


@njit_merged
def enter_bars(book, instrument, price_half_ticks, now_ns):
    """Let a price enter the open bar of each series of its instrument; bars that ended were closed before.

    In place: the same tick a second time changes nothing.

    Returns:
        The earliest end of these bars, int64 ns.
    """
    earliest_ns = 1 << 62
    series = book.heads[instrument]
    while series != END:
        bar = book.bars[series]
        if bar["end_ns"] == 0:
            bar["high"] = price_half_ticks
            bar["low"] = price_half_ticks
            bar["close"] = price_half_ticks
            bar_ns = book.table.copies[current(book.table, series)]["bar_ns"]
            # The prices come before the word that says that they count.
            fence_release()
            bar["end_ns"] = (now_ns // bar_ns + 1) * bar_ns
        else:
            bar["high"] = max(bar["high"], price_half_ticks)
            bar["low"] = min(bar["low"], price_half_ticks)
            bar["close"] = price_half_ticks
        earliest_ns = min(earliest_ns, bar["end_ns"])
        series = book.nexts[series]
    return earliest_ns


@njit_inner
def close_bar(transaction, book, series):
    """Close the open bar of a series, which has ended: its true range enters the average, and the bar is empty, as one."""
    bar = book.bars[series]
    row = book.table.copies[edit(transaction, book.table, series)]
    high, low, previous = bar["high"], bar["low"], row["previous_close"]
    true_range = high - low
    if row["bar_count"] > 0:
        true_range = max(true_range, abs(high - previous), abs(low - previous))
    period = np.int64(row["period"])
    row["bar_count"] += 1
    row["previous_close"] = bar["close"]
    if row["bar_count"] <= period:
        row["seed_sum"] += true_range
        row["atr"] = row["seed_sum"] / period if row["bar_count"] == period else 0.0
    else:
        row["atr"] = (row["atr"] * (period - 1) + true_range) / period
    stage(transaction, book.bars_base + BAR_WORDS * series, 0)
    commit(transaction)


@njit
def is_ready(row):
    """Tell whether a SERIES row has an ATR. A free row has none."""
    return row["bar_count"] > 0 and row["bar_count"] >= row["period"]


@njit
def bar_price(source, is_trade, first, second):
    """Return the price in half ticks with which a tick enters bars, 0 where it does not.

    Args:
        source: LAST or MID.
        is_trade: Whether the tick is a trade.
        first: TICK "a": price or bid.
        second: TICK "b": size or ask.
    """
    if source == LAST:
        return 2 * first if is_trade else 0
    return 0 if is_trade else first + second
