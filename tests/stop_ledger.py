"""The ledger of stops in a live instance: which there are, by risk's events, each with the twin that says what it does.

A stop is armed for the position that is open, at its entry price, with the terms that are configured or were asked for, and not
beyond the price; it is moved by a request, which leaves it its best price; it ends with its position, with its fraction's fill,
or by a request. Refusals are checked where a twin can tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.messages import (
    BID_ASK,
    CANCEL_STOP,
    END_CANCELLED,
    END_EXIT_FILLED,
    EVENT,
    FIRE_NOW,
    LAST,
    LONG,
    MID,
    MOVE_STOP,
    REJECT_LAST_STOP,
    REJECT_NO_POSITION,
    REJECT_NO_STOP,
    REJECT_STOP_CROSSED,
    REQUEST,
    SET_STOP,
    STOP_TRIGGERED,
    TAKE_PROFIT,
    TRIGGER_NOW,
    WATCH_NAMES,
)
from pipeline.risk.limits import Limits
from tests.exit_twin import PositionTwin
from tests.guards import Guard, asked, configured, is_beyond, moved
from tests.recorder import RecordingRig, Turn
from tests.stop_oracle import Stop, StopTerms, Walk


class StopLedger:
    """Stops and positions at a moment of the record.

    Args:
        rig: Whose record it is.

    Attributes:
        walk: the stops that are armed.
        guards: stops that are armed or fired and have not ended, by stop id.
        positions: by row of the table.
        spans: of each stop that was ever armed: what it was set with, the first tick that it could see, and those from which on
            it was another: it was moved, had fired or had ended.
        marks: MARK of each instrument as risk has them.
        is_clean: whether no tick has been done by half.
        to_fire: stops that must fire at once.
    """

    def __init__(self, rig: RecordingRig) -> None:
        self.rig, self.limits = rig, rig.limits
        self.events = rig.records("events", EVENT)
        self.requests = [rig.records(name, REQUEST) for name in rig.request_rings()]
        self.walk = Walk([], WATCH_NAMES[self.limits.atr_source])
        for instrument in range(rig.sizes.instruments):
            self.walk.begin_series(instrument, self.limits.atr_period, self.limits.bar_ns)
        self.positions: defaultdict[int, PositionTwin] = defaultdict(PositionTwin)
        self.guards: dict[int, Guard] = {}
        self.spans: dict[int, tuple[StopTerms, int, list[int]]] = {}
        self.marks = np.zeros_like(rig.risk.marks)
        self.is_clean = True
        self.to_fire: set[int] = set()
        self.turn: Turn

    def row_of(self, record: Any) -> int:
        """Return the position's row that a record is about."""
        return int(record["strategy"]) * self.rig.sizes.instruments + int(record["instrument"])

    def price_now(self, stop: Stop) -> int:
        """Return the price that a stop watches by risk's marks, in units of its watch; 0 = not known."""
        mark = self.marks[stop.terms.instrument]
        bid, ask, last = (int(mark[name]) for name in ("bid_ticks", "ask_ticks", "last_ticks"))
        own = bid if stop.terms.side == LONG else ask
        return {BID_ASK: own, LAST: last, MID: bid + ask if bid and ask else 0}[stop.terms.watch]

    def touch_now(self, stop: Stop) -> int:
        """Return the price that an exit could get by risk's marks, 0 = none known."""
        mark = self.marks[stop.terms.instrument]
        return int(mark["bid_ticks"] if stop.terms.side == LONG else mark["ask_ticks"]) or int(mark["last_ticks"])

    def touch_at_tick(self, stop: Stop) -> int:
        """Return the price that an exit could get at the tick that the walk has just seen, 0 = none known."""
        instrument, side = stop.terms.instrument, stop.terms.side
        return self.walk.price_of(instrument, BID_ASK, side) or self.walk.price_of(instrument, LAST, side) or 0

    def request_of(self, event: Any, kind: int) -> Any:
        """Return the request that an event answers."""
        request = self.requests[int(event["requester"])][int(event["request_id"]) - 1]
        # A strategy speaks for itself, whatever it says; the control socket for whom it names.
        speaks_for = request["strategy"] if event["requester"] == self.rig.sizes.strategies else event["requester"]
        asked_for, told = (kind, speaks_for, request["instrument"]), (request["kind"], event["strategy"], event["instrument"])
        assert asked_for == told, f"event {event['event_id']} answers another request"
        return request

    def arm(self, event: Any, make: Callable[[Limits, Any, PositionTwin], Guard] = configured) -> None:
        """Take a stop that was armed: a configured one, one that was asked for, or one that `make` makes."""
        stop_id, row = int(event["stop_id"]), self.row_of(event)
        position, request = self.positions[row], None
        assert position.quantity != 0 and position.generation == event["generation"], f"stop {stop_id} guards nothing"
        if event["request_id"]:
            request = self.request_of(event, SET_STOP)
            guard = asked(self.limits, event, position, request, self.walk.now_ns)
        else:
            guard = make(self.limits, event, position)
        guard.row = row
        guard.stop = stop = self.walk.add(guard.terms)
        told = tuple(int(event[name]) for name in ("price_ticks", "side", "watch", "quantity_lots"))
        expected = (stop.terms.entry, position.side, stop.terms.watch, abs(position.quantity))
        assert expected == told, f"stop {stop_id} was armed with {told}, and not with {expected}"
        assert event["tick_seq"] == self.turn.ticks[0], f"stop {stop_id} says that it saw another tick first"
        assert not stop.armed or event["level_ticks"] == (stop.level or 0), f"first level of stop {stop_id}: {stop.level}"
        self.guards[stop_id] = guard
        self.spans[stop_id] = (guard.terms, int(event["tick_seq"]), [])
        if request is not None:
            self.expect_at_once(guard, request)

    def expect_at_once(self, guard: Guard, request: Any) -> None:
        """A stop that is set or moved beyond the price fires at once, and only where that was asked for."""
        if not is_beyond(guard.stop, self.price_now(guard.stop), self.walk.now_ns):
            return
        assert request["flags"] & FIRE_NOW, f"stop {guard.terms.stop_id} was set beyond the price"
        if not self.positions[guard.row].is_left:
            self.to_fire.add(guard.terms.stop_id)

    def move(self, guard: Guard, event: Any) -> None:
        """Take a stop that was moved."""
        request, stop_id = self.request_of(event, MOVE_STOP), guard.terms.stop_id
        assert request["stop_id"] == stop_id and guard.exit is None, f"stop {stop_id} was moved and had fired"
        assert event["tick_seq"] == self.turn.ticks[0]
        self.close_span(stop_id, self.turn.ticks[0])
        guard.stop.move(moved(guard.terms, request))
        if self.is_clean:
            level = guard.stop.level or 0
            assert not guard.stop.armed or event["level_ticks"] == level, f"level of moved stop {stop_id}: {level}"
            self.expect_at_once(guard, request)
        elif request["flags"] & FIRE_NOW and self.is_fired(stop_id):
            self.to_fire.add(stop_id)

    def is_fired(self, stop_id: int) -> bool:
        """Tell whether a stop fires at once in this turn."""
        events = self.events[slice(*self.turn.events)]
        fired = events[(events["kind"] == STOP_TRIGGERED) & (events["reason"] == TRIGGER_NOW)]
        return stop_id in fired["stop_id"]

    def end(self, guard: Guard, event: Any) -> None:
        """Take the end of a stop."""
        stop_id, position = guard.terms.stop_id, self.positions[guard.row]
        assert event["tick_seq"] == self.turn.ticks[0]
        if event["reason"] == END_CANCELLED:
            request = self.request_of(event, CANCEL_STOP)
            assert request["stop_id"] == stop_id and guard.exit is None, f"stop {stop_id} was cancelled and had fired"
        elif position.quantity != 0 and position.generation == guard.generation:
            is_done = guard.exit is not None and guard.exit.is_done and guard.fraction_ppm > 0
            assert is_done and event["reason"] == END_EXIT_FILLED, f"stop {stop_id} ended, and its position is there"
        else:
            assert (event["reason"] == END_EXIT_FILLED) == (guard.exit is not None), f"why stop {stop_id} ended"
        del self.guards[stop_id]
        self.walk.drop(stop_id)
        self.close_span(stop_id, self.turn.ticks[0])

    def close_span(self, stop_id: int, seq: int) -> None:
        """Note at which tick a stop first became another, or none."""
        self.spans[stop_id][2].append(seq)

    def check_refusal(self, event: Any) -> None:
        """Check why a request about stops was refused, where a twin can tell."""
        request, reason = self.requests[int(event["requester"])][int(event["request_id"]) - 1], int(event["reason"])
        row, stop_id = self.row_of(event), int(request["stop_id"])
        if reason == REJECT_NO_POSITION:
            assert self.positions[row].quantity == 0, f"position {row} is there"
        elif reason == REJECT_NO_STOP:
            assert stop_id not in self.guards or self.guards[stop_id].row != row, f"stop {stop_id} is there"
        elif reason == REJECT_STOP_CROSSED:
            assert not request["flags"] & FIRE_NOW, "a stop that may fire at once was refused because it would"
        elif reason == REJECT_LAST_STOP:
            others = [g for g in self.guards.values() if g.row == row and g.exit is None and g.terms.kind != TAKE_PROFIT]
            assert self.limits.enforces and [stop_id] == [g.terms.stop_id for g in others], f"stop {stop_id} is not the last"
