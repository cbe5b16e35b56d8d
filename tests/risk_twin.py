"""The slow, obvious twin of what risk does about stops in a live instance: it follows the record of tests/recorder.py by turns.

A turn is what one step of risk did: reports first, then requests, then exits that time has to do with, then ticks. The twin
knows the positions by the reports that risk has taken, and the stops by the events that armed and moved them; from there on it
walks them by itself (tests/stop_oracle.py), and says where each must fire. What risk did must be that, no more and no less:

    armed     for the position that is open, at its entry price, with its terms, and not beyond the price
    fires     at its first crossing, by price, level and tick; at its deadline; in a stale market; at once where that was asked
    waits     only while exits, with what else works, take the whole position
    exits     as tests/exit_twin.py has it
    ends      with its position, with its fraction's fill, or by a request

Where a kill left a tick half done, time and marks are those that risk has seen of it. Best prices may have seen it as well: so
the level of a stop that is moved just then is not compared, and nothing else is left out.
"""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from typing import Any

from pipeline.messages import (
    ACCEPTED,
    BID_ASK,
    CANCEL,
    END_CANCELLED,
    EXIT,
    FILLED,
    LONG,
    ORDER,
    PARTIALLY_FILLED,
    QUOTE,
    REJECTED,
    REPORT,
    STOP_ARMED,
    STOP_ENDED,
    STOP_MOVED,
    STOP_OWED,
    STOP_TRIGGERED,
    TAKE_PROFIT,
    TICK,
    TRADE,
    TRIGGER_DEADLINE,
    TRIGGER_FLATTEN,
    TRIGGER_LEVEL,
    TRIGGER_NOW,
    TRIGGER_STALE,
    TRIGGER_TARGET,
)
from tests.books import assert_books
from tests.exit_twin import ExitTwin, SentTwin
from tests.guards import Guard
from tests.recorder import RecordingRig, Turn
from tests.request_twin import RequestTwin
from tests.stop_oracle import Stop

#: Looks for stale instruments within `stale_ns`.
STALE_LOOKS = 8


