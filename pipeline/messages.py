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
# A price that jumped and waits for the next to confirm it; a venue sequence already seen; a trade between a gap in the
# venue's sequence and the next full quote.
TICK_QUARANTINED, TICK_OLD_SEQUENCE, TICK_STALE = 8, 9, 10
TICK_REASONS = (
    "accepted", "non_finite", "not_positive", "out_of_bounds", "crossed", "unknown_instrument", "unknown_kind", "bad_time",
    "quarantined", "old_sequence", "stale",
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

# REQUEST kinds: what a strategy may ask for itself, and a person at the control socket for any of them.
SUBMIT, SET_STOP, MOVE_STOP, CANCEL_STOP, CANCEL_ORDER = 1, 2, 3, 4, 5
# Of a scope: the account, a strategy or an instrument. CANCEL_ALL takes back its working orders, FLATTEN leaves its positions
# as well, SET_STATE changes its trading state, SET_LIMIT one of its limits. A strategy may only tighten, and its own scope,
# except that any may kill the account.
CANCEL_ALL, SET_STATE, SET_LIMIT, FLATTEN = 6, 7, 8, 9
REQUEST_NAMES = (
    "none", "submit", "set_stop", "move_stop", "cancel_stop", "cancel_order", "cancel_all", "set_state", "set_limit", "flatten",
)  # fmt: skip
# REQUEST flags. FIRE_NOW: a stop that is crossed when it is set fires at once instead of being refused. AND_FLATTEN: SET_STATE
# to KILLED leaves the positions as well.
FIRE_NOW, AND_FLATTEN = 1, 2

# Trading states of a scope; the strictest of account, strategy and instrument counts. REDUCING lets out only what makes a
# position smaller, HALTED only exits of stops, KILLED nothing but cancels and the exits of a flattening.
ACTIVE, REDUCING, HALTED, KILLED = 0, 1, 2, 3
TRADING_STATES = ("active", "reducing", "halted", "killed")

# Why a trading state changed: a person, a strategy, or the circuit breaker by one of its limits.
BY_PERSON, BY_STRATEGY, BY_DAILY_LOSS, BY_WEEKLY_LOSS, BY_DRAWDOWN, BY_LOSSES, BY_TRADES, BY_REJECTS, BY_COOLDOWN = range(1, 10)
STATE_REASONS = (
    "none", "person", "strategy", "daily_loss", "weekly_loss", "drawdown", "consecutive_losses", "trades_per_day",
    "reject_rate", "cooldown_over",
)  # fmt: skip

# Order types.
MARKET, LIMIT = 1, 2

REQUEST = np.dtype(
    [
        ("request_id", "i8"),  #: the client's own number, grows by one
        ("sent_ns", "i8"),  #: monotonic, when the client sent it
        ("instrument", "u4"),
        ("strategy", "u2"),  #: the slot whose position or stop it is about; in a strategy's own ring always its own
        ("kind", "u1"),  #: SUBMIT, ...
        ("order_type", "u1"),  #: MARKET, LIMIT
        ("side", "i8"),  #: BUY, SELL
        ("quantity_lots", "i8"),
        ("price_ticks", "i8"),  #: LIMIT: of the order; SET_STOP, MOVE_STOP: the stop's price in units of its watch; 0 = none
        ("stop_id", "i8"),  #: MOVE_STOP, CANCEL_STOP
        ("offset_ticks", "i8"),  #: stops: trailing distance in units of the watch; 0 = none
        ("holding_ns", "i8"),  #: time stops: longest holding, from the position's entry
        ("percent_ppm", "u4"),  #: stops: distance; 0 = none
        ("activation_ppm", "u4"),  #: profit at which the stop wakes; 0 = awake from the start
        ("breakeven_ppm", "u4"),  #: profit from which the level is at least the entry price; 0 = never
        ("atr_ppm", "u4"),  #: multiplier of the ATR times 10**6
        ("atr_period", "u4"),  #: bars; 0 = the configured one
        ("bar_seconds", "u4"),  #: 0 = the configured ones
        ("fraction_ppm", "u4"),  #: share of the position that the stop exits; 0 = all of it
        ("limit_ticks", "u4"),  #: collar of a limit exit, ticks beyond the price that fired it; 0 = market
        ("escalate_ms", "u4"),  #: stream time after which a limit exit becomes a market order
        ("stop_kind", "u1"),  #: STATIC, ...
        ("watch", "u1"),  #: BID_ASK, LAST, MID
        ("flags", "u2"),  #: FIRE_NOW, AND_FLATTEN
        ("value", "i8"),  #: CANCEL_ORDER: the order's id; SET_STATE: ACTIVE, ...; SET_LIMIT: the limit (tables.LIMITS)
        ("scope", "u4"),  #: CANCEL_ALL, SET_STATE, SET_LIMIT, FLATTEN: topology.ACCOUNT, scope_of_strategy, scope_of_instrument
        ("limit_id", "u4"),  #: SET_LIMIT: place of the field in tables.LIMITS
    ],
    align=True,
)

# ORDER kinds. CANCEL names the order that it takes back by its id; a cancel has no id of its own, and twice is as once.
NEW, CANCEL = 1, 2
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
        ("reference_ticks", "i8"),  #: EXIT: the price that fired the stop, of a mid the whole ticks; else the mark at the check
        ("stop_id", "i8"),  #: EXIT: the stop; else 0
        ("request_id", "i8"),  #: the client's request; 0 for an exit
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("kind", "u1"),  #: NEW, CANCEL
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
# Of stops, and of what has gone stale.
REJECT_NO_POSITION, REJECT_NO_STOP, REJECT_STOP_CROSSED, REJECT_STOP_PERCENT = 13, 14, 15, 16
REJECT_STOP_TERMS, REJECT_STOP_TABLE_FULL, REJECT_LAST_STOP, REJECT_STALE, REJECT_UNKNOWN_ORDER = 17, 18, 19, 20, 21
# Of trading states and times.
REJECT_RESTRICTED, REJECT_REDUCING, REJECT_HALTED, REJECT_KILLED, REJECT_FLATTENING = 22, 23, 24, 25, 26
REJECT_SESSION, REJECT_BLACKOUT, REJECT_NOT_ALLOWED = 27, 28, 29
# Of limits: the event says which scope's, its value and the limit.
REJECT_MIN_QUANTITY, REJECT_MIN_NOTIONAL, REJECT_PRICE_COLLAR, REJECT_OPEN_POSITIONS, REJECT_CONCENTRATION = 30, 31, 32, 33, 34
REJECT_GROSS_EXPOSURE, REJECT_NET_EXPOSURE, REJECT_BUYING_POWER, REJECT_DAILY_LOSS, REJECT_WEEKLY_LOSS = 35, 36, 37, 38, 39
REJECT_DRAWDOWN, REJECT_ORDER_RATE, REJECT_SAME_ORDER, REJECT_EXECUTIONS, REJECT_VOLATILITY = 40, 41, 42, 43, 44
REJECT_REASONS = (
    "none", "unknown_instrument", "no_market", "quantity", "notional", "position_limit", "entries_blocked", "exit_working",
    "order_type", "bad_request", "no_room", "duplicate", "no_limit", "no_position", "no_stop", "stop_crossed", "stop_percent",
    "stop_terms", "stop_table_full", "last_stop", "stale", "unknown_order", "restricted", "reducing", "halted", "killed",
    "flattening", "session", "blackout", "not_allowed", "min_quantity", "min_notional", "price_collar", "open_positions",
    "concentration", "gross_exposure", "net_exposure", "buying_power", "daily_loss", "weekly_loss", "drawdown", "order_rate",
    "same_order", "executions", "volatility",
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
        ("fee_units", "i8"),  #: of this fill, in money units of the account (pipeline.money); a rebate is negative
        ("reserved", "i8", (2,)),
    ],
    align=True,
)

