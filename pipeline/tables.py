"""Every row of state that outlives a process, on one screen. Each table has one writer; the others read copies.

Units as in `messages`: ticks, lots, nanoseconds, parts per million.
"""

import numpy as np

#: Risk's. One row for each strategy and instrument, at strategy * instrument_count + instrument.
POSITION = np.dtype(
    [
        ("quantity_lots", "i8"),  #: > 0 long, < 0 short
        ("cost_tick_lots", "i8"),  #: what the open quantity cost, signed like it
        ("realised_tick_lots", "i8"),  #: since the instance was made
        ("entry_ticks", "i8"),  #: price of the fill that opened it: the stops' E
        ("entry_ns", "i8"),  #: stream time of that fill
        ("generation", "i8"),  #: grows each time a position opens or flips
        ("working_buy_lots", "i8"),  #: ordered and not yet filled or ended
        ("working_sell_lots", "i8"),
        ("exit_lots", "i8"),  #: of those, ordered by stops
        ("fill_count", "i8"),
        ("bought_lots", "i8"),  #: all fills since the instance was made
        ("sold_lots", "i8"),
        ("strategy", "u4"),
        ("instrument", "u4"),
        ("reserved", "i8", (3,)),
    ],
    align=True,
)

#: Risk's. What a stop was set with, slot by slot: written while the slot is free, and left as it is until it is free again. So
#: one copy will do; the commit of the row in STOP, which lies beside it, says when it counts.
STOP_TERMS = np.dtype(
    [
        ("stop_id", "i8"),  #: never used again
        ("entry_ticks", "i8"),  #: E, in units of the watch
        ("entry_ns", "i8"),  #: armed from the first tick at which stream time is at or after it
        ("price_ticks", "i8"),  #: given level, or target of a take-profit, in units of the watch; 0 = none
        ("offset_ticks", "i8"),  #: trailing distance in units of the watch; 0 = none
        ("deadline_ns", "i8"),  #: TIME: stream time at which it fires
        ("position", "u4"),  #: row in the positions table
        ("instrument", "u4"),
        ("percent_ppm", "u4"),  #: distance; of ATR stops the one that holds until there is an ATR
        ("activation_ppm", "u4"),  #: profit at which it wakes; 0 = awake
        ("breakeven_ppm", "u4"),  #: profit from which its level is E at least; 0 = never
        ("atr_ppm", "u4"),  #: multiplier of the ATR times 10**6
        ("series", "u4"),  #: row in the ATR series
        ("fraction_ppm", "u4"),  #: share of the position that it exits; 0 = all
        ("limit_ticks", "u4"),  #: collar of its exit; 0 = market
        ("escalate_ms", "u4"),  #: stream time after which a limit exit becomes a market order
        ("generation", "u4"),  #: of the position it guards
        ("kind", "u1"),  #: messages.STATIC, ...
        ("watch", "u1"),  #: BID_ASK, LAST, MID
        ("side", "i1"),  #: LONG, SHORT
        ("reserved", "u1"),
    ],
    align=True,
)

#: Risk's. What becomes of a stop. Free slots have state FREE or ENDED and are used again.
STOP = np.dtype(
    [
        ("trigger_ns", "i8"),  #: stream time at which it fired
        ("trigger_ticks", "i8"),  #: watched price that fired it, in units of the watch
        ("trigger_level_ticks", "i8"),
        ("trigger_seq", "i8"),  #: ticks ring sequence of that tick
        ("retry_ns", "i8"),  #: stream time of the next attempt, or at which a limit exit becomes a market order
        ("attempt", "u2"),  #: exits sent so far: the number in the id of the last
        ("state", "u1"),  #: FREE, ARMED, TRIGGERED, ENDED
        ("owed", "u1"),  #: 1 = fired, and no exit of it works
        ("escalated", "u1"),  #: 1 = its limit exit was taken back, the next is a market order
        ("reason", "u1"),  #: TRIGGER_*
        ("reserved", "u2"),
    ],
    align=True,
)

#: Risk's. One ATR series (DESIGN section 7): what its closed bars amount to. Prices in half ticks.
SERIES = np.dtype(
    [
        ("bar_ns", "i8"),  #: length of a bar; 0 = the row is free
        ("previous_close", "i8"),
        ("bar_count", "i8"),  #: bars closed
        ("seed_sum", "i8"),  #: sum of the first `period` true ranges
        ("atr", "f8"),  #: from `period` bars on
        ("instrument", "u4"),
        ("period", "u4"),
        ("reserved", "i8", (2,)),
    ],
    align=True,
)

