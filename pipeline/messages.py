"""Every record that crosses a ring, on one screen.

Prices are int64 ticks of the instrument's tick size, quantities int64 lots, time int64 nanoseconds
(DESIGN section 6). `event_ns` is the venue's clock (UTC); `recv_ns` and `sent_ns` are CLOCK_MONOTONIC.
All records are naturally aligned and a multiple of 8 bytes, so that each is also a row of int64 words.
"""

import numpy as np

# TICK kinds.
QUOTE, TRADE, TIMER, STATUS = 1, 2, 3, 4

# Sides, of orders and of positions. A LONG position is left by a SELL.
BUY, SELL = 1, -1
LONG, SHORT = 1, -1

# Bounds held at decode (DESIGN section 6): what is beyond them never enters a kernel.
PRICE_TICKS_LIMIT = 1 << 42
QUANTITY_LOTS_LIMIT = 1 << 40
PRODUCT_LIMIT = 1 << 62

# Reasons for which hygiene rejects a tick, in TICK "flags". 0 = accepted. A rejected tick stays in the stream: it
# moves time, and nothing else.
TICK_OK, TICK_NON_FINITE, TICK_NOT_POSITIVE, TICK_OUT_OF_BOUNDS, TICK_CROSSED = 0, 1, 2, 3, 4
TICK_UNKNOWN_INSTRUMENT, TICK_UNKNOWN_KIND, TICK_BAD_TIME = 5, 6, 7
TICK_REASONS = (
    "accepted", "non_finite", "not_positive", "out_of_bounds", "crossed", "unknown_instrument", "unknown_kind", "bad_time",
)  # fmt: skip

#: What a decoder writes for a price that is not finite: no real price, and hygiene counts it as such.
NON_FINITE = -(1 << 63)

TICK = np.dtype(
    [
        ("event_ns", "i8"),  #: venue's clock, UTC
        ("recv_ns", "i8"),  #: our monotonic clock; a recording keeps its local UTC stamp here
        ("venue_seq", "i8"),  #: venue's own sequence of this stream, 0 = none
        ("instrument", "u4"),  #: index into the instruments table
        ("kind", "u1"),  #: QUOTE, TRADE, TIMER, STATUS
        ("flags", "u1"),  #: TICK_* reason, 0 = accepted
        ("venue", "u2"),  #: venue or exchange code
        ("a", "i8"),  #: QUOTE bid, TRADE price (ticks)
        ("b", "i8"),  #: QUOTE ask (ticks), TRADE size (lots)
        ("c", "i8"),  #: QUOTE bid size (lots), TRADE trade id
        ("d", "i8"),  #: QUOTE ask size (lots), TRADE conditions (bits)
    ],
    align=True,
)

# Names of TICK's four last fields by kind, for people and tables.
BID, ASK, BID_SIZE, ASK_SIZE = "a", "b", "c", "d"
PRICE, SIZE, TRADE_ID, CONDITIONS = "a", "b", "c", "d"

# REQUEST kinds: what a strategy may ask.
SUBMIT = 1

# Order types.
MARKET, LIMIT = 1, 2

REQUEST = np.dtype(
    [
        ("request_id", "i8"),  #: the client's own number, grows by one
        ("sent_ns", "i8"),  #: monotonic, when the client sent it
        ("instrument", "u4"),
        ("strategy", "u2"),  #: the strategy's slot
        ("kind", "u1"),  #: SUBMIT, ...
        ("order_type", "u1"),  #: MARKET, LIMIT
        ("side", "i8"),  #: BUY, SELL
        ("quantity_lots", "i8"),
        ("price_ticks", "i8"),  #: LIMIT only
        ("reserved", "i8", (2,)),
    ],
    align=True,
)

# ORDER kinds.
NEW = 1
# ORDER and REPORT flags.
REDUCE_ONLY, EXIT = 1, 2

ORDER = np.dtype(
    [
        ("order_id", "i8"),  #: deterministic, see risk.order_ids
        ("event_ns", "i8"),  #: stream time of the decision
        ("tick_recv_ns", "i8"),  #: monotonic receipt of the tick (or request) that caused it
        ("sent_ns", "i8"),  #: monotonic, when risk published it
        ("quantity_lots", "i8"),  #: > 0
        ("price_ticks", "i8"),  #: LIMIT only
        ("reference_ticks", "i8"),  #: EXIT: the watched price that fired the stop; else the mark at the check
        ("stop_id", "i8"),  #: EXIT: the stop; else 0
        ("request_id", "i8"),  #: the client's request; 0 for an exit
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("kind", "u1"),  #: NEW
        ("order_type", "u1"),  #: MARKET, LIMIT
        ("side", "i4"),  #: BUY, SELL
        ("flags", "u4"),  #: REDUCE_ONLY, EXIT
        ("generation", "i8"),  #: of the position it is for
        ("tick_seq", "i8"),  #: sequence in the ticks ring of the cause; -1 for a request
        ("reserved", "i8", (3,)),
    ],
    align=True,
)

