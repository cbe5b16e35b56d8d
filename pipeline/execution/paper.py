"""The paper venue: takes orders, fills them at the touch after a latency, and keeps its own record.

It stands for something outside: its record (orders, fills) survives the death of the execution process as a real venue's would,
it refuses a second order of the same client id, and it answers a query by id. Each of its acts is one transaction of its own.

A market order fills whole at the best bid or offer of its instrument, at the first tick at or after its due time in stream time
(DESIGN section 6). Depth and queue are not modelled.
"""

from typing import NamedTuple

import numpy as np

from pipeline import topology
from pipeline.execution.order_index import NOT_SEEN, OrderIndex, make_index, recall, remember
from pipeline.messages import BUY, QUOTE, TICK_OK, TRADE
from pipeline.tables import VENUE_FILL, VENUE_ORDER
from pipeline.topology import EXECUTION_COUNTERS, VENUE_FILLS, VENUE_NOW_NS, VENUE_ORDERS
from shm.atomics import store_relaxed
from shm.counters import Counters, open_counters, stage_add
from shm.jit import njit, njit_inner
from shm.rows import Table, current, edit, open_table
from shm.segment import Segment
from shm.transaction import Transaction, commit, open_transaction, stage

# What submit() answers.
TAKEN, DUPLICATE, NO_MARKET, NO_ROOM = 0, 1, 2, 3
# Fields of the touch, per instrument.
TOUCH_BID, TOUCH_ASK, TOUCH_LAST, TOUCH_WIDTH = 0, 1, 2, 4

ORDERS = EXECUTION_COUNTERS.index("venue_orders")
FILLS = EXECUTION_COUNTERS.index("venue_fills")
DUPLICATES = EXECUTION_COUNTERS.index("venue_duplicates")
REJECTED = EXECUTION_COUNTERS.index("venue_rejected")


class PaperVenue(NamedTuple):
    """The venue's record and its private lists."""

    transaction: Transaction
    orders: Table  #: VENUE_ORDER by arrival
    fills: np.ndarray  #: VENUE_FILL by arrival
    touch: np.ndarray  #: int64 per instrument: bid, ask, last
    words: np.ndarray  #: topology.VENUE_* words
    words_base: int
    counters: Counters
    latency_ns: int
    seen: OrderIndex  #: client id -> place in the record
    open_orders: np.ndarray  #: private: places of the orders that work
    open_count: np.ndarray  #: private: how many


def open_venue(segment: Segment, latency_ns: int) -> PaperVenue:
    """Open the venue on an instance and make its private lists from its record."""
    transaction = open_transaction(segment, "venue")
    orders = open_table(segment, "venue.orders", VENUE_ORDER)
    venue = PaperVenue(
        transaction, orders, segment.array("venue.fills", VENUE_FILL), segment.array("venue.touch"),
        segment.array("venue.state"), segment.base("venue.state"), open_counters(segment, "execution"), latency_ns,
        make_index(len(orders.commits)), np.zeros(len(orders.commits), np.int64), np.zeros(1, np.int64),
    )  # fmt: skip
    recollect(venue)
    return venue


@njit
def recollect(venue):
    """Make the private lists from the record."""
    capacity = venue.orders.commits.shape[0]
    taken = venue.words[VENUE_ORDERS]
    for place in range(max(0, taken - capacity), taken):
        order = venue.orders.copies[current(venue.orders, place & (capacity - 1))]
        remember(venue.seen, order["order_id"], place)
        if order["open"]:
            venue.open_orders[venue.open_count[0]] = place
            venue.open_count[0] += 1


