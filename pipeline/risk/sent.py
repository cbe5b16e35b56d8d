"""The orders that risk has sent and that have not ended: what works, by whom, and what may be taken back.

One row for each, in shared memory, written in the transaction that sends the order and cleared in the one that takes the report
of its end. So a report that comes twice, or after the end, finds no row, and changes nothing that works. Which rows are in use,
and where an id lies, is private and made anew from the table at each start.
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import EXIT
from pipeline.order_index import NOT_SEEN, OrderIndex, forget, make_index, recall, remember
from pipeline.tables import SENT, SENT_ORDER, TAKEN_BACK
from pipeline.topology import ENTRY_ROOM_PER_MILLE
from shm.jit import njit, njit_inner
from shm.rows import Table, current, edit, open_table
from shm.segment import Segment

# Rows of `lists`: the rows of the table in use, then those that are free; and where in it each row stands.
ORDER_OF, PLACE_OF = 0, 1


class SentOrders(NamedTuple):
    """The table, and its private lists."""

    table: Table  #: SENT_ORDER
    by_id: OrderIndex
    lists: np.ndarray  #: int64 (2, rows)
    counts: np.ndarray  #: int64: how many rows are in use


def open_sent(segment: Segment) -> SentOrders:
    """Return the orders of an instance, those of a process that died included."""
    table = open_table(segment, "sent", SENT_ORDER)
    row_count = len(table.commits)
    found = table.copies[2 * np.arange(row_count) + (table.commits & 1)]
    is_used = found["order_id"] != 0
    order = np.concatenate([np.flatnonzero(is_used), np.flatnonzero(~is_used)]).astype(np.int64)
    places = np.empty_like(order)
    places[order] = np.arange(row_count)
    sent = SentOrders(table, make_index(row_count), np.stack([order, places]), np.array([is_used.sum()], np.int64))
    recollect(sent)
    return sent


@njit
def recollect(sent):
    """Know the ids of the rows in use."""
    for k in range(sent.counts[0]):
        row = sent.lists[ORDER_OF, k]
        remember(sent.by_id, sent.table.copies[current(sent.table, row)]["order_id"], row)


@njit_inner
def has_sent_room(sent, flags):
    """Tell whether there is a row for an order: entries leave some for exits."""
    row_count = sent.table.commits.shape[0]
    most = row_count if flags & EXIT else row_count * ENTRY_ROOM_PER_MILLE // 1000
    return sent.counts[0] < most


@njit_inner
def swap(sent, row, place):
    """Put a row at this place of the list, and what stood there where the row was."""
    lists = sent.lists
    was, other = lists[PLACE_OF, row], lists[ORDER_OF, place]
    lists[ORDER_OF, was], lists[PLACE_OF, other] = other, was
    lists[ORDER_OF, place], lists[PLACE_OF, row] = row, place


@njit_inner
def stage_sent(transaction, sent, order, position_row):
    """Note an order, in the transaction that publishes it. The caller has made sure that there is room.

    Args:
        transaction: Of the stage.
        sent: SentOrders.
        order: ORDER of kind NEW, complete.
        position_row: Row in the positions table.
    """
    row = sent.lists[ORDER_OF, sent.counts[0]]
    sent.counts[0] += 1
    noted = sent.table.copies[edit(transaction, sent.table, row)]
    noted["order_id"] = order["order_id"]
    noted["left_lots"] = order["quantity_lots"]
    noted["price_ticks"] = order["price_ticks"]
    noted["sent_ns"] = order["event_ns"]
    noted["request_id"] = order["request_id"]
    noted["stop_id"] = order["stop_id"]
    noted["position"] = position_row
    noted["side"] = np.int8(order["side"])
    noted["order_type"] = order["order_type"]
    noted["flags"] = np.uint8(order["flags"])
    noted["state"] = SENT
    remember(sent.by_id, order["order_id"], row)


@njit_inner
def find_sent(sent, order_id):
    """Return the row of an order that has not ended, or NOT_SEEN."""
    return recall(sent.by_id, order_id)


@njit_inner
def stage_left(transaction, sent, row, left_lots):
    """Stage how much of an order is left; at 0 it has ended, and its row is free."""
    noted = sent.table.copies[edit(transaction, sent.table, row)]
    noted["left_lots"] = left_lots
    if left_lots > 0:
        return
    forget(sent.by_id, noted["order_id"], row)
    noted["order_id"] = 0
    sent.counts[0] -= 1
    swap(sent, row, sent.counts[0])


@njit_inner
def is_taken_back(sent, row):
    """Tell whether an order's cancel is on its way."""
    return sent.table.copies[current(sent.table, row)]["state"] == TAKEN_BACK


__all__ = [
    "NOT_SEEN", "SentOrders", "find_sent", "has_sent_room", "is_taken_back", "open_sent", "stage_left", "stage_sent",
]  # fmt: skip