# EVENT kinds: what changed state for good.
STOP_ARMED, STOP_TRIGGERED, STOP_ENDED, STOP_OWED = 1, 2, 3, 4
REQUEST_REFUSED, STATE_CHANGED, STOP_MOVED = 5, 6, 7
# REQUEST_DONE answers CANCEL_ORDER, CANCEL_ALL and FLATTEN: its `value` tells how many orders or positions that concerns.
LIMIT_CHANGED, REQUEST_DONE = 8, 9
EVENT_NAMES = (
    "none", "stop_armed", "stop_triggered", "stop_ended", "stop_owed", "request_refused", "state_changed", "stop_moved",
    "limit_changed", "request_done",
)  # fmt: skip

# Stop kinds and states.
STATIC, TRAILING, ATR, CHANDELIER, TIME, TAKE_PROFIT = 1, 2, 3, 4, 5, 6
STOP_KIND_NAMES = ("none", "static", "trailing", "atr", "chandelier", "time", "take_profit")
FREE, ARMED, TRIGGERED, ENDED = 0, 1, 2, 3
STOP_STATE_NAMES = ("free", "armed", "triggered", "ended")

# Which price a stop watches. MID counts in half ticks throughout: E, levels, extremes and triggers are bid + ask.
BID_ASK, LAST, MID = 0, 1, 2
WATCH_NAMES = ("bid_ask", "last", "mid")

