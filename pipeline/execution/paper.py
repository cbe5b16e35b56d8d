"""The paper venue: takes orders and cancels, fills at the touch after a latency, and keeps its own record.

It stands for something outside: its record (orders, fills) survives the death of the execution process as a real venue's would,
it refuses a second order of the same client id, and it answers a query or a cancel by id. Each of its acts is one transaction
of its own, so that an order is either filled or cancelled, never both.

A market order fills whole at the best bid or offer of its instrument, at the first tick at or after its due time in stream time
(DESIGN section 6). A limit order fills whole at that same price at the first such tick at which it is at or better than the
limit; until then it works. Where no quote is known the last trade is the touch. Orders that one tick fills fill by arrival.
Orders come in by one line: none is due before one that was sent earlier. A cancel takes effect at once, whatever the latency:
what is cancelled before it is due has never traded. Depth and queue are not modelled.
"""

from typing import NamedTuple

import numpy as np

from pipeline import topology
from pipeline.execution.open_orders import (
    FIRST,
    HIGHEST_BUY,
    LAST_DUE_NS,
    LOWEST_SELL,
    NEXT_DUE_NS,
    NOWHERE,
    OPEN_COUNT,
    WAITING,
    OpenOrders,
    allows,
    await_due,
    end,
    is_reached,
    make_open_orders,
    rest,
    take_out,
    widen,
)
from pipeline.messages import BUY, LIMIT, MARKET, PRICE_TICKS_LIMIT, QUOTE, SELL, TICK_OK, TRADE
from pipeline.order_index import NOT_SEEN, OrderIndex, forget, make_index, recall, remember
from pipeline.tables import VENUE_CANCELLED, VENUE_FILL, VENUE_FILLED, VENUE_NONE, VENUE_OPEN, VENUE_ORDER
from pipeline.topology import EXECUTION_COUNTERS, VENUE_FILLS, VENUE_NOW_NS, VENUE_ORDERS
from shm.atomics import store_relaxed
from shm.counters import Counters, open_counters, stage_add
from shm.jit import njit, njit_inner, njit_merged
from shm.rows import Table, current, edit, open_table
from shm.segment import Segment
from shm.transaction import Transaction, commit, open_transaction, stage

# What submit() answers.
TAKEN, DUPLICATE, NO_MARKET, NO_ROOM, BAD_TYPE = 0, 1, 2, 3, 4
# Fields of the touch, per instrument.
TOUCH_BID, TOUCH_ASK, TOUCH_LAST, TOUCH_WIDTH = 0, 1, 2, 4

ORDERS = EXECUTION_COUNTERS.index("venue_orders")
FILLS = EXECUTION_COUNTERS.index("venue_fills")
DUPLICATES = EXECUTION_COUNTERS.index("venue_duplicates")
REJECTED = EXECUTION_COUNTERS.index("venue_rejected")
CANCELS = EXECUTION_COUNTERS.index("venue_cancelled")


class PaperVenue(NamedTuple):
    """The venue's record and its private lists."""

    transaction: Transaction
    orders: Table  #: VENUE_ORDER
    fills: np.ndarray  #: VENUE_FILL by arrival
    touch: np.ndarray  #: int64 per instrument: bid, ask, last
    words: np.ndarray  #: topology.VENUE_* words
    words_base: int
    counters: Counters
    latency_ns: int
    seen: OrderIndex  #: client id -> row of the record
    opened: OpenOrders
    next_row: np.ndarray  #: private: the row from which to look for one whose order has ended


