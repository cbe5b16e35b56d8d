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

#: Risk's. Free rows have state FREE and are used again; ids never are.
STOP = np.dtype(
    [
        ("stop_id", "i8"),
        ("generation", "i8"),  #: of the position it guards
        ("entry_ticks", "i8"),  #: E
        ("entry_ns", "i8"),  #: armed from the first tick at or after it
        ("percent_ppm", "i8"),
        ("level_ticks", "i8"),  #: level when armed
        ("trigger_ns", "i8"),  #: stream time at which it fired
        ("trigger_ticks", "i8"),  #: watched price that fired it
        ("trigger_level_ticks", "i8"),
        ("trigger_seq", "i8"),  #: ticks ring sequence of that tick
        ("order_id", "i8"),  #: its last exit order; 0 = none
        ("retry_ns", "i8"),  #: stream time of the next attempt, where one is owed
        ("position", "u4"),  #: row in the positions table
        ("instrument", "u4"),
        ("kind", "u1"),  #: messages.STATIC, ...
        ("state", "u1"),  #: FREE, ARMED, TRIGGERED, ENDED
        ("watch", "u1"),  #: BID_ASK, LAST, MID
        ("owed", "u1"),  #: 1 = fired, and no exit of it works
        ("attempt", "u2"),  #: exits sent so far
        ("strategy", "u2"),
        ("side", "i8"),  #: LONG, SHORT
        ("reserved", "i8"),
    ],
    align=True,
)

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

# ORDER_STATE states. SUBMITTING is the intent: the venue may or may not know the order yet.
ORDER_FREE, SUBMITTING, WORKING, DONE = 0, 1, 2, 3

#: Execution's. The order of orders ring sequence s has row s & (count - 1).
ORDER_STATE = np.dtype(
    [
        ("order_id", "i8"),
        ("seq", "i8"),  #: sequence in the orders ring
        ("quantity_lots", "i8"),
        ("filled_lots", "i8"),
        ("price_ticks", "i8"),
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

#: The paper venue's own record of orders, a ring by arrival.
VENUE_ORDER = np.dtype(
    [
        ("order_id", "i8"),  #: the client's id: a second order of the same id is refused
        ("due_ns", "i8"),  #: stream time from which it may fill
        ("quantity_lots", "i8"),
        ("filled_lots", "i8"),
        ("stop_id", "i8"),
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("open", "u2"),  #: 1 while it works
        ("side", "i8"),
        ("reserved", "i8"),
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
        ("order_seq", "i8"),  #: place of the order in the venue's record
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("last", "u2"),  #: 1 = the order is filled
        ("side", "i8"),
    ],
    align=True,
)

assert POSITION.itemsize == STOP.itemsize == ORDER_STATE.itemsize == 128, "two cache lines"
assert MARK.itemsize == HYGIENE.itemsize == VENUE_ORDER.itemsize == VENUE_FILL.itemsize == 64, "one cache line"