# Why a stop fired: its level, its target, its deadline, a market gone stale, or at once because it was set beyond the price.
# Or a person, or a strategy, had its position flattened.
TRIGGER_LEVEL, TRIGGER_TARGET, TRIGGER_DEADLINE, TRIGGER_STALE, TRIGGER_NOW, TRIGGER_FLATTEN = 1, 2, 3, 4, 5, 6
TRIGGER_REASONS = ("none", "level", "target", "deadline", "stale", "fire_now", "flatten")

# Why a stop ended.
END_POSITION_FLAT, END_EXIT_FILLED, END_CANCELLED = 1, 2, 3
END_REASONS = ("none", "position_flat", "exit_filled", "cancelled")

EVENT = np.dtype(
    [
        ("event_id", "i8"),  #: grows by one for each writer
        ("event_ns", "i8"),  #: stream time
        ("sent_ns", "i8"),  #: monotonic
        ("stop_id", "i8"),
        ("order_id", "i8"),  #: the exit, where there is one
        ("price_ticks", "i8"),  #: armed: entry price; triggered: watched price, 0 = none known; in units of the watch
        ("level_ticks", "i8"),  #: the stop's level (or target) at that moment, in units of the watch; 0 = none
        ("quantity_lots", "i8"),
        ("tick_seq", "i8"),  #: ticks ring sequence: triggered: of the tick; armed, ended: of the next tick; -1 = none
        ("instrument", "u4"),
        ("strategy", "u2"),
        ("kind", "u1"),  #: STOP_ARMED, ...
        ("stop_kind", "u1"),  #: STATIC, ...
        ("side", "i4"),  #: of the position
        ("reason", "u4"),  #: END_*, TRIGGER_*, REJECT_* of a refused request, BY_* of a changed state
        ("request_id", "i8"),  #: of the request that caused it, 0 = none
        ("generation", "i8"),
        ("watch", "u1"),  #: BID_ASK, LAST, MID: MID counts in half ticks
        ("requester", "u1"),  #: whose requests ring `request_id` numbers: a strategy's slot, or the number of slots for control
        ("state", "u1"),  #: STATE_CHANGED: ACTIVE, ...
        ("limit_id", "u1"),  #: LIMIT_CHANGED, and a request refused by a limit: place of the field in tables.LIMITS
        ("scope", "u4"),  #: STATE_CHANGED, LIMIT_CHANGED, REQUEST_DONE, and a request refused by a limit or a state: whose
        ("value", "i8"),  #: refused, or breaker: what was found; LIMIT_CHANGED: the limit before
        ("limit", "i8"),  #: refused, or breaker: what is allowed; LIMIT_CHANGED: the limit now
    ],
    align=True,
)

#: Who ordered what, written by the supervisor for the record; a request with this number is in the ring requests.control.
NOTE = np.dtype(
    [
        ("utc_ns", "i8"),  #: our clock
        ("request_id", "i8"),  #: of the control ring; 0 = it never became a request
        ("pid", "u4"),  #: of who asked
        ("uid", "u4"),
        ("scope", "u4"),
        ("kind", "u1"),  #: SET_STATE, ...
        ("source", "u1"),  #: NOTE_SOURCES
        ("length", "u2"),  #: bytes of the text
        ("text", "u1", (224,)),  #: UTF-8: what was asked for, and why
    ],
    align=True,
)
NOTE_SOURCES = ("none", "control", "signal", "supervisor")
NOTE_TEXT_BYTES = 224

assert TICK.itemsize == 64, "a tick is one cache line: two share none, and one load brings it"
assert NOTE.itemsize == 256, "whole cache lines"
assert REQUEST.itemsize == ORDER.itemsize == REPORT.itemsize == EVENT.itemsize == 128, "two cache lines, one prefetch pair"
