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
        ("fee_units", "i8"),  #: paid since the instance was made, in money units of the account
        ("opened_realised_tick_lots", "i8"),  #: `realised_tick_lots` when it opened: the rest is this trade's
        ("opened_fee_units", "i8"),  #: `fee_units` when it opened
        ("last_order_ns", "i8"),  #: stream time of the last order that a strategy sent for it
        ("last_order_lots", "i8"),  #: signed by its side
        ("last_order_ticks", "i8"),  #: its limit; 0 = a market order
        ("reserved", "i8", (5,)),
    ],
    align=True,
)

#: Risk's. The limits of one scope: the account, then each strategy, then each instrument (topology.scope_of_*). A field's place
#: is the limit's id, its name the key in config.toml. NOT_SET blocks every order of the scope, UNLIMITED is written out. Money
#: is in money units, quantities in quantity units (pipeline.money), shares in parts per million, time in ns of stream time.
LIMITS = np.dtype(
    [
        ("min_order_quantity", "i8"),
        ("max_order_quantity", "i8"),
        ("min_order_notional", "i8"),
        ("max_order_notional", "i8"),
        ("price_collar_percent", "i8"),  #: how far beyond the reference an order may buy or sell
        ("max_position_quantity", "i8"),  #: of one instrument, working orders counted
        ("max_position_notional", "i8"),
        ("max_open_positions", "i8"),
        ("max_concentration_percent", "i8"),  #: one instrument's exposure, as a share of the account's equity
        ("max_gross_exposure", "i8"),
        ("max_net_exposure", "i8"),
        ("max_leverage", "i8"),  #: buying power: gross exposure against the account's equity, times 10**6
        ("max_daily_loss", "i8"),
        ("max_weekly_loss", "i8"),
        ("max_drawdown", "i8"),
        ("max_consecutive_losses", "i8"),
        ("max_trades_per_day", "i8"),
        ("max_reject_percent", "i8"),  #: rejected and refused orders of all, within a window
        ("max_orders_per_second", "i8"),
        ("duplicate_window_ms", "i8"),  #: ns in which the same order is refused
        ("max_executions", "i8"),  #: orders of one strategy until a person lets it go on
        ("max_volatility_percent", "i8"),  #: ATR as a share of the price
    ],
    align=True,
)
LIMIT_NAMES = tuple(LIMITS.names or ())
#: A limit that blocks because nobody set it, and one that was written out as "unlimited".
NOT_SET, UNLIMITED = -2, -1

#: Risk's. One order that was sent and has not ended, exits included; a free row has order_id 0.
SENT_ORDER = np.dtype(
    [
        ("order_id", "i8"),
        ("left_lots", "i8"),
        ("price_ticks", "i8"),  #: its limit; 0 = a market order
        ("sent_ns", "i8"),  #: stream time
        ("request_id", "i8"),  #: of the strategy; 0 = an exit
        ("stop_id", "i8"),  #: of an exit
        ("position", "u4"),  #: row in the positions table
        ("side", "i1"),
        ("order_type", "u1"),
        ("flags", "u1"),  #: EXIT, REDUCE_ONLY
        ("state", "u1"),  #: SENT, TAKEN_BACK
        ("reserved", "i8"),
    ],
    align=True,
)
SENT, TAKEN_BACK = 1, 2

#: Risk's. A scope's state, words that transactions change one by one (topology: "scopes", SCOPE_WORDS for each scope).
(
    SCOPE_STATE,  #: messages.ACTIVE, ...
    SCOPE_REASON,  #: BY_*: why
    SCOPE_SINCE_NS,  #: stream time of the change
    SCOPE_COOLDOWN_NS,  #: stream time at which the breaker lets go by itself; 0 = never
    SCOPE_CANCELS,  #: 1 = its working orders are being taken back
    SCOPE_FLATTENS,  #: 1 = its positions are being left, and nothing new may be risked meanwhile
    SCOPE_FORGIVEN,  #: bits 1 << BY_*: limits that are broken and that a person has let pass
    SCOPE_REALISED,  #: money units, the sum over its positions
    SCOPE_FEES,
    SCOPE_PEAK,  #: highest P&L seen: realised - fees + unrealised
    SCOPE_DAY_PNL,  #: P&L at the start of the day, and of the week
    SCOPE_WEEK_PNL,
    SCOPE_DAY_END_NS,
    SCOPE_WEEK_END_NS,
    SCOPE_TRADES,  #: orders sent today
    SCOPE_LOSSES,  #: trades in a row that lost
    SCOPE_EXECUTIONS,  #: orders filled since a person let it go on
    SCOPE_RATE_NS,  #: token bucket: stream time at which it is full again
    SCOPE_WINDOW_NS,  #: end of the window in which orders and rejects are counted
    SCOPE_ORDERS,
    SCOPE_REJECTS,
    SCOPE_RESTRICTED,  #: instruments: 1 = no order of a strategy may leave
) = range(22)
SCOPE_WORDS = 24

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

assert (POSITION.itemsize, ORDER_STATE.itemsize) == (192, 128), "whole cache lines"
assert (STOP_TERMS.itemsize, STOP.itemsize) == (96, 48), "a stop takes 256 bytes in all at most: 96 + 2 * 48 and its words"
assert (
    SENT_ORDER.itemsize
    == SERIES.itemsize
    == MARK.itemsize
    == HYGIENE.itemsize
    == VENUE_ORDER.itemsize
    == VENUE_FILL.itemsize
    == 64
), "one cache line"
