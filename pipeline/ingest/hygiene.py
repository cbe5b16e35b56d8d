"""What may not enter: each tick is judged before it is published, and a rejected one only moves time (DESIGN section 7).

Looked at in this order, and the first reason counts: event time; kind; instrument; venue sequence; prices, crossed, sizes;
stale (trades); jump. A tick that fails the first three leaves no trace. All others make their venue sequence the last one seen.

**Jumps.** Bid, ask and trade of an instrument are three series. Each has its last valid price V and may have a suspect S in
quarantine. A price p of the series is then one of these (near: at most max_jump_ppm away, of V or of S):

    p is near V, or there is no V yet   good: p becomes V, and S is dropped
    else p is near S                    confirmed: p becomes V, and S is dropped; S itself was never used
    else                                jumped: p takes the place of S, and the tick is TICK_QUARANTINED

A quote is two prices and one tick: it is used only where neither side has jumped. Where one has, neither V moves, for valid
prices come from accepted quotes alone; yet each side was seen, which decides about its quarantine: of a side that is good S is
dropped, of one that is confirmed or has jumped p takes the place of S, and is what the next quote must be near. What is
rejected for another reason (no price, crossed, no size, stale) decides nothing.

**Sequences.** Those above 0 only grow, for each instrument and kind: one that does not was seen already. Where the feed numbers
the trades of each instrument one by one (`numbered`), a trade whose number leaves some out shows that they were lost: that is a
gap, and from that trade on the instrument is stale. Its trades are TICK_STALE until a quote is accepted. An instrument that
never had one does not go stale, for nothing could end it. Numbers of quotes say nothing: Binance's skip by thousands.

All of this is state, and survives a kill at any instruction. A row is changed in place, after it was copied into an undo log:

    undo (int64)   0  position     of the feed before the batch that the log is about
                   1  count        rows that it holds
              2 + n  instrument    of the n-th, which stands behind all instruments, at n

The batch counts once FEED_POSITION has moved, in the transaction that publishes its ticks. Whoever begins a batch where the log
is about that very position finds one that never counted, of a dead process or of a backlog of which conflation took only a
part, and puts its rows back, the newest first; a kill while it does so changes nothing, for the next one does the same again.
(This is physical undo logging as in Gray & Reuter, "Transaction Processing", chapter 10. Two copies of each row, as positions
have them, cost half as much again: each tick would reach for two rows far apart, and here it reaches for one.)
"""

from typing import NamedTuple

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
    TICK_OLD_SEQUENCE,
    TICK_OUT_OF_BOUNDS,
    TICK_QUARANTINED,
    TICK_STALE,
    TICK_UNKNOWN_INSTRUMENT,
    TICK_UNKNOWN_KIND,
    TIMER,
    TRADE,
)
from shm.atomics import fence_release, store_relaxed
from shm.copy import copy_record
from shm.jit import njit_inner, njit_merged

#: Event times lie below this (year 2116), far from where sums of times would overflow.
EVENT_NS_LIMIT = 1 << 62
#: Jumps are judged in parts of this.
MILLION = 1_000_000

# What a price is to its series.
GOOD, CONFIRMED, JUMPED = 0, 1, 2
# Words of the undo log.
UNDO_POSITION, UNDO_COUNT, UNDO_ROWS = 0, 1, 2
# Private words of Hygiene: gaps that the batch showed.
GAPS = 0


class Hygiene(NamedTuple):
    """The state of the judge."""

    rows: np.ndarray  #: HYGIENE of each instrument, and behind them those of the undo log
    undo: np.ndarray  #: int64 words of the log
    words: np.ndarray  #: private int64
    instrument_count: int
    max_jump_ppm: int  #: 0 = nothing jumps
    numbered: bool  #: whether the feed numbers the trades of each instrument one by one


@njit_merged
def begin_batch(hygiene, position):
    """Begin to judge the ticks behind a position of the feed; what an earlier batch from there has done is undone.

    Args:
        hygiene: Hygiene.
        position: FEED_POSITION.
    """
    undo = hygiene.undo
    if undo[UNDO_POSITION] == position:
        roll_back(hygiene)
    # The log is empty before it is about this position, or a kill in between would have rows put back that count.
    store_relaxed(undo, UNDO_COUNT, 0)
    fence_release()
    store_relaxed(undo, UNDO_POSITION, position)
    hygiene.words[GAPS] = 0


@njit_inner
def roll_back(hygiene):
    """Put back every row of the log, the newest first: of a row that is there twice the older one is what it was."""
    for n in range(hygiene.undo[UNDO_COUNT] - 1, -1, -1):
        copy_record(hygiene.rows, hygiene.undo[UNDO_ROWS + n], hygiene.instrument_count + n)
    fence_release()


