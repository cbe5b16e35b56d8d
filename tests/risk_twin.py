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

import numpy as np

from pipeline.messages import (
    ACCEPTED,
    BID_ASK,
    CANCEL,
    END_CANCELLED,
    EXIT,
    LONG,
    ORDER,
    REPORT,
    REQUEST_REFUSED,
    STOP_ARMED,
    STOP_ENDED,
    STOP_MOVED,
    STOP_OWED,
    STOP_TRIGGERED,
    SUBMIT,
    TAKE_PROFIT,
    TICK,
    TRIGGER_DEADLINE,
    TRIGGER_LEVEL,
    TRIGGER_NOW,
    TRIGGER_STALE,
    TRIGGER_TARGET,
)
from tests.exit_twin import ExitTwin
from tests.recorder import RecordingRig, Turn
from tests.stop_ledger import StopLedger
from tests.stop_oracle import Stop

#: Looks for stale instruments within `stale_ns`.
STALE_LOOKS = 8
#: Kinds of events that answer a request.
ANSWERS = (STOP_ARMED, STOP_MOVED, STOP_ENDED, REQUEST_REFUSED)


def request_key(record: Any, requester: str) -> tuple[int, int]:
    """Return whose request a record answers, and which of his it is."""
    return int(record[requester]), int(record["request_id"])


