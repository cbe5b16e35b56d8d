"""The slow, obvious twin of execution and its paper venue: plain Python over a list of orders, from the words of `paper`.

It takes what execution took, in that order, and says what reports must come, with what fills.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.messages import (
    ACCEPTED,
    BUY,
    CANCEL,
    CANCELLED,
    EXIT,
    FILLED,
    LIMIT,
    MARKET,
    QUOTE,
    REASON_NONE,
    REJECT_NO_MARKET,
    REJECT_NO_ROOM,
    REJECT_ORDER_TYPE,
    REJECTED,
    TICK_OK,
    TRADE,
)

#: What is compared of a report: (kind, order_id, reason, quantity, price, left).
Told = tuple[int, int, int, int, int, int]


@dataclass
class TwinOrder:
    """One order that was accepted."""

    order_id: int
    instrument: int
    side: int
    lots: int
    limit: int | None  #: None = a market order
    due_ns: int
    state: str = "open"
    price: int = 0
    is_reported: bool = False


class VenueTwin:
    """Execution and its venue.

    Args:
        latency_ns: From an order to when it may fill.
        rows: Orders that execution lets work at once.
        venue_rows: Orders that the venue lets work at once.
    """

    def __init__(self, latency_ns: int, rows: int, venue_rows: int) -> None:
        self.latency_ns, self.rows, self.venue_rows = latency_ns, rows, venue_rows
        self.orders: list[TwinOrder] = []
        self.filled: list[TwinOrder] = []
        #: Ids that the venue has rejected.
        self.rejected: set[int] = set()
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.lasts: dict[int, int] = {}
        self.now_ns = 0

    def take(self, order: Any) -> Iterator[Told]:
        """Take one ORDER record, and yield its reports."""
        order_id, lots = int(order["order_id"]), int(order["quantity_lots"])
        known = [other for other in self.orders if other.order_id == order_id]
        if order["kind"] == CANCEL:
            for other in known:
                if other.state == "open":
                    other.state = "cancelled"
                    yield CANCELLED, order_id, REASON_NONE, other.lots, 0, other.lots
            return
        if known or order_id in self.rejected:
            return
        reason = self.reason_without_row(order) or self.reason_of_venue(order)
        if reason != REASON_NONE:
            yield REJECTED, order_id, reason, lots, 0, lots
            return
        due_ns = max([int(order["event_ns"]) + self.latency_ns, *[other.due_ns for other in self.orders]])
        limit = int(order["price_ticks"]) if order["order_type"] == LIMIT else None
        self.orders.append(TwinOrder(order_id, int(order["instrument"]), int(order["side"]), lots, limit, due_ns))
        yield ACCEPTED, order_id, REASON_NONE, lots, 0, lots

    def reason_without_row(self, order: Any) -> int:
        """Return why execution itself rejects an order, and forgets it, or REASON_NONE."""
        works = sum(other.state == "open" or (other.state == "filled" and not other.is_reported) for other in self.orders)
        return REJECT_NO_ROOM if works >= (self.rows if order["flags"] & EXIT else self.rows * 9 // 10) else REASON_NONE

    def reason_of_venue(self, order: Any) -> int:
        """Return why the venue rejects an order, whose id is then spent, or REASON_NONE."""
        reason = REASON_NONE
        if order["order_type"] not in (MARKET, LIMIT) or (order["order_type"] == LIMIT and order["price_ticks"] <= 0):
            reason = REJECT_ORDER_TYPE
        elif order["order_type"] == MARKET and self.touch(int(order["instrument"]), int(order["side"])) is None:
            reason = REJECT_NO_MARKET
        elif sum(other.state == "open" for other in self.orders) >= self.venue_rows:
            reason = REJECT_NO_ROOM
        if reason != REASON_NONE:
            self.rejected.add(int(order["order_id"]))
        return reason

    def touch(self, instrument: int, side: int) -> int | None:
        """Return what a market order would get now."""
        quoted = self.asks if side == BUY else self.bids
        return quoted.get(instrument, self.lasts.get(instrument))

    def see(self, tick: Any) -> None:
        """Let a tick move market and time, and fill all that may fill, by arrival."""
        instrument = int(tick["instrument"])
        if tick["flags"] == TICK_OK and tick["kind"] == QUOTE:
            self.bids[instrument], self.asks[instrument] = int(tick["a"]), int(tick["b"])
        if tick["flags"] == TICK_OK and tick["kind"] == TRADE:
            self.lasts[instrument] = int(tick["a"])
        self.now_ns = max(self.now_ns, int(tick["event_ns"]))
        for order in self.orders:
            price = self.touch(order.instrument, order.side)
            if order.state != "open" or order.due_ns > self.now_ns or price is None:
                continue
            if order.limit is None or (price <= order.limit if order.side == BUY else price >= order.limit):
                order.state, order.price = "filled", price
                self.filled.append(order)

    def report(self, count: int) -> Iterator[Told]:
        """Yield the reports of the next fills, as many as execution has reported."""
        unreported = [order for order in self.filled if not order.is_reported]
        for order in unreported[:count]:
            order.is_reported = True
            yield FILLED, order.order_id, REASON_NONE, order.lots, order.price, 0

    def works(self) -> set[int]:
        """Return the ids of the orders that work."""
        return {order.order_id for order in self.orders if order.state == "open"}