#: Risk's, hot: the open bar of a series, stored in place. Prices in half ticks.
BAR = np.dtype([("end_ns", "i8"), ("high", "i8"), ("low", "i8"), ("close", "i8")], align=True)  #: end_ns 0 = no tick yet

#: Risk's, hot: stored in place word by word, each tick. What a dead process left half done the same tick sets again.
MARK = np.dtype(
    [
        ("bid_ticks", "i8"),  #: 0 = not known
        ("ask_ticks", "i8"),
        ("last_ticks", "i8"),
        ("quote_ns", "i8"),  #: stream time of the last accepted quote
        ("trade_ns", "i8"),
        ("tick_seq", "i8"),  #: ticks ring sequence of the last tick reflected
        ("tick_recv_ns", "i8"),  #: monotonic
        ("tick_count", "i8"),
    ],
    align=True,
)

#: Ingest's: what hygiene remembers of an instrument, changed in place with an undo log (pipeline.ingest.hygiene). 0 = no price.
HYGIENE = np.dtype(
    [
        ("bid_ticks", "i8"),  #: last valid
        ("ask_ticks", "i8"),
        ("last_ticks", "i8"),
        ("bid_suspect_ticks", "i8"),  #: in quarantine: jumped, and neither confirmed nor dropped yet
        ("ask_suspect_ticks", "i8"),
        ("last_suspect_ticks", "i8"),
        ("quote_seq", "i8"),  #: venue sequence of the last quote seen, 0 = none
        ("trade_seq", "i8"),  #: of the last trade seen; negative = trades were lost, and no quote was accepted since
    ],
    align=True,
)

#: Rows that the undo log of hygiene holds: as many as ticks are judged at once.
HYGIENE_UNDO_MAX = 256

# ORDER_STATE states. SUBMITTING and CANCELLING are intents: the venue may or may not have heard of it yet.
ORDER_FREE, SUBMITTING, WORKING, DONE, CANCELLING = 0, 1, 2, 3, 4

#: Execution's. An order has its row until it is DONE and the row's turn comes again; rows are used in turn, in order of `seq`.
ORDER_STATE = np.dtype(
    [
        ("order_id", "i8"),
        ("seq", "i8"),  #: sequence in the orders ring
        ("quantity_lots", "i8"),
        ("filled_lots", "i8"),
        ("price_ticks", "i8"),  #: the limit, where it has one
        ("event_ns", "i8"),
        ("sent_ns", "i8"),  #: monotonic, when risk published it
        ("stop_id", "i8"),
        ("request_id", "i8"),
        ("generation", "i8"),
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("state", "u1"),
        ("order_type", "u1"),
        ("side", "i4"),
        ("flags", "u4"),
        ("reserved", "i8", (4,)),
    ],
    align=True,
)

# VENUE_ORDER states. VENUE_NONE is also what the venue answers about an order that it does not know.
VENUE_NONE, VENUE_OPEN, VENUE_FILLED, VENUE_CANCELLED = 0, 1, 2, 3

#: The paper venue's own record of orders. An order has its row until it has ended and the row's turn comes again.
VENUE_ORDER = np.dtype(
    [
        ("order_id", "i8"),  #: the client's id: a second order of the same id is refused
        ("place", "i8"),  #: how many orders came before it
        ("due_ns", "i8"),  #: stream time from which it may fill; never before that of an earlier order
        ("quantity_lots", "i8"),
        ("filled_lots", "i8"),
        ("price_ticks", "i8"),  #: the limit; 0 = a market order
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("state", "u1"),  #: VENUE_OPEN, ...
        ("order_type", "u1"),
        ("side", "i8"),
    ],
    align=True,
)

#: The paper venue's own record of fills, a ring; fill_id = its place + 1.
VENUE_FILL = np.dtype(
    [
        ("fill_id", "i8"),
        ("order_id", "i8"),
        ("event_ns", "i8"),
        ("quantity_lots", "i8"),
        ("price_ticks", "i8"),
        ("order_seq", "i8"),  #: the order's VENUE_ORDER place
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("last", "u2"),  #: 1 = the order is filled
        ("side", "i8"),
    ],
    align=True,
)

assert POSITION.itemsize == ORDER_STATE.itemsize == 128, "two cache lines"
assert (STOP_TERMS.itemsize, STOP.itemsize) == (96, 48), "a stop takes 256 bytes in all at most: 96 + 2 * 48 and its words"
assert SERIES.itemsize == MARK.itemsize == HYGIENE.itemsize == VENUE_ORDER.itemsize == VENUE_FILL.itemsize == 64, (
    "one cache line"
)