class RiskTwin(StopLedger):
    """Risk's twin over the whole record of a rig.

    Args:
        rig: Settled.

    Attributes:
        last_ns: of each instrument, when its last accepted tick came.
        next_look_ns: when risk looks for stale instruments again.
        asking: whose request set or moved a stop last, and which of his it was.
    """

    def __init__(self, rig: RecordingRig) -> None:
        super().__init__(rig)
        self.ticks = rig.records("ticks", TICK).tolist()
        self.orders, self.reports = rig.records("orders", ORDER), rig.records("reports", REPORT)
        self.last_ns: defaultdict[int, int] = defaultdict(int)
        self.next_look_ns = 0
        self.asking = (0, 0)

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
        for report in self.reports[slice(*turn.reports)]:
            self.take_report(report, events)
        at_ticks: dict[int, dict[int, Any]] = {}
        for event in events:
            assert event["request_id"] or event["kind"] == STOP_TRIGGERED, f"event {event['event_id']} has no cause"
            if event["kind"] == STOP_TRIGGERED and event["reason"] != TRIGGER_NOW:
                at_ticks.setdefault(int(event["tick_seq"]), {})[int(event["stop_id"])] = event
            else:
                self.take_event(event, orders)
        self.assert_answered(orders)
        self.take_entries(orders)
        of_ticks = {int(event["order_id"]) for events in at_ticks.values() for event in events.values()}
        self.look_after_exits(orders, of_ticks)
        for seq in range(*turn.ticks):
            self.take_tick(seq, at_ticks.pop(seq, {}), orders, True)
        if turn.ticks[1] in at_ticks:
            self.take_tick(turn.ticks[1], at_ticks.pop(turn.ticks[1]), orders, False)
        assert not at_ticks, f"stops fired at ticks that were not taken: {sorted(at_ticks)}"
        assert not orders, f"an order that nothing asked for: {orders[0]}"
        self.end_turn()

    def end_turn(self) -> None:
        """Bring time and marks to where risk has them, and check that all is in order between two turns."""
        turn = self.turn
        self.walk.pass_time(turn.now_ns)
        self.marks = turn.marks
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

    # ── Reports, requests, and what they do to stops ──

    def take_report(self, report: Any, events: deque) -> None:
        """Take a report that risk has taken, and the events that follow from it."""
        if report["kind"] == ACCEPTED:
            return
        row, stop_id = self.row_of(report), int(report["stop_id"])
        position = self.positions[row]
        was_open, generation = position.quantity != 0, position.generation
        position.take(report)
        guard = self.guards.get(stop_id) if report["flags"] & EXIT else None
        if guard is not None and guard.exit is not None:
            guard.exit.take_report(report)
        is_new = position.generation != generation
        is_over = was_open and (is_new or position.quantity == 0)
        while events and self.row_of(events[0]) == row:
            event = events[0]
            if event["reason"] == END_CANCELLED and event["kind"] == STOP_ENDED:
                return
            is_done = guard is not None and guard.fraction_ppm > 0 and guard.exit is not None and guard.exit.is_done
            is_mine = {
                STOP_OWED: event["order_id"] == report["order_id"],
                STOP_ENDED: (is_over and event["generation"] == generation) or (is_done and event["stop_id"] == stop_id),
                STOP_ARMED: event["request_id"] == 0 and (is_new or (guard is not None and stop_id not in self.guards)),
            }
            if not is_mine.get(int(event["kind"])):
                return
            self.take_event(events.popleft(), deque())

    def take_event(self, event: Any, orders: deque) -> None:
        """Take what risk says that it did about a stop, at a report or a request."""
        stop_id, kind = int(event["stop_id"]), int(event["kind"])
        assert event["event_ns"] == self.walk.now_ns, f"event {event['event_id']} has another time than the stream"
        if kind == STOP_ARMED:
            self.arm(event)
            self.asking = request_key(event, "requester")
            return
        if kind == REQUEST_REFUSED:
            self.check_refusal(event)
            return
        assert stop_id in self.guards, f"event {event['event_id']} is about stop {stop_id}, which is not there"
        guard = self.guards[stop_id]
        if kind == STOP_MOVED:
            self.move(guard, event)
            self.asking = request_key(event, "requester")
        elif kind == STOP_ENDED:
            self.end(guard, event)
        elif kind == STOP_OWED:
            assert guard.exit is not None, f"stop {stop_id} owes an exit and has not fired"
            guard.exit.owe(event)
        else:
            assert kind == STOP_TRIGGERED
            assert stop_id in self.to_fire, f"stop {stop_id} fired at once, which nobody asked for"
            self.to_fire.remove(stop_id)
            # Entries that were asked for before it work already: requests are taken ring by ring.
            while orders and not orders[0]["flags"] & EXIT and request_key(orders[0], "strategy") < self.asking:
                self.take_entry(orders.popleft())
            self.fire(guard.stop, self.price_now(guard.stop), TRIGGER_NOW, event, orders)

    def assert_answered(self, orders: deque) -> None:
        """Each request that was consumed has one answer: an event, or an order."""
        events = self.events[slice(*self.turn.events)]
        told = events[
            (events["request_id"] > 0) & np.isin(events["kind"], (STOP_ARMED, STOP_MOVED, STOP_ENDED, REQUEST_REFUSED))
        ]
        sent = self.orders[slice(*self.turn.orders)]
        answers = [request_key(event, "requester") for event in told]
        answers += [request_key(order, "strategy") for order in sent if order["request_id"]]
        asked = [(ring, seq + 1) for ring, span in enumerate(self.turn.requests) for seq in range(*span)]
        assert sorted(asked) == sorted(answers), f"asked were {sorted(asked)}, answered were {sorted(answers)}"

    def take_entries(self, orders: deque) -> None:
        """Let the entries work that requests have sent."""
        while orders and not orders[0]["flags"] & EXIT:
            self.take_entry(orders.popleft())

    def take_entry(self, order: Any) -> None:
        """Let an entry work."""
        assert not order["flags"] & EXIT, f"exit {order['order_id']} left before its turn"
        request = self.requests[int(order["strategy"])][int(order["request_id"]) - 1]
        assert request["kind"] == SUBMIT
        self.positions[self.row_of(order)].work(int(order["side"]), int(order["quantity_lots"]), int(order["flags"]))

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
        if flags == 0 and kind in (1, 2):
            self.last_ns[instrument] = self.walk.now_ns
        for stop, price in crossed:
            reason = TRIGGER_TARGET if stop.terms.kind == TAKE_PROFIT else TRIGGER_LEVEL
            self.judge(stop, price, reason, events, orders, is_whole)
        for stop in sorted(self.walk.due(), key=lambda stop: (stop.terms.deadline_ns, stop.terms.stop_id)):
            self.judge(stop, self.walk.mark(stop.terms) or 0, TRIGGER_DEADLINE, events, orders, is_whole)
        if self.limits.flattens and self.walk.now_ns >= self.next_look_ns:
            self.leave_stale(events, orders, is_whole)
        assert not events, f"stop {next(iter(events))} fired without cause"

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
        expected = (reason, price, probe.level or 0, self.walk.now_ns)
        assert expected == told, f"stop {stop.terms.stop_id} fired by {told}, and not by {expected}"
        now = reason == TRIGGER_NOW
        self.close_span(stop.terms.stop_id, self.turn.ticks[0] if now else int(event["tick_seq"]) + 1)
        self.walk.drop(stop.terms.stop_id)
        position = self.positions[guard.row]
        collar_from = price if stop.terms.watch == BID_ASK else 0
        guard.exit = ExitTwin(
            self.limits, stop.terms.stop_id, position, guard.fraction_ppm, guard.collar, guard.escalate_ns, collar_from
        )
        assert event["quantity_lots"] == guard.exit.lots, f"stop {stop.terms.stop_id} leaves {guard.exit.lots} lots"
        if guard.exit.lots == 0:
            guard.exit.wait(self.walk.now_ns)
        else:
            assert orders, f"stop {stop.terms.stop_id} fired, and no exit left"
            guard.exit.send(orders.popleft(), self.touch_now(stop) if now else self.touch_at_tick(stop), self.walk.now_ns)
        assert event["order_id"] == guard.exit.order_id

    # ── Exits that time has to do with ──

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
        if self.turn.has_room and not self.turn.opened:
            for guard in self.guards.values():
                if guard.exit is not None:
                    guard.exit.assert_not_late(now_ns)
