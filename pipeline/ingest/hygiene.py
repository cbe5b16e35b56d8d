"""What may not enter: each tick is judged before it is published, and a rejected one only moves time (DESIGN section 7)."""

import numpy as np

from pipeline.messages import (
    NON_FINITE,
    PRICE_TICKS_LIMIT,
    QUANTITY_LOTS_LIMIT,
    QUOTE,
    STATUS,
    TICK_BAD_TIME,
    TICK_CROSSED,
    TICK_NON_FINITE,
    TICK_NOT_POSITIVE,
    TICK_OK,
    TICK_OUT_OF_BOUNDS,
    TICK_UNKNOWN_INSTRUMENT,
    TICK_UNKNOWN_KIND,
    TIMER,
    TRADE,
)
from shm.jit import njit, njit_inner

#: Event times lie below this (year 2116), far from where sums of times would overflow.
EVENT_NS_LIMIT = 1 << 62


@njit
def judge(tick, instrument_count):
    """Return the reason for which a tick is rejected, or TICK_OK.

    Args:
        tick: TICK, read only.
        instrument_count: How many instruments there are.
    """
    if tick["event_ns"] <= 0 or tick["event_ns"] >= EVENT_NS_LIMIT:
        return TICK_BAD_TIME
    kind = np.int64(tick["kind"])
    if kind == TIMER or kind == STATUS:
        return TICK_OK
    if kind != QUOTE and kind != TRADE:
        return TICK_UNKNOWN_KIND
    if tick["instrument"] >= instrument_count:
        return TICK_UNKNOWN_INSTRUMENT
    reason = judge_price(tick["a"])
    if kind == TRADE:
        return reason if reason != TICK_OK else judge_size(tick["b"])
    if reason == TICK_OK:
        reason = judge_price(tick["b"])
    if reason == TICK_OK and tick["a"] > tick["b"]:
        reason = TICK_CROSSED
    if reason == TICK_OK:
        reason = judge_size(tick["c"])
    return reason if reason != TICK_OK else judge_size(tick["d"])


@njit_inner
def judge_price(price_ticks):
    """Return why this is not a price, or TICK_OK."""
    if price_ticks == NON_FINITE:
        return TICK_NON_FINITE
    if price_ticks <= 0:
        return TICK_NOT_POSITIVE
    return TICK_OK if price_ticks < PRICE_TICKS_LIMIT else TICK_OUT_OF_BOUNDS


@njit_inner
def judge_size(lots):
    """Return why this is not a size, or TICK_OK. Zero is one: a side that is known and empty."""
    return TICK_OK if 0 <= lots < QUANTITY_LOTS_LIMIT else TICK_OUT_OF_BOUNDS