# REPORT kinds. The first five end with a venue's word; REFUSED is risk's own, before any venue saw the order.
ACCEPTED, FILLED, PARTIALLY_FILLED, REJECTED, CANCELLED = 1, 2, 3, 4, 5
REPORT_NAMES = ("none", "accepted", "filled", "partially_filled", "rejected", "cancelled")

# Reasons of a REJECTED report or of a refused request.
REASON_NONE, REJECT_UNKNOWN_INSTRUMENT, REJECT_NO_MARKET, REJECT_QUANTITY, REJECT_NOTIONAL = 0, 1, 2, 3, 4
REJECT_POSITION_LIMIT, REJECT_ENTRIES_BLOCKED, REJECT_EXIT_WORKING, REJECT_ORDER_TYPE = 5, 6, 7, 8
REJECT_BAD_REQUEST, REJECT_NO_ROOM, REJECT_DUPLICATE, REJECT_NO_LIMIT = 9, 10, 11, 12
REJECT_REASONS = (
    "none", "unknown_instrument", "no_market", "quantity", "notional", "position_limit", "entries_blocked", "exit_working",
    "order_type", "bad_request", "no_room", "duplicate", "no_limit",
)  # fmt: skip

REPORT = np.dtype(
    [
        ("order_id", "i8"),
        ("event_ns", "i8"),  #: stream time of what it reports
        ("sent_ns", "i8"),  #: monotonic, when execution published it
        ("order_sent_ns", "i8"),  #: monotonic, when risk published the order
        ("fill_id", "i8"),  #: venue's number of the fill, grows; 0 = no fill
        ("quantity_lots", "i8"),  #: of this fill, or of the order where it is no fill
        ("price_ticks", "i8"),  #: of this fill
        ("left_lots", "i8"),  #: still working after this report
        ("stop_id", "i8"),
        ("request_id", "i8"),
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("kind", "u1"),  #: ACCEPTED, FILLED, ...
        ("reason", "u1"),  #: REJECT_*
        ("side", "i4"),
        ("flags", "u4"),
        ("generation", "i8"),
        ("reserved", "i8", (3,)),
    ],
    align=True,
)

# EVENT kinds: what changed state for good.
STOP_ARMED, STOP_TRIGGERED, STOP_ENDED, STOP_OWED = 1, 2, 3, 4
REQUEST_REFUSED, STATE_CHANGED = 5, 6
EVENT_NAMES = ("none", "stop_armed", "stop_triggered", "stop_ended", "stop_owed", "request_refused", "state_changed")

# Stop kinds and states.
STATIC, TRAILING, ATR, CHANDELIER, TIME = 1, 2, 3, 4, 5
STOP_KIND_NAMES = ("none", "static", "trailing", "atr", "chandelier", "time")
FREE, ARMED, TRIGGERED, ENDED = 0, 1, 2, 3
STOP_STATE_NAMES = ("free", "armed", "triggered", "ended")

# Which price a stop watches.
BID_ASK, LAST, MID = 0, 1, 2

# Why a stop ended.
END_POSITION_FLAT, END_EXIT_FILLED, END_REPLACED = 1, 2, 3
END_REASONS = ("none", "position_flat", "exit_filled", "replaced")

EVENT = np.dtype(
    [
        ("event_id", "i8"),  #: grows by one for each writer
        ("event_ns", "i8"),  #: stream time
        ("sent_ns", "i8"),  #: monotonic
        ("stop_id", "i8"),
        ("order_id", "i8"),  #: the exit, where there is one
        ("price_ticks", "i8"),  #: armed: entry price; triggered: watched price
        ("level_ticks", "i8"),  #: the stop's level at that moment
        ("quantity_lots", "i8"),
        ("tick_seq", "i8"),  #: ticks ring sequence: triggered: of the tick; armed, ended: of the next tick; -1 = none
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("kind", "u1"),  #: STOP_ARMED, ...
        ("stop_kind", "u1"),  #: STATIC, ...
        ("side", "i4"),  #: of the position
        ("reason", "u4"),  #: END_*, or REJECT_* of a refused request
        ("request_id", "i8"),
        ("generation", "i8"),
        ("reserved", "i8", (3,)),
    ],
    align=True,
)

assert TICK.itemsize == 64, "a tick is one cache line: two share none, and one load brings it"
assert REQUEST.itemsize == 64, "a request is one cache line"
assert ORDER.itemsize == REPORT.itemsize == EVENT.itemsize == 128, "two cache lines, one prefetch pair"