class RiskTwin(RequestTwin):
    """Risk's twin over the whole record of a rig.

    Args:
        rig: Settled.

    Attributes:
        last_ns: of each instrument, when its last accepted tick came.
        next_look_ns: when risk looks for stale instruments again.
        fills: ids of the fills that have counted.
        reviewed_ns: when a review was due at the end of the turn before.
    """

    def __init__(self, rig: RecordingRig) -> None:
        super().__init__(rig)
        self.ticks = rig.records("ticks", TICK).tolist()
        self.orders, self.reports = rig.records("orders", ORDER), rig.records("reports", REPORT)
        self.last_ns: defaultdict[int, int] = defaultdict(int)
        self.next_look_ns = 0
        self.fills: set[int] = set()
        self.reviewed_ns = -1

    def live(self) -> None:
        """Follow every turn."""
        for turn in self.rig.turns:
            try:
                self.take_turn(turn)
            except AssertionError as error:
                raise AssertionError(f"{error} (before tick {turn.ticks[1]})") from error

    def take_turn(self, turn: Turn) -> None:
        """Follow one turn."""
        self.turn = turn
        orders, events = deque(self.orders[slice(*turn.orders)]), deque(self.events[slice(*turn.events)])
        self.scopes.now_ns = self.walk.now_ns
        for report in self.reports[slice(*turn.reports)]:
            self.take_report(report, events)
        self.take_flagged(events, orders)
        self.take_requests(events, orders)
        of_ticks = {int(e["order_id"]) for e in events if e["kind"] == STOP_TRIGGERED}
        self.look_after_exits(orders, of_ticks)
        for seq in range(*turn.ticks):
            self.begin_tick(seq, events)
            self.take_tick(seq, self.fired_at(seq, events), orders, True)
        self.pass_half_tick(events, orders)
        assert not events, f"event {events[0]['event_id']} has no cause"
        assert not orders, f"an order that nothing asked for: {orders[0]}"
        self.end_turn()

    def begin_tick(self, seq: int, events: deque) -> None:
        """Let time move to a tick, and have the breaker look, if it is time."""
        self.scopes.now_ns = max(self.walk.now_ns, self.ticks[seq][0])
        before = self.walk.now_ns
        self.walk.now_ns = self.scopes.now_ns
        self.review(events)
        self.walk.now_ns = before

    def fired_at(self, seq: int, events: deque) -> dict[int, Any]:
        """Return the events of stops that fired at a tick, by their ids."""
        fired = {}
        while events and events[0]["kind"] == STOP_TRIGGERED and events[0]["tick_seq"] == seq:
            event = events.popleft()
            fired[int(event["stop_id"])] = event
        return fired

    def pass_half_tick(self, events: deque, orders: deque) -> None:
        """Take what risk did of the tick that it has not done with: a review, some of the stops."""
        turn, scopes = self.turn, self.scopes
        if scopes.review_due_ns != turn.review_ns and turn.review_ns > 0:
            scopes.now_ns = turn.now_ns
            before, self.walk.now_ns = self.walk.now_ns, turn.now_ns
            self.review(events)
            self.walk.now_ns = before
        fired = self.fired_at(turn.ticks[1], events)
        if fired:
            self.take_tick(turn.ticks[1], fired, orders, False)

    def end_turn(self) -> None:
        """Bring time and marks to where risk has them, and check that all is in order between two turns."""
        turn = self.turn
        self.walk.pass_time(turn.now_ns)
        self.marks = turn.marks
        for instrument, mark in enumerate(turn.marks):
            self.quotes[instrument] = (int(mark["bid_ticks"]), int(mark["ask_ticks"]), int(mark["last_ticks"]))
            self.stamps[instrument] = (int(mark["quote_ns"]), int(mark["trade_ns"]))
        self.is_clean = int(turn.marks["tick_seq"].max()) < turn.ticks[1]
        if turn.opened:
            self.next_look_ns = 0
        assert not self.to_fire, f"stops {self.to_fire} were to fire at once and did not"
        protected = {guard.row for guard in self.guards.values() if guard.protects}
        for stop_id, guard in self.guards.items():
            position = self.positions[guard.row]
            assert position.generation == guard.generation and position.quantity != 0, f"stop {stop_id} guards nothing"
            assert guard.exit is None or guard.exit.works != guard.exit.owed, f"the exit of stop {stop_id} is nowhere"
        for row, position in self.positions.items():
            bare = position.quantity != 0 and row not in protected
            assert not (bare and self.limits.enforces), f"nothing protects position {row}"
        spans = (turn.reports, *turn.requests, turn.orders, turn.events)
        if turn.opened or turn.review_ns != self.reviewed_ns or any(first < end for first, end in spans):
            assert_books(self, turn)
        self.reviewed_ns = turn.review_ns

    # ── Reports, and what they do to stops ──

    def take_report(self, report: Any, events: deque) -> None:
        """Take a report that risk has taken, and the events that follow from it: each fill once, each end of an order once."""
        kind, order_id, row = int(report["kind"]), int(report["order_id"]), self.row_of(report)
        sent = self.sent.get(order_id)
        if kind in (FILLED, PARTIALLY_FILLED):
            if int(report["fill_id"]) in self.fills:
                return
            self.fills.add(int(report["fill_id"]))
        elif kind == ACCEPTED or sent is None:
            return
        position, stop_id = self.positions[row], int(report["stop_id"])
        was_open, generation = position.quantity != 0, position.generation
        if kind in (FILLED, PARTIALLY_FILLED):
            self.take_fill(report, row, sent)
        elif sent is not None:
            position.work(sent.side, -sent.left, sent.flags)
            sent.left = 0
            if kind == REJECTED and not sent.flags & EXIT:
                self.scopes.rejected(row // self.rig.sizes.instruments)
        is_over = sent is not None and sent.left == 0
        if is_over:
            del self.sent[order_id]
        guard = self.guards.get(stop_id) if report["flags"] & EXIT else None
        if guard is not None and guard.exit is not None:
            guard.exit.take_report(report, is_over)
        is_new = position.generation != generation
        self.take_effects(report, events, guard, is_new, was_open and (is_new or position.quantity == 0), generation)

    def take_fill(self, report: Any, row: int, sent: SentTwin | None) -> None:
        """Take a fill that counts."""
        side, lots, price, fee = (int(report[name]) for name in ("side", "quantity_lots", "price_ticks", "fee_units"))
        position, strategy = self.positions[row], row // self.rig.sizes.instruments
        if sent is not None:
            taken = min(lots, sent.left)
            position.work(sent.side, -taken, sent.flags)
            sent.left -= taken
            if sent.left == 0 and not report["flags"] & EXIT:
                self.scopes.executed(strategy)
        position.fill(side, lots, price, int(report["event_ns"]))
        position.fees += fee
        self.scopes.fill((strategy, row % self.rig.sizes.instruments), side, lots, price, fee)

    def take_effects(self, report: Any, events: deque, guard: Guard | None, is_new: bool, is_over: bool, old: int) -> None:
        """Take the events that follow from a report.

        Args:
            report: Which.
            events: Of the turn, that nothing has caused yet.
            guard: The stop whose exit it is about.
            is_new: It opened or flipped the position.
            is_over: It closed or flipped it.
            old: The position's generation before it.
        """
        row, stop_id, armed_count = self.row_of(report), int(report["stop_id"]), 0
        while events and self.row_of(events[0]) == row:
            event = events[0]
            if event["reason"] == END_CANCELLED and event["kind"] == STOP_ENDED:
                return
            is_done = guard is not None and guard.fraction_ppm > 0 and guard.exit is not None and guard.exit.is_done
            is_bare = guard is not None and stop_id not in self.guards and self.positions[row].quantity != 0
            may_arm = is_new or is_bare
            is_mine = {
                STOP_OWED: event["order_id"] == report["order_id"],
                STOP_ENDED: (is_over and event["generation"] == old) or (is_done and event["stop_id"] == stop_id),
                STOP_ARMED: event["request_id"] == 0 and may_arm and armed_count < len(self.limits.defaults),
            }
            if not is_mine.get(int(event["kind"])):
                return
            armed_count += event["kind"] == STOP_ARMED
            self.take_event(events.popleft(), deque())

    def take_event(self, event: Any, orders: deque) -> None:
        """Take what risk says that it did about a stop, at a report or a request."""
        stop_id, kind = int(event["stop_id"]), int(event["kind"])
        assert event["event_ns"] == self.walk.now_ns, f"event {event['event_id']} has another time than the stream"
        if kind == STOP_ARMED:
            self.arm(event)
            return
        assert stop_id in self.guards, f"event {event['event_id']} is about stop {stop_id}, which is not there"
        guard = self.guards[stop_id]
        if kind == STOP_MOVED:
            self.move(guard, event)
        elif kind == STOP_ENDED:
            self.end(guard, event)
        elif kind == STOP_OWED:
            assert guard.exit is not None, f"stop {stop_id} owes an exit and has not fired"
            guard.exit.owe(event)
        else:
            assert kind == STOP_TRIGGERED and event["reason"] == TRIGGER_NOW
            assert stop_id in self.to_fire, f"stop {stop_id} fired at once, which nobody asked for"
            self.to_fire.remove(stop_id)
            self.fire(guard.stop, self.price_now(guard.stop), TRIGGER_NOW, event, orders)

    # ── Ticks ──

    def take_tick(self, seq: int, events: dict[int, Any], orders: deque, is_whole: bool) -> None:
        """Take one tick: prices, then deadlines, then stale markets.

        Args:
            seq: Its sequence.
            events: Of stops that fired at it in this turn, by their ids.
            orders: Of this turn, that nothing has asked for yet.
            is_whole: Whether risk was done with it; else some of what it causes may come with the next turn.
        """
        tick = self.ticks[seq]
        crossed = self.walk.see(tick)
        instrument, kind, flags = tick[3:6]
        if flags == 0 and kind in (QUOTE, TRADE):
            self.last_ns[instrument] = self.walk.now_ns
            self.set_quote(instrument, kind, tick[7], tick[8])
        for stop, price in crossed:
            reason = TRIGGER_TARGET if stop.terms.kind == TAKE_PROFIT else TRIGGER_LEVEL
            self.judge(stop, price, reason, events, orders, is_whole)
        for stop in sorted(self.walk.due(), key=lambda stop: (stop.terms.deadline_ns, stop.terms.stop_id)):
            self.judge(stop, self.walk.mark(stop.terms) or 0, TRIGGER_DEADLINE, events, orders, is_whole)
        if self.limits.flattens and self.walk.now_ns >= self.next_look_ns:
            self.leave_stale(events, orders, is_whole)
        assert not events, f"stop {next(iter(events))} fired without cause"

    def set_quote(self, instrument: int, kind: int, a: int, b: int) -> None:
        """Let an accepted tick move a mark."""
        bid, ask, last = self.quotes[instrument]
        quote_ns, trade_ns = self.stamps[instrument]
        is_quote = kind == QUOTE
        self.quotes[instrument] = (a, b, last) if is_quote else (bid, ask, a)
        self.stamps[instrument] = (self.walk.now_ns, trade_ns) if is_quote else (quote_ns, self.walk.now_ns)

    def leave_stale(self, events: dict[int, Any], orders: deque, is_whole: bool) -> None:
        """Have the stops of stale instruments fire."""
        now_ns = self.walk.now_ns
        self.next_look_ns = now_ns + self.limits.stale_ns // STALE_LOOKS
        ordered = sorted(
            self.walk.live, key=lambda s: (s.terms.instrument, s.terms.watch, s.terms.side != LONG, s.terms.stop_id)
        )
        for stop in ordered:
            if now_ns - self.last_ns[stop.terms.instrument] > self.limits.stale_ns:
                must = is_whole and self.turn.has_room
                self.judge(stop, self.walk.mark(stop.terms) or 0, TRIGGER_STALE, events, orders, must)

    def judge(self, stop: Stop, price: int, reason: int, events: dict[int, Any], orders: deque, must: bool) -> None:
        """A stop has cause to fire: then it does, unless its whole position is being left already."""
        stop_id = stop.terms.stop_id
        event, position = events.pop(stop_id, None), self.positions[self.guards[stop_id].row]
        if event is not None:
            assert not position.is_left, f"stop {stop_id} fired, and its position was being left"
            self.fire(stop, price, reason, event, orders)
            return
        assert position.is_left or not must, f"stop {stop_id} had to fire at {price}, level {stop.level}, and did not"

    def fire(self, stop: Stop, price: int, reason: int, event: Any, orders: deque) -> None:
        """Take a stop that fired, and its exit."""
        guard = self.guards[stop.terms.stop_id]
        probe = copy.copy(stop)
        if not probe.armed:
            # It waits for its entry time, and what fires it looks at no price.
            probe.arm()
        told = (int(event["reason"]), int(event["price_ticks"]), int(event["level_ticks"]), int(event["event_ns"]))
        level = probe.level or 0
        if reason == TRIGGER_FLATTEN and not self.is_clean:
            # Its best price may have seen the tick of which only half is done.
            level = told[2]
        expected = (reason, price, level, self.walk.now_ns)
        assert expected == told, f"stop {stop.terms.stop_id} fired by {told}, and not by {expected}"
        now = reason in (TRIGGER_NOW, TRIGGER_FLATTEN)
        self.close_span(stop.terms.stop_id, self.turn.ticks[0] if now else int(event["tick_seq"]) + 1)
        self.walk.drop(stop.terms.stop_id)
        position = self.positions[guard.row]
        collar_from = price if stop.terms.watch == BID_ASK else 0
        collar = 0 if reason == TRIGGER_FLATTEN else guard.collar
        guard.exit = ExitTwin(
            self.limits, stop.terms.stop_id, position, guard.fraction_ppm, collar, guard.escalate_ns, collar_from
        )
        lots = guard.exit.lots if self.may_exit(guard.row) else 0
        assert event["quantity_lots"] == lots, f"stop {stop.terms.stop_id} leaves {lots} lots, not {event['quantity_lots']}"
        if lots == 0:
            guard.exit.wait(self.walk.now_ns)
        else:
            assert orders, f"stop {stop.terms.stop_id} fired, and no exit left"
            order = orders.popleft()
            guard.exit.send(order, self.touch_now(stop) if now else self.touch_at_tick(stop), self.walk.now_ns)
            self.let_exit_work(order, guard.row)
        assert event["order_id"] == guard.exit.order_id

    # ── Exits that time has to do with ──

    def may_exit(self, row: int) -> bool:
        """Tell whether an exit of a position may leave: it is not killed, and the table of orders has room."""
        return self.scopes.may_exit(row) and len(self.sent) < self.rig.sizes.working_orders

    def let_exit_work(self, order: Any, row: int) -> None:
        """Note an exit that has left."""
        assert self.scopes.may_exit(row), f"exit {order['order_id']} left a position that is killed"
        self.sent[int(order["order_id"])] = SentTwin.of(order, row)
        self.scopes.now_ns = self.walk.now_ns
        self.scopes.push_rate(row)

    def look_after_exits(self, orders: deque, of_ticks: set[int]) -> None:
        """Take the exits that were owed and have left, and the limit exits that were taken back.

        Args:
            orders: Of this turn, that nothing has asked for yet.
            of_ticks: Ids of those that stops send that fire at ticks of this turn.
        """
        now_ns = self.walk.now_ns
        while orders and int(orders[0]["order_id"]) not in of_ticks:
            order = orders.popleft()
            guard = self.guards.get(int(order["stop_id"]))
            assert guard is not None and guard.exit is not None, f"an exit of stop {order['stop_id']}, which has not fired"
            if order["kind"] == CANCEL:
                guard.exit.take_back(order, now_ns)
            else:
                guard.exit.send_again(order, self.touch_now(guard.stop), now_ns)
                self.let_exit_work(order, guard.row)
        if self.turn.has_room and not self.turn.opened:
            for guard in self.guards.values():
                if guard.exit is not None and self.may_exit(guard.row):
                    guard.exit.assert_not_late(now_ns)