@njit_merged
def judge(hygiene, tick):
    """Return the reason for which a tick is rejected, or TICK_OK.

    Args:
        hygiene: Hygiene, in a batch.
        tick: TICK, the next of the batch, read only.
    """
    if tick["event_ns"] <= 0 or tick["event_ns"] >= EVENT_NS_LIMIT:
        return TICK_BAD_TIME
    kind = np.int64(tick["kind"])
    if kind == TIMER or kind == STATUS:
        return TICK_OK
    if kind != QUOTE and kind != TRADE:
        return TICK_UNKNOWN_KIND
    instrument = np.int64(tick["instrument"])
    if instrument >= hygiene.instrument_count:
        return TICK_UNKNOWN_INSTRUMENT
    row = edit(hygiene, instrument)
    if kind == QUOTE:
        return judge_quote(hygiene, row, tick)
    return judge_trade(hygiene, row, tick)


@njit_merged
def edit(hygiene, instrument):
    """Return an instrument's row, to be changed: as it is, it is in the log."""
    undo = hygiene.undo
    count = undo[UNDO_COUNT]
    copy_record(hygiene.rows, hygiene.instrument_count + count, instrument)
    undo[UNDO_ROWS + count] = instrument
    fence_release()
    store_relaxed(undo, UNDO_COUNT, count + 1)
    fence_release()
    return hygiene.rows[instrument]


@njit_merged
def judge_quote(hygiene, row, tick):
    """Return the reason for which a quote is rejected, or TICK_OK; `row` then has its prices."""
    seq, bid, ask = tick["venue_seq"], tick["a"], tick["b"]
    if seq > 0:
        if seq <= row["quote_seq"]:
            return TICK_OLD_SEQUENCE
        row["quote_seq"] = seq
    reason = judge_price(bid)
    if reason == TICK_OK:
        reason = judge_price(ask)
    if reason == TICK_OK and bid > ask:
        reason = TICK_CROSSED
    if reason == TICK_OK:
        reason = judge_size(tick["c"])
    if reason == TICK_OK:
        reason = judge_size(tick["d"])
    if reason != TICK_OK:
        return reason
    bid_is = weigh(bid, row["bid_ticks"], row["bid_suspect_ticks"], hygiene.max_jump_ppm)
    ask_is = weigh(ask, row["ask_ticks"], row["ask_suspect_ticks"], hygiene.max_jump_ppm)
    if bid_is == JUMPED or ask_is == JUMPED:
        row["bid_suspect_ticks"] = 0 if bid_is == GOOD else bid
        row["ask_suspect_ticks"] = 0 if ask_is == GOOD else ask
        return TICK_QUARANTINED
    row["bid_ticks"], row["ask_ticks"] = bid, ask
    row["bid_suspect_ticks"], row["ask_suspect_ticks"] = 0, 0
    if row["trade_seq"] < 0:
        row["trade_seq"] = -row["trade_seq"]
    return TICK_OK


@njit_merged
def judge_trade(hygiene, row, tick):
    """Return the reason for which a trade is rejected, or TICK_OK; `row` then has its price."""
    price, stale = tick["a"], row["trade_seq"] < 0
    if tick["venue_seq"] > 0:
        last_seq = -row["trade_seq"] if stale else row["trade_seq"]
        if tick["venue_seq"] <= last_seq:
            return TICK_OLD_SEQUENCE
        if hygiene.numbered and last_seq > 0 and tick["venue_seq"] - last_seq > 1:
            hygiene.words[GAPS] += 1
            stale = stale or row["bid_ticks"] > 0
        row["trade_seq"] = -tick["venue_seq"] if stale else tick["venue_seq"]
    reason = judge_price(price)
    if reason == TICK_OK:
        reason = judge_size(tick["b"])
    if reason == TICK_OK and stale:
        reason = TICK_STALE
    if reason != TICK_OK:
        return reason
    if weigh(price, row["last_ticks"], row["last_suspect_ticks"], hygiene.max_jump_ppm) == JUMPED:
        row["last_suspect_ticks"] = price
        return TICK_QUARANTINED
    row["last_ticks"], row["last_suspect_ticks"] = price, 0
    return TICK_OK


@njit_inner
def weigh(price_ticks, valid_ticks, suspect_ticks, max_jump_ppm):
    """Return what a price is to its series: GOOD, CONFIRMED or JUMPED.

    Args:
        price_ticks: A price.
        valid_ticks: The last valid one; 0 = none yet.
        suspect_ticks: The one in quarantine; 0 = none.
        max_jump_ppm: Farthest that a good price may be; 0 = any.
    Bounds:
        Prices lie below 2**42 and max_jump_ppm at most at 10**6 < 2**20: both products are below 2**62.
    """
    if valid_ticks == 0 or max_jump_ppm == 0 or abs(price_ticks - valid_ticks) * MILLION <= valid_ticks * max_jump_ppm:
        return GOOD
    # Nothing is near no suspect, which is 0: the price itself times a million is more than nothing.
    return CONFIRMED if abs(price_ticks - suspect_ticks) * MILLION <= suspect_ticks * max_jump_ppm else JUMPED


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
