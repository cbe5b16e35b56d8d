"""Conflation: what is kept of a backlog when the ticks ring is full.

Of each instrument the quotes with the lowest and highest bid, the lowest and highest ask, and the latest; the two between which
the bid fell by the largest share, and the two between which the ask rose by the largest; the trades with the lowest and highest
price, and the latest; all in the order they came. A spike that touches a stop, and one that would have moved a trailing stop,
are never conflated away; nor is a fall from a new high that crosses a trailing stop but not the range's low. (DESIGN section 3
asks for lowest, highest and latest; a quote has two sides, and a trailing stop remembers.)
"""

import numpy as np

from pipeline.messages import QUOTE, TICK_OK, TRADE
from shm.jit import njit, njit_inner

# Places in a row of `picks`: the tick that is best so far by each measure.
BID_LOW, BID_HIGH, ASK_LOW, ASK_HIGH, QUOTE_LAST, TRADE_LOW, TRADE_HIGH, TRADE_LAST = range(8)
FALL_FROM, FALL_TO, RISE_FROM, RISE_TO = range(8, 12)
PICK_COUNT = 12
NONE = -1
LOW_BITS = (1 << 21) - 1
#: What `keep` says of a tick.
DROPPED, KEPT = 0, 1


@njit
def choose(chunk, first, end, keep, picks):
    """Mark which ticks of a backlog are kept.

    Args:
        chunk: TICK records whose flags are set; rejected ones are never kept.
        first: First tick of the backlog.
        end: The one after its last.
        keep: uint8, one per tick of the chunk, filled from first to end with DROPPED or KEPT.
        picks: int64 (instruments, PICK_COUNT), all NONE, and again when this returns.
    Returns:
        How many are kept.
    """
    for k in range(first, end):
        keep[k] = DROPPED
        tick = chunk[k]
        if tick["flags"] != TICK_OK:
            continue
        if tick["kind"] == QUOTE:
            best = picks[np.int64(tick["instrument"])]
            lowest(chunk, best, BID_LOW, "a", k)
            highest(chunk, best, BID_HIGH, "a", k)
            lowest(chunk, best, ASK_LOW, "b", k)
            highest(chunk, best, ASK_HIGH, "b", k)
            best[QUOTE_LAST] = k
            deepest_fall(chunk, best, k)
            steepest_rise(chunk, best, k)
        elif tick["kind"] == TRADE:
            best = picks[np.int64(tick["instrument"])]
            lowest(chunk, best, TRADE_LOW, "a", k)
            highest(chunk, best, TRADE_HIGH, "a", k)
            best[TRADE_LAST] = k
        else:
            keep[k] = KEPT
    return collect(chunk, first, end, keep, picks)


@njit_inner
def lowest(chunk, best, place, field, k):
    """Let tick k take a place if its price is lower; of equals the first stays."""
    if best[place] == NONE or chunk[k][field] < chunk[best[place]][field]:
        best[place] = k


@njit_inner
def highest(chunk, best, place, field, k):
    """Let tick k take a place if its price is higher; of equals the first stays."""
    if best[place] == NONE or chunk[k][field] > chunk[best[place]][field]:
        best[place] = k


@njit_inner
def deepest_fall(chunk, best, k):
    """Note the fall of the bid from its highest so far to tick k where none before it lost as large a share."""
    bid, high = chunk[k]["a"], chunk[best[BID_HIGH]]["a"]
    if bid < high and (
        best[FALL_TO] == NONE or is_product_less(bid, chunk[best[FALL_FROM]]["a"], chunk[best[FALL_TO]]["a"], high)
    ):
        best[FALL_FROM], best[FALL_TO] = best[BID_HIGH], k


@njit_inner
def steepest_rise(chunk, best, k):
    """Note the rise of the ask from its lowest so far to tick k where none before it gained as large a share."""
    ask, low = chunk[k]["b"], chunk[best[ASK_LOW]]["b"]
    if ask > low and (
        best[RISE_TO] == NONE or is_product_less(chunk[best[RISE_TO]]["b"], low, ask, chunk[best[RISE_FROM]]["b"])
    ):
        best[RISE_FROM], best[RISE_TO] = best[ASK_LOW], k


@njit
def is_product_less(a, b, c, d):
    """Tell whether a * b < c * d, exactly.

    Bounds:
        All are prices, 0 < price < 2**42: each product has up to 84 bits, kept as its lowest 21 and the rest.
    """
    low, other_low = (a & LOW_BITS) * b, (c & LOW_BITS) * d
    high, other_high = (a >> 21) * b + (low >> 21), (c >> 21) * d + (other_low >> 21)
    return high < other_high or (high == other_high and (low & LOW_BITS) < (other_low & LOW_BITS))


@njit_inner
def collect(chunk, first, end, keep, picks):
    """Turn the picks into marks, and clear them."""
    for k in range(first, end):
        tick = chunk[k]
        if tick["flags"] == TICK_OK and (tick["kind"] == QUOTE or tick["kind"] == TRADE):
            best = picks[np.int64(tick["instrument"])]
            for place in range(PICK_COUNT):
                if best[place] != NONE:
                    keep[best[place]] = KEPT
                    best[place] = NONE
    kept = 0
    for k in range(first, end):
        kept += keep[k]
    return kept