def open_venue(segment: Segment, latency_ns: int) -> PaperVenue:
    """Open the venue on an instance and make its private lists from its record."""
    transaction = open_transaction(segment, "venue")
    orders, touch = open_table(segment, "venue.orders", VENUE_ORDER), segment.array("venue.touch")
    row_count = len(orders.commits)
    venue = PaperVenue(
        transaction, orders, segment.array("venue.fills", VENUE_FILL), touch, segment.array("venue.state"),
        segment.base("venue.state"), open_counters(segment, "execution"), latency_ns, make_index(row_count),
        make_open_orders(row_count, len(touch) // TOUCH_WIDTH), np.zeros(1, np.int64),
    )  # fmt: skip
    record = orders.copies[2 * np.arange(row_count) + (orders.commits & 1)]
    known = np.flatnonzero(record["state"] != VENUE_NONE)
    recollect(venue, known[np.argsort(record["place"][known])])
    return venue


@njit
def recollect(venue, rows):
    """Make the private lists from the record.

    Args:
        venue: PaperVenue.
        rows: int64, rows that hold an order, by arrival.
    """
    for k in range(rows.shape[0]):
        row = rows[k]
        order = venue.orders.copies[current(venue.orders, row)]
        remember(venue.seen, order["order_id"], row)
        if order["state"] == VENUE_OPEN:
            await_due(venue.opened, row, order["due_ns"], order["side"], order["price_ticks"])
        venue.opened.local[LAST_DUE_NS] = order["due_ns"]
        venue.next_row[0] = row + 1


@njit_inner
def submit(venue, order):
    """Take one order.

    Args:
        venue: PaperVenue.
        order: ORDER_STATE row, read only.
    Returns:
        TAKEN; DUPLICATE: this client id was taken before, nothing is done; NO_MARKET: no price known; NO_ROOM: too many work;
        BAD_TYPE: neither a market order nor a limit order with a price.
    """
    if recall(venue.seen, order["order_id"]) != NOT_SEEN:
        return count_answer(venue, DUPLICATES, DUPLICATE)
    order_type, limit_ticks = np.int64(order["order_type"]), np.int64(0)
    if order_type == LIMIT and 0 < order["price_ticks"] < PRICE_TICKS_LIMIT:
        limit_ticks = order["price_ticks"]
    elif order_type != MARKET:
        return count_answer(venue, REJECTED, BAD_TYPE)
    instrument, side = np.int64(order["instrument"]), np.int64(order["side"])
    if order_type == MARKET and touch_price(venue, instrument, side) <= 0:
        return count_answer(venue, REJECTED, NO_MARKET)
    if venue.opened.local[OPEN_COUNT] == venue.orders.commits.shape[0]:
        return count_answer(venue, REJECTED, NO_ROOM)
    row = free_row(venue)
    place = venue.words[VENUE_ORDERS]
    due_ns = max(order["event_ns"] + venue.latency_ns, venue.opened.local[LAST_DUE_NS])
    taken = venue.orders.copies[edit(venue.transaction, venue.orders, row)]
    taken["order_id"] = order["order_id"]
    taken["place"] = place
    taken["due_ns"] = due_ns
    taken["quantity_lots"] = order["quantity_lots"]
    taken["filled_lots"] = 0
    taken["price_ticks"] = limit_ticks
    taken["instrument"] = instrument
    taken["strategy"] = order["strategy"]
    taken["state"] = VENUE_OPEN
    taken["order_type"] = order_type
    taken["side"] = side
    stage(venue.transaction, venue.words_base + VENUE_ORDERS, place + 1)
    count_answer(venue, ORDERS, TAKEN)
    remember(venue.seen, order["order_id"], row)
    await_due(venue.opened, row, due_ns, side, limit_ticks)
    return TAKEN


@njit_inner
def free_row(venue):
    """Take the next row of the record whose order has ended, and forget that order. There must be one."""
    mask = venue.orders.commits.shape[0] - 1
    row = venue.next_row[0] & mask
    while venue.orders.copies[current(venue.orders, row)]["state"] == VENUE_OPEN:
        row = (row + 1) & mask
    venue.next_row[0] = row + 1
    ended = venue.orders.copies[current(venue.orders, row)]
    forget(venue.seen, ended["order_id"], row)
    return row


@njit_inner
def count_answer(venue, counter, answer):
    """Count an answer, commit, and return it."""
    stage_add(venue.transaction, venue.counters, counter, 1)
    commit(venue.transaction)
    return answer


@njit_inner
def knows(venue, order_id):
    """Answer a query by client id: whether the venue has taken such an order."""
    return recall(venue.seen, order_id) != NOT_SEEN


@njit_inner
def cancel_order(venue, order_id):
    """Take an order back, if it still works. Twice is as once.

    Returns:
        What has become of it: VENUE_CANCELLED, VENUE_FILLED, or VENUE_NONE where the venue does not know the order.
    """
    row = recall(venue.seen, order_id)
    if row == NOT_SEEN:
        return VENUE_NONE
    found = np.int64(venue.orders.copies[current(venue.orders, row)]["state"])
    if found != VENUE_OPEN:
        return found
    venue.orders.copies[edit(venue.transaction, venue.orders, row)]["state"] = VENUE_CANCELLED
    count_answer(venue, CANCELS, VENUE_CANCELLED)
    end(venue.opened, row)
    return VENUE_CANCELLED


@njit_inner
def touch_price(venue, instrument, side):
    """Return the price at which a market order would fill now; 0 = none known."""
    at = TOUCH_WIDTH * instrument
    price = venue.touch[at + TOUCH_ASK] if side == BUY else venue.touch[at + TOUCH_BID]
    return price if price > 0 else venue.touch[at + TOUCH_LAST]


@njit_merged
def see(venue, tick):
    """Move the venue's market and time by one tick, and fill what that lets fill.

    Most ticks end after two comparisons with the bounds of their instrument, and one with the time when the next order is due.

    Returns:
        How many orders it filled.
    """
    if tick["event_ns"] > venue.words[VENUE_NOW_NS]:
        store_relaxed(venue.words, VENUE_NOW_NS, tick["event_ns"])
    filled = 0
    if tick["flags"] == TICK_OK and (tick["kind"] == QUOTE or tick["kind"] == TRADE):
        instrument = np.int64(tick["instrument"])
        at = TOUCH_WIDTH * instrument
        if tick["kind"] == QUOTE:
            store_relaxed(venue.touch, at + TOUCH_BID, tick["a"])
            store_relaxed(venue.touch, at + TOUCH_ASK, tick["b"])
        else:
            store_relaxed(venue.touch, at + TOUCH_LAST, tick["a"])
        if is_reached(venue.opened, instrument, touch_price(venue, instrument, BUY), touch_price(venue, instrument, SELL)):
            filled = fill_resting(venue, instrument)
    if venue.words[VENUE_NOW_NS] >= venue.opened.local[NEXT_DUE_NS]:
        filled += fill_due(venue)
    return filled


@njit_inner
def fill_resting(venue, instrument):
    """Fill what an instrument's touch has reached of the limit orders that rest there, and make their bounds exact.

    Returns:
        How many orders were filled.
    """
    opened = venue.opened
    ask_ticks, bid_ticks = touch_price(venue, instrument, BUY), touch_price(venue, instrument, SELL)
    opened.bounds[instrument, HIGHEST_BUY] = 0
    opened.bounds[instrument, LOWEST_SELL] = PRICE_TICKS_LIMIT
    filled = 0
    row = opened.ends[instrument + 1, FIRST]
    while row != NOWHERE:
        order = opened.orders[row]
        following, side, limit_ticks = order["next"], order["side"], order["limit_ticks"]
        if allows(ask_ticks if side == BUY else bid_ticks, side, limit_ticks):
            fill(venue, row)
            filled += 1
        else:
            widen(opened, instrument, side, limit_ticks)
        row = following
    return filled


@njit_inner
def fill_due(venue):
    """Fill what is due of the orders that wait; limit orders whose price is not there rest from now on.

    Returns:
        How many orders were filled.
    """
    opened = venue.opened
    filled = 0
    while opened.local[NEXT_DUE_NS] <= venue.words[VENUE_NOW_NS]:
        row = opened.ends[WAITING, FIRST]
        order = opened.orders[row]
        instrument = np.int64(venue.orders.copies[current(venue.orders, row)]["instrument"])
        if allows(touch_price(venue, instrument, order["side"]), order["side"], order["limit_ticks"]):
            fill(venue, row)
            filled += 1
        else:
            take_out(opened, row)
            rest(opened, instrument, row)
    return filled


@njit_inner
def fill(venue, row):
    """Fill one order whole at the touch: its row and the record of fills in one transaction."""
    order = venue.orders.copies[edit(venue.transaction, venue.orders, row)]
    number = venue.words[VENUE_FILLS]
    # The slot is beyond the count, so nobody reads it yet.
    done = venue.fills[number & (venue.fills.shape[0] - 1)]
    done["fill_id"] = number + 1
    done["order_id"] = order["order_id"]
    done["event_ns"] = venue.words[VENUE_NOW_NS]
    done["quantity_lots"] = order["quantity_lots"]
    done["price_ticks"] = touch_price(venue, np.int64(order["instrument"]), order["side"])
    done["order_seq"] = order["place"]
    done["instrument"] = order["instrument"]
    done["strategy"] = order["strategy"]
    done["side"] = order["side"]
    done["last"] = 1
    order["filled_lots"] = order["quantity_lots"]
    order["state"] = VENUE_FILLED
    stage(venue.transaction, venue.words_base + VENUE_FILLS, number + 1)
    stage_add(venue.transaction, venue.counters, FILLS, 1)
    commit(venue.transaction)
    end(venue.opened, row)


def venue_positions(segment: Segment, sizes: topology.Sizes) -> np.ndarray:
    """Fold the venue's own record of fills into net lots; shape (books, instruments), int64.

    Only as long as the record has not wrapped; `topology.VENUE_FILLS` tells how many fills there were.
    """
    fills = segment.array("venue.fills", VENUE_FILL)
    count = min(int(segment.array("venue.state")[VENUE_FILLS]), len(fills))
    net = np.zeros((sizes.book_count, sizes.instruments), np.int64)
    done = fills[:count]
    np.add.at(net, (done["strategy"], done["instrument"]), done["side"] * done["quantity_lots"])
    return net