@njit_inner
def submit(venue, order):
    """Take one order.

    Args:
        venue: PaperVenue.
        order: ORDER_STATE row, read only.
    Returns:
        TAKEN; DUPLICATE: this client id was taken before, nothing is done; NO_MARKET: no price known; NO_ROOM: too many work.
    """
    if recall(venue.seen, order["order_id"]) != NOT_SEEN:
        return count_answer(venue, DUPLICATES, DUPLICATE)
    instrument = np.int64(order["instrument"])
    if touch_price(venue, instrument, np.int64(order["side"])) <= 0:
        return count_answer(venue, REJECTED, NO_MARKET)
    place = venue.words[VENUE_ORDERS]
    row = place & (venue.orders.commits.shape[0] - 1)
    if venue.orders.copies[current(venue.orders, row)]["open"]:
        return count_answer(venue, REJECTED, NO_ROOM)
    taken = venue.orders.copies[edit(venue.transaction, venue.orders, row)]
    taken["order_id"] = order["order_id"]
    taken["due_ns"] = order["event_ns"] + venue.latency_ns
    taken["quantity_lots"] = order["quantity_lots"]
    taken["filled_lots"] = 0
    taken["stop_id"] = order["stop_id"]
    taken["instrument"] = instrument
    taken["strategy"] = order["strategy"]
    taken["side"] = np.int64(order["side"])
    taken["open"] = 1
    stage(venue.transaction, venue.words_base + VENUE_ORDERS, place + 1)
    count_answer(venue, ORDERS, TAKEN)
    remember(venue.seen, order["order_id"], place)
    venue.open_orders[venue.open_count[0]] = place
    venue.open_count[0] += 1
    return TAKEN


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
def touch_price(venue, instrument, side):
    """Return the price at which a market order would fill now; 0 = none known."""
    at = TOUCH_WIDTH * instrument
    price = venue.touch[at + TOUCH_ASK] if side == BUY else venue.touch[at + TOUCH_BID]
    return price if price > 0 else venue.touch[at + TOUCH_LAST]


@njit_inner
def see(venue, tick):
    """Move the venue's market and time by one tick.

    Returns:
        How many orders it filled.
    """
    if tick["flags"] == TICK_OK:
        at = TOUCH_WIDTH * np.int64(tick["instrument"])
        if tick["kind"] == QUOTE:
            store_relaxed(venue.touch, at + TOUCH_BID, tick["a"])
            store_relaxed(venue.touch, at + TOUCH_ASK, tick["b"])
        elif tick["kind"] == TRADE:
            store_relaxed(venue.touch, at + TOUCH_LAST, tick["a"])
    if tick["event_ns"] > venue.words[VENUE_NOW_NS]:
        store_relaxed(venue.words, VENUE_NOW_NS, tick["event_ns"])
    return match(venue) if venue.open_count[0] > 0 else 0


@njit_inner
def match(venue):
    """Fill what is due.

    Returns:
        How many orders were filled.
    """
    capacity = venue.orders.commits.shape[0]
    filled = 0
    k = 0
    while k < venue.open_count[0]:
        row = venue.open_orders[k] & (capacity - 1)
        order = venue.orders.copies[current(venue.orders, row)]
        if order["due_ns"] <= venue.words[VENUE_NOW_NS]:
            fill(venue, venue.open_orders[k], row)
            # Keep arrival order: the rest moves up.
            venue.open_count[0] -= 1
            for after in range(k, venue.open_count[0]):
                venue.open_orders[after] = venue.open_orders[after + 1]
            filled += 1
        else:
            k += 1
    return filled


@njit_inner
def fill(venue, place, row):
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
    done["order_seq"] = place
    done["instrument"] = order["instrument"]
    done["strategy"] = order["strategy"]
    done["side"] = order["side"]
    done["last"] = 1
    order["filled_lots"] = order["quantity_lots"]
    order["open"] = 0
    stage(venue.transaction, venue.words_base + VENUE_FILLS, number + 1)
    stage_add(venue.transaction, venue.counters, FILLS, 1)
    commit(venue.transaction)


def venue_positions(segment: Segment, sizes: topology.Sizes) -> np.ndarray:
    """Fold the venue's own record of fills into net lots; shape (strategies, instruments), int64.

    Only as long as the record has not wrapped; `topology.VENUE_FILLS` tells how many fills there were.
    """
    fills = segment.array("venue.fills", VENUE_FILL)
    count = min(int(segment.array("venue.state")[VENUE_FILLS]), len(fills))
    net = np.zeros((sizes.strategies, sizes.instruments), np.int64)
    done = fills[:count]
    np.add.at(net, (done["strategy"], done["instrument"]), done["side"] * done["quantity_lots"])
    return net
