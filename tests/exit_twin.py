"""Twins of a position as risk knows it, and of the exits of fired stops: plain Python, from DESIGN's words.

An exit takes its share of the position, never more than is left of it. A limit exit lies within its collar of the price, and is
taken back after a while; then a market order follows at once. What comes back otherwise is owed, and sent again after a wait
that doubles: when it is due, and not before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pipeline.messages import (
    BUY,
    EXIT,
    FILLED,
    LIMIT,
    LONG,
    MARKET,
    PARTIALLY_FILLED,
    REDUCE_ONLY,
    SELL,
    SHORT,
)
from pipeline.order_ids import exit_order_id
from pipeline.risk.limits import Limits
from pipeline.tables import SENT, TAKEN_BACK

PPM = 10**6


@dataclass
class PositionTwin:
    """A position by the orders that risk has sent and the reports that it has taken.

    Attributes:
        quantity: lots, > 0 long.
        generation: how often it was opened.
        entry: price of the fill that opened it.
        entry_ns: stream time of that fill.
        working_buy: lots that orders may still buy.
        working_sell: lots that orders may still sell.
        leaving: of those, lots of exits.
        cost: tick-lots that the open quantity cost, signed like it.
        realised: tick-lots.
        fees: money units.
        last_order: when the last order of its strategy left, its lots signed by its side, and its limit, 0 = a market order.
    """

    quantity: int = 0
    generation: int = 0
    entry: int = 0
    entry_ns: int = 0
    working_buy: int = 0
    working_sell: int = 0
    leaving: int = 0
    cost: int = 0
    realised: int = 0
    fees: int = 0
    last_order: tuple[int, int, int] = (0, 0, 0)

    @property
    def side(self) -> int:
        """LONG, SHORT, or 0 where it is flat."""
        return LONG if self.quantity > 0 else SHORT if self.quantity < 0 else 0

    @property
    def is_held(self) -> bool:
        """Whether it is open or has orders at work."""
        return bool(self.quantity or self.working_buy or self.working_sell)

    @property
    def left(self) -> int:
        """Lots that no order takes out yet."""
        return max(abs(self.quantity) - (self.working_sell if self.quantity > 0 else self.working_buy), 0)

    @property
    def is_left(self) -> bool:
        """Whether exits, with what else works, take all of it already: then no stop fires any more."""
        return self.leaving > 0 and self.left == 0

    def share(self, fraction_ppm: int) -> int:
        """Return how many lots an exit takes: its fraction, at least one lot, and never more than is left."""
        wanted = max(math.floor(Fraction(abs(self.quantity) * fraction_ppm, PPM)), 1) if fraction_ppm else self.left
        return min(wanted, self.left)

    def work(self, side: int, lots: int, flags: int) -> None:
        """Let an order work; negative lots end it."""
        if side == BUY:
            self.working_buy += lots
        else:
            self.working_sell += lots
        self.leaving += lots if flags & EXIT else 0

    def fill(self, side: int, lots: int, price: int, event_ns: int) -> None:
        """Take a fill; what closes takes its whole ticks of the average cost, and leaves the remainder with what stays open."""
        before, self.quantity = self.quantity, self.quantity + side * lots
        closed = min(lots, abs(before)) if before * side < 0 else 0
        if closed:
            away = self.cost if closed == abs(before) else closed * (abs(self.cost) // abs(before)) * -side
            self.realised -= side * closed * price + away
            self.cost -= away
        self.cost += side * (lots - closed) * price
        if self.quantity != 0 and before * self.quantity <= 0:
            self.generation += 1
            self.entry, self.entry_ns = price, event_ns


@dataclass
class SentTwin:
    """An order that has left and has not ended."""

    order_id: int
    row: int
    side: int
    left: int
    limit: int
    sent_ns: int
    request_id: int
    stop_id: int
    flags: int
    is_taken_back: bool = False

    @classmethod
    def of(cls, order: Any, row: int) -> SentTwin:
        """Return an order of the ring."""
        names = ("side", "quantity_lots", "price_ticks", "event_ns", "request_id", "stop_id", "flags")
        side, lots, limit, sent_ns, request_id, stop_id, flags = (int(order[name]) for name in names)
        return cls(int(order["order_id"]), row, side, lots, limit, sent_ns, request_id, stop_id, flags)

    def told(self) -> tuple[int, ...]:
        """Return what the table says of it."""
        kind = LIMIT if self.limit else MARKET
        state = TAKEN_BACK if self.is_taken_back else SENT
        return (
            self.order_id, self.left, self.limit, self.sent_ns, self.request_id, self.stop_id, self.row, self.side, kind,
            self.flags, state,
        )  # fmt: skip


class ExitTwin:
    """The exit of a fired stop.

    Args:
        limits: The rig's.
        stop_id: The stop.
        position: What it guards.
        fraction_ppm: Share that it takes, 0 = all.
        collar: In ticks, 0 = a market order.
        escalate_ns: After which a limit order is taken back.
        price: That fired the stop, where a collar counts from it; else 0.

    Attributes:
        attempt: orders sent so far.
        works: the last one has not ended.
        owed: it ended unfilled, or there was nothing to send yet; it is sent from `due_ns` on.
        is_done: it filled whole.
        due_ns: see `owed`; of a limit order that works, when it is taken back.
        limit: of the last order; 0 = a market order.
        is_taken_back: a limit order was taken back: what follows is a market order.
    """

    def __init__(
        self, limits: Limits, stop_id: int, position: PositionTwin, fraction_ppm: int, collar: int, escalate_ns: int, price: int
    ) -> None:
        self.limits, self.stop_id, self.position = limits, stop_id, position
        self.fraction_ppm, self.collar, self.escalate_ns, self.price = fraction_ppm, collar, escalate_ns, price
        self.side = position.side
        self.attempt, self.due_ns, self.limit = 0, 0, 0
        self.works = self.owed = self.is_done = self.is_taken_back = self.is_answered = False

    @property
    def order_id(self) -> int:
        """Id of the last order, 0 before the first."""
        return int(exit_order_id(self.stop_id, self.attempt)) if self.attempt else 0

    @property
    def lots(self) -> int:
        """Lots that the next order must take."""
        return self.position.share(self.fraction_ppm)

    def wait(self, now_ns: int) -> None:
        """There is nothing to send: what else works takes all that is left."""
        self.owed, self.due_ns = True, now_ns + self.limits.retry_ns

    def send(self, order: Any, touch: int, now_ns: int) -> None:
        """Take an order that has left.

        Args:
            order: ORDER.
            touch: Price that it could get then, 0 = none known.
            now_ns: Stream time.
        """
        lots = self.lots
        self.attempt += 1
        price = self.price or touch
        self.limit = max(price - self.side * self.collar, 1) if self.collar and price and not self.is_taken_back else 0
        leave_by = SELL if self.side == LONG else BUY
        expected = {
            "order_id": self.order_id, "quantity_lots": lots, "side": leave_by, "price_ticks": self.limit, "event_ns": now_ns,
            "order_type": LIMIT if self.limit else MARKET, "flags": REDUCE_ONLY | EXIT, "generation": self.position.generation,
        }  # fmt: skip
        told = {name: int(order[name]) for name in expected}
        assert expected == told, f"exit {self.attempt} of stop {self.stop_id} is {told}, and not {expected}"
        assert lots > 0, f"exit {self.attempt} of stop {self.stop_id} has nothing to take"
        self.works, self.owed, self.due_ns = True, False, now_ns + self.escalate_ns
        self.position.work(leave_by, lots, EXIT)

    def send_again(self, order: Any, touch: int, now_ns: int) -> None:
        """Take an order that has left because it was owed."""
        assert self.owed and now_ns >= self.due_ns, f"exit {self.attempt + 1} of stop {self.stop_id} left before it was due"
        self.send(order, touch, now_ns)

    def take_back(self, order: Any, now_ns: int) -> None:
        """Take the cancel of a limit order that has worked for too long."""
        is_due = self.works and self.limit > 0 and not self.is_taken_back and now_ns >= self.due_ns
        assert is_due and order["order_id"] == self.order_id, f"an exit of stop {self.stop_id} was taken back before it was due"
        self.is_taken_back = True

    def take_report(self, report: Any, is_over: bool) -> None:
        """Take a report about it, and whether that ended the order."""
        if report["order_id"] != self.order_id:
            return
        is_fill = report["kind"] in (FILLED, PARTIALLY_FILLED)
        if is_over:
            self.works, self.is_done = False, is_fill
        if is_fill and self.limit:
            beyond = self.side * (int(report["price_ticks"]) - self.limit)
            assert beyond >= 0, f"stop {self.stop_id} was left at {report['price_ticks']}, beyond its collar at {self.limit}"

    def owe(self, event: Any) -> None:
        """Take the news that it is owed."""
        is_over = self.attempt > 0 and not self.works and not self.owed and not (self.is_done and self.fraction_ppm)
        assert is_over and event["order_id"] == self.order_id, f"stop {self.stop_id} owes an exit that has not come back"
        wait_ns = min(self.limits.retry_ns << (self.attempt - 1), self.limits.retry_ns_max)
        if self.is_taken_back and not self.is_answered:
            self.is_answered, wait_ns = True, 0
        self.owed, self.due_ns, self.is_done = True, int(event["event_ns"]) + wait_ns, False

    def assert_not_late(self, now_ns: int) -> None:
        """There was room, and time has been looked after: nothing is left that was due."""
        late = now_ns >= self.due_ns
        assert not (late and self.owed and self.position.left > 0), f"stop {self.stop_id} owes an exit that is due"
        rests = self.works and self.limit > 0 and not self.is_taken_back
        assert not (late and rests), f"a limit exit of stop {self.stop_id} works for too long"
