"""Conflation: what is kept of a backlog when the ticks ring is full.

Four series of prices are what stops watch: of each instrument the bids, the asks and the mids of its quotes, and the prices of
its trades. Of a series are kept its lowest, its highest and its latest tick, and its turns. A fall is a high and a later, lower
price; it is a turn where no other fall of the series has a high at least as high together with a low at least as low. Rises
mirror falls. Bids keep their falls, for which the stops of LONG positions wait, asks their rises, mids and trades both. What
is kept stays in the order it came.

No trigger is conflated away: a stop that the whole backlog fires is fired by what is kept of it. Let the stop be of a LONG
position, and fired by the price p when h was the highest price of the backlog so far. Its level, and whether it is awake, rest
on what it knew before, or on h: it trails by a share or by an offset, h reached its activation, h brought its level to the
entry price. If p is below h, some turn has a high of h or more and after it a price of p or less: there the stop has seen as
much, and is crossed. If p is h itself, its level is older than the backlog: the lowest price crosses it, and the highest
reaches a target. (One whose level lies above its activation, no protection but an order at a price, may be passed over while
it wakes. Bars of an ATR are made of what is kept.)

A series that only rises or only falls keeps its two ends. There is no other bound: of 256 ticks of one instrument some 20 are
kept on a random walk, and some 80 in a steep and noisy trend. A backlog for which there is no room is halved until there is,
down to a single tick, which fits wherever anything does: no ring is too small.
"""

from pipeline.messages import QUOTE, TICK_OK, TRADE
from shm.jit import njit, njit_inner

# Tracks of an instrument: a series in one direction. A rise is followed as a fall of the negative prices.
BID_FALL, ASK_RISE, MID_FALL, MID_RISE, LAST_FALL, LAST_RISE = range(6)
TRACK_COUNT = 6
# Words of a track: the ticks with its highest price, its lowest and its latest, the low of its newest turn, and two prices.
HIGH, LOW, LATEST, TURN, HIGH_PRICE, LOW_PRICE = range(6)
TRACK_WORDS = 6
# Words of a link, at the tick that is a turn's low: the tick of its high, its price, and the low of the turn before it.
FROM, PRICE, BEFORE = range(3)
LINK_WORDS = 3
NONE = -1
#: What `keep` says of a tick.
DROPPED, KEPT = 0, 1


@njit
def choose(chunk, first, end, keep, tracks, links):
    """Mark which ticks of a backlog are kept.

    Args:
        chunk: TICK records whose flags are set; rejected ones are never kept.
        first: First tick of the backlog.
        end: The one after its last.
        keep: uint8, one per tick of the chunk, filled from first to end with DROPPED or KEPT.
        tracks: int64 (instruments, TRACK_COUNT, TRACK_WORDS), all NONE, and again when this returns.
        links: int64 (TRACK_COUNT, ticks of the chunk, LINK_WORDS), scratch.
    Returns:
        How many are kept.
    """
    for k in range(first, end):
        keep[k] = DROPPED
        tick = chunk[k]
        if tick["flags"] != TICK_OK:
            continue
        bid, ask = tick["a"], tick["b"]
        if tick["kind"] == QUOTE:
            of = tracks[tick["instrument"]]
            follow(of[BID_FALL], links[BID_FALL], bid, k)
            follow(of[ASK_RISE], links[ASK_RISE], -ask, k)
            follow(of[MID_FALL], links[MID_FALL], bid + ask, k)
            follow(of[MID_RISE], links[MID_RISE], -(bid + ask), k)
        elif tick["kind"] == TRADE:
            of = tracks[tick["instrument"]]
            follow(of[LAST_FALL], links[LAST_FALL], bid, k)
            follow(of[LAST_RISE], links[LAST_RISE], -bid, k)
        else:
            keep[k] = KEPT
    return collect(chunk, first, end, keep, tracks, links)


@njit_inner
def follow(track, links, price, k):
    """Take the price of tick k into a track; of equals the first stays.

    The turns are a stack: from the oldest to the newest both their highs and their lows rise. A new price is the low of a fall
    from the highest so far, and does away with every turn whose low is not below it, for their highs are not above that one.
    """
    track[LATEST] = k
    if track[HIGH] == NONE:
        track[HIGH], track[HIGH_PRICE], track[LOW], track[LOW_PRICE] = k, price, k, price
        return
    if price > track[HIGH_PRICE]:
        track[HIGH], track[HIGH_PRICE] = k, price
        return
    if price < track[LOW_PRICE]:
        track[LOW], track[LOW_PRICE] = k, price
    if price == track[HIGH_PRICE]:
        return
    turn = track[TURN]
    while turn != NONE and links[turn, PRICE] >= price:
        turn = links[turn, BEFORE]
    # A turn with a lower low from the same high is more than this one.
    if turn == NONE or links[turn, FROM] != track[HIGH]:
        links[k, FROM], links[k, PRICE], links[k, BEFORE] = track[HIGH], price, turn
        turn = k
    track[TURN] = turn


@njit_inner
def collect(chunk, first, end, keep, tracks, links):
    """Turn the tracks into marks, and clear them.

    Returns:
        How many ticks are marked.
    """
    kept = 0
    for k in range(first, end):
        tick = chunk[k]
        if tick["flags"] == TICK_OK and (tick["kind"] == QUOTE or tick["kind"] == TRADE):
            of = tracks[tick["instrument"]]
            for t in range(TRACK_COUNT):
                if of[t, HIGH] != NONE:
                    mark(of[t], links[t], keep)
    for k in range(first, end):
        kept += keep[k]
    return kept


@njit_inner
def mark(track, links, keep):
    """Mark what a track keeps, and clear it."""
    keep[track[HIGH]] = keep[track[LOW]] = keep[track[LATEST]] = KEPT
    turn = track[TURN]
    while turn != NONE:
        keep[turn] = keep[links[turn, FROM]] = KEPT
        turn = links[turn, BEFORE]
    for word in range(TRACK_WORDS):
        track[word] = NONE
