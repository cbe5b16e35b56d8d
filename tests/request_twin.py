"""The slow twin of what risk does with requests: every one of them is judged in the order in which risk took it.

Orders by tests/check_twin.py, in the world as risk knew it then; what is asked of scopes, and taken back, by the rules of the
contract. Each request has its answer, an event or an order, and nothing else comes of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import Any

from pipeline import messages as m
from pipeline import tables as t
from pipeline.order_ids import entry_order_id
from pipeline.risk.cancels import CANCEL_BATCH
from pipeline.risk.entries import EVENTS_NEEDED, ORDERS_NEEDED
from pipeline.risk.limits import UNLIMITED
from tests.check_twin import FINE, Verdict, check_order
from tests.check_world import Holding, Market, World
from tests.exit_twin import SentTwin
from tests.guards import flattening
from tests.recorder import RecordingRig
from tests.safety import assert_safe
from tests.scope_twin import ScopesTwin
from tests.stop_ledger import StopLedger
from tests.stop_oracle import Stop

#: Reasons that depend on rings and tables, which the twin does not count.
OF_ROOM = {m.REJECT_NO_ROOM, m.REJECT_ENTRIES_BLOCKED}
#: Room that one more stop of a flattening must find.
FIRE_ORDERS, FIRE_EVENTS = 2, 5


class RequestTwin(StopLedger):
    """Requests, scopes, and the orders that have left.

    Args:
        rig: Settled.

    Attributes:
        sent: orders that have left and have not ended, by id.
        scopes: states, limits, totals.
        quotes: bid, ask and last of each instrument, 0 = not known.
        stamps: of each instrument, when the last quote came, and the last trade.
    """

    def __init__(self, rig: RecordingRig) -> None:
        super().__init__(rig)
        self.sent: dict[int, SentTwin] = {}
        words = rig.risk.scopes.words.reshape(-1, t.SCOPE_WORDS)
        self.scopes = ScopesTwin(rig.sizes, rig.limits, rig.limit_rows, words[:, t.SCOPE_RESTRICTED])
        self.scopes.positions = self.positions
        self.quotes = [(0, 0, 0)] * rig.sizes.instruments
        self.stamps = [(0, 0)] * rig.sizes.instruments

    @abstractmethod
    def take_event(self, event: Any, orders: deque) -> None:
        """Take what risk says that it did about a stop, at a report or a request."""

    @abstractmethod
    def fire(self, stop: Stop, price: int, reason: int, event: Any, orders: deque) -> None:
        """Take a stop that fired, and its exit."""

    # ── What risk finds out by itself ──

    def review(self, events: deque) -> None:
        """Have the breaker look, if it is time, and take what it tells."""
        before = len(self.scopes.changes)
        self.scopes.now_ns = self.walk.now_ns
        self.scopes.review(self.quotes)
        for change in self.scopes.changes[before:]:
            self.take_change(events, change, 0, 0)

    def take_change(self, events: deque, change: tuple[int, ...], requester: int, request_id: int) -> None:
        """Take the event of a changed state."""
        assert events, f"a change of state was not told: {change}"
        event = events.popleft()
        names = ("kind", "event_ns", "scope", "state", "reason", "value", "limit", "requester", "request_id")
        told, expected = tuple(int(event[name]) for name in names), (m.STATE_CHANGED, *change, requester, request_id)
        assert expected == told, f"event {event['event_id']} tells {told}, and not {expected}"

    def room(self, orders: deque, events: deque) -> tuple[int, int]:
        """Return how many orders and events find room, those of this turn counted that were taken."""
        turn, sizes = self.turn, self.rig.sizes
        for_orders = turn.read[0] + sizes.orders - turn.orders[1] + len(orders)
        return for_orders, turn.read[1] + sizes.events - turn.events[1] + len(events)

    # ── Scopes that are being emptied ──

    def take_flagged(self, events: deque, orders: deque) -> None:
        """Take the cancels of scopes that are being emptied, and the exits of those that are left."""
        scopes, turn = self.scopes, self.turn
        if not any(scopes.cancels) and not any(scopes.flattens):
            return
        room = self.room(orders, events)
        if room[0] < ORDERS_NEEDED or room[1] < EVENTS_NEEDED:
            return
        took_more = any(first < end for first, end in (*turn.requests, turn.ticks))
        is_whole = not turn.opened or took_more
        left = sum(scopes.is_to_cancel(sent) for sent in self.sent.values())
        count = 0
        while orders and orders[0]["kind"] == m.CANCEL and orders[0]["quantity_lots"] > 0:
            if not self.is_of_flags(orders[0]):
                break
            self.take_back(orders.popleft())
            count += 1
        assert not is_whole or count == min(left, CANCEL_BATCH, room[0] - 1), f"{count} of {left} orders were taken back"
        while self.is_flattening(events):
            self.take_flattening(events, orders)
        if is_whole:
            self.assert_left(*self.room(orders, events))
        lowered = (turn.scopes[:, t.SCOPE_CANCELS] < scopes.cancels) | (turn.scopes[:, t.SCOPE_FLATTENS] < scopes.flattens)
        if is_whole or lowered.any():
            scopes.lower_flags(self.sent.values())

    def is_of_flags(self, order: Any) -> bool:
        """Tell whether a cancel goes with the others of a scope."""
        sent = self.sent.get(int(order["order_id"]))
        return sent is not None and self.scopes.is_to_cancel(sent)

    def take_back(self, order: Any) -> None:
        """Take the cancel of an order that works."""
        sent = self.sent[int(order["order_id"])]
        assert not sent.is_taken_back, f"order {sent.order_id} was taken back twice"
        names = ("kind", "quantity_lots", "price_ticks", "request_id", "stop_id", "side", "flags", "event_ns")
        told = (*(int(order[name]) for name in names), self.row_of(order))
        expected = (
            m.CANCEL, sent.left, sent.limit, sent.request_id, sent.stop_id, sent.side, sent.flags, self.walk.now_ns, sent.row
        )  # fmt: skip
        assert expected == told, f"the cancel of order {sent.order_id} is {told}, and not {expected}"
        sent.is_taken_back = True

    def is_flattening(self, events: deque) -> bool:
        """Tell whether a stop comes next that fires because its position is to be left."""
        if not events:
            return False
        event = events[0]
        if event["kind"] == m.STOP_ARMED and event["request_id"] == 0 and len(events) > 1:
            event = events[1]
            if event["stop_id"] != events[0]["stop_id"]:
                return False
        return bool(event["kind"] == m.STOP_TRIGGERED and event["reason"] == m.TRIGGER_FLATTEN)

    def take_flattening(self, events: deque, orders: deque) -> None:
        """Take the stop by which a position is left: the first that exits all of it, or one that is set for that."""
        row = self.row_of(events[0])
        position = self.positions[row]
        assert self.scopes.is_flattened(row), f"position {row} was left, which nobody asked for"
        assert position.left > 0, f"nothing is left of position {row}"
        whole = [one for one in self.guards.values() if one.row == row and one.fraction_ppm == 0 and one.exit is None]
        first = min(whole, key=lambda one: (one.terms.watch, one.terms.stop_id), default=None)
        if events[0]["kind"] == m.STOP_ARMED:
            assert first is None, f"position {row} is left by a new stop, and has stop {first and first.terms.stop_id}"
            self.arm(events.popleft(), flattening)
        event = events.popleft()
        assert first is None or first.terms.stop_id == event["stop_id"], f"position {row} was left by another stop"
        guard = self.guards[int(event["stop_id"])]
        self.fire(guard.stop, self.price_now(guard.stop), m.TRIGGER_FLATTEN, event, orders)

    def assert_left(self, orders: int, events: int) -> None:
        """Nothing is left of positions in scopes that are being left, but what waits for its turn."""
        if orders < FIRE_ORDERS or events < FIRE_EVENTS or len(self.guards) + 2 >= self.rig.sizes.stops:
            return
        for row, position in self.positions.items():
            if position.left and self.scopes.is_flattened(row):
                owed = [one.exit for one in self.guards.values() if one.row == row and one.fraction_ppm == 0 and one.exit]
                assert any(one.owed for one in owed), f"position {row} was to be left"

    # ── Requests ──

    def take_requests(self, events: deque, orders: deque) -> None:
        """Take every request of the turn."""
        for requester, span in enumerate(self.turn.requests):
            for seq in range(*span):
                waits = [c > f for c, f in zip(self.scopes.cancels, self.scopes.flattens, strict=True)]
                assert not any(waits), "a request was taken before orders were taken back"
                self.review(events)
                self.take_request(requester, seq, events, orders)

    def take_request(self, requester: int, seq: int, events: deque, orders: deque) -> None:
        """Take one request, and its answer."""
        sizes, request = self.rig.sizes, self.requests[requester][seq]
        strategy = requester if requester < sizes.strategies else int(request["strategy"])
        instrument, kind = int(request["instrument"]), int(request["kind"])
        reason = m.REASON_NONE
        if strategy >= sizes.strategies:
            reason = m.REJECT_BAD_REQUEST
        elif instrument >= sizes.instruments:
            reason = m.REJECT_UNKNOWN_INSTRUMENT
        elif kind in (m.SET_STOP, m.MOVE_STOP, m.CANCEL_STOP):
            self.take_stop_request(requester, seq, events, orders)
        elif kind == m.CANCEL_ORDER:
            reason = self.cancel_order(requester, strategy, request, events, orders)
        elif m.CANCEL_ALL <= kind <= m.FLATTEN:
            reason = self.take_scope_request(requester, request, events)
        elif requester != strategy:
            reason = m.REJECT_BAD_REQUEST
        else:
            self.submit(strategy, seq, events, orders)
        if reason != m.REASON_NONE:
            self.take_refusal(requester, seq, events, (reason, 0, 0, 0, ""))

    def take_refusal(self, requester: int, seq: int, events: deque, verdict: Verdict) -> None:
        """Take a refusal, and count it."""
        request, strategies = self.requests[requester][seq], self.rig.sizes.strategies
        assert events, f"request {seq + 1} of {requester} was to be refused: {m.REJECT_REASONS[verdict[0]]}"
        event = events.popleft()
        reason, value, limit, scope, name = verdict
        strategy = requester if requester < strategies else int(request["strategy"])
        order_id = entry_order_id(requester, seq) if request["kind"] == m.SUBMIT else 0
        expected = (
            m.REQUEST_REFUSED, requester, seq + 1, reason, value, limit, scope, t.LIMIT_NAMES.index(name) if name else 0,
            strategy, int(request["instrument"]), order_id, self.walk.now_ns,
        )  # fmt: skip
        names = (
            "kind", "requester", "request_id", "reason", "value", "limit", "scope", "limit_id", "strategy", "instrument",
            "order_id", "event_ns",
        )  # fmt: skip
        told = tuple(int(event[name]) for name in names)
        assert expected == told, f"request {seq + 1} of {requester}: told {told}, and not {expected}"
        self.scopes.now_ns = self.walk.now_ns
        if request["kind"] == m.SUBMIT and strategy < strategies:
            self.scopes.refused(strategy)

    def take_stop_request(self, requester: int, seq: int, events: deque, orders: deque) -> None:
        """Take the answer to a request about a stop."""
        assert events, f"request {seq + 1} of {requester} was not answered"
        event = events[0]
        assert (event["requester"], event["request_id"]) == (requester, seq + 1), f"event {event['event_id']} answers another"
        if event["kind"] == m.REQUEST_REFUSED:
            self.check_refusal(event)
            self.take_refusal(requester, seq, events, (int(event["reason"]), 0, 0, 0, ""))
            return
        self.take_event(events.popleft(), orders)
        while self.to_fire:
            self.take_event(events.popleft(), orders)

    def world(self) -> World:
        """Return the account as risk knows it now."""
        settings = self.limits
        markets = []
        for instrument, ((bid, ask, last), (quote_ns, trade_ns)) in enumerate(zip(self.quotes, self.stamps, strict=True)):
            series = self.walk.series[instrument, settings.atr_period, settings.bar_ns]
            atr, count, ranges, prices = series.state()
            open_bar = (int(2 * max(prices)), int(2 * min(prices))) if prices else None
            markets.append(Market(bid, ask, last, quote_ns, trade_ns, float(2 * atr), count, int(2 * ranges), open_bar))
        holdings = {
            divmod(row, self.rig.sizes.instruments): Holding(
                one.quantity, one.cost, one.working_buy, one.working_sell, one.leaving, one.entry, *one.last_order
            )
            for row, one in self.positions.items()
        }
        return World(
            settings.value_units.tolist(), settings.lot_units.tolist(), settings.balance_units, settings.stale_ns,
            settings.rate_burst, settings.rate_reserve_ppm, self.walk.now_ns, settings.atr_period, markets, holdings,
            self.scopes.named, self.scopes.all_words(),
        )  # fmt: skip

    def submit(self, strategy: int, seq: int, events: deque, orders: deque) -> None:
        """Take the answer to an order: the twin's verdict, and no other."""
        request = self.requests[strategy][seq : seq + 1]
        instrument = int(request["instrument"][0])
        world = self.world()
        verdict = check_order(world, self.closed_reason(instrument), strategy, instrument, request)
        is_mine = events and (events[0]["requester"], events[0]["request_id"]) == (strategy, seq + 1)
        if is_mine and verdict == FINE and int(events[0]["reason"]) in OF_ROOM:
            is_blocked = events[0]["reason"] == m.REJECT_ENTRIES_BLOCKED
            assert not (is_blocked and self.turn.is_open), "an entry was refused while entries were allowed"
            verdict = (int(events[0]["reason"]), 0, 0, 0, "")
        elif is_mine and not self.is_clean and self.has_volatility_limit(world, strategy, instrument):
            # Half of a tick is in the bars, and the twin does not know which.
            event = events[0]
            verdict = (*(int(event[name]) for name in ("reason", "value", "limit", "scope")), t.LIMIT_NAMES[event["limit_id"]])
        if verdict != FINE:
            self.take_refusal(strategy, seq, events, verdict)
            return
        assert orders, f"request {seq + 1} of {strategy} was to become an order"
        self.take_entry(strategy, seq, orders.popleft(), world)

    def closed_reason(self, instrument: int) -> int:
        """Return why an instrument must not be traded now."""
        spans = self.rig.blackouts[instrument] if self.rig.blackouts else ()
        is_closed = any(begin <= self.walk.now_ns < end for begin, end in spans)
        return m.REJECT_BLACKOUT if is_closed else m.REASON_NONE

    def has_volatility_limit(self, world: World, strategy: int, instrument: int) -> bool:
        """Tell whether the ATR decides over an order."""
        scopes = self.scopes.scopes_of(strategy * self.rig.sizes.instruments + instrument)
        return any(world.limits[scope]["max_volatility_percent"] != UNLIMITED for scope in scopes)

    def take_entry(self, strategy: int, seq: int, order: Any, world: World) -> None:
        """Let an entry work, which is what was asked for and keeps to every limit."""
        request = self.requests[strategy][seq]
        limit = int(request["price_ticks"]) if request["order_type"] == m.LIMIT else 0
        row = strategy * self.rig.sizes.instruments + int(request["instrument"])
        position = self.positions[row]
        side, lots = int(request["side"]), int(request["quantity_lots"])
        names = (
            "kind", "order_id", "request_id", "side", "quantity_lots", "price_ticks", "order_type", "flags", "stop_id",
            "event_ns", "generation",
        )  # fmt: skip
        expected = (
            m.NEW, entry_order_id(strategy, seq), seq + 1, side, lots, limit, int(request["order_type"]), 0, 0,
            self.walk.now_ns, position.generation,
        )  # fmt: skip
        told = tuple(int(order[name]) for name in names)
        assert expected == told and self.row_of(order) == row, f"order {order['order_id']} is {told}, and not {expected}"
        position.work(side, lots, 0)
        position.last_order = (self.walk.now_ns, side * lots, limit)
        assert_safe(world, self.world(), strategy, int(request["instrument"]))
        self.sent[int(order["order_id"])] = SentTwin.of(order, row)
        self.scopes.now_ns = self.walk.now_ns
        self.scopes.order(strategy)
        self.scopes.push_rate(row)

    def cancel_order(self, requester: int, strategy: int, request: Any, events: deque, orders: deque) -> int:
        """Take the answer to a cancel; return why it is refused."""
        sent = self.sent.get(int(request["value"]))
        if sent is None or sent.row // self.rig.sizes.instruments != strategy or sent.flags & m.EXIT:
            return m.REJECT_UNKNOWN_ORDER
        self.take_done(requester, request, events, 0, 1)
        if not sent.is_taken_back:
            assert orders, f"order {sent.order_id} was not taken back"
            self.take_back(orders.popleft())
        return m.REASON_NONE

    def take_done(self, requester: int, request: Any, events: deque, scope: int, value: int) -> None:
        """Take the event that says that something is under way."""
        assert events, "what was asked for was not told"
        event = events.popleft()
        told = tuple(int(event[name]) for name in ("kind", "requester", "request_id", "scope", "value"))
        expected = (m.REQUEST_DONE, requester, int(request["request_id"]), scope, value)
        assert expected == told, f"event {event['event_id']} tells {told}, and not {expected}"

    # ── Scopes ──

    def take_scope_request(self, requester: int, request: Any, events: deque) -> int:
        """Take the answer to a request about a scope; return why it is refused."""
        scopes, kind, scope, value = self.scopes, int(request["kind"]), int(request["scope"]), int(request["value"])
        is_person = requester == self.rig.sizes.strategies
        scopes.now_ns = self.walk.now_ns
        if scope >= len(scopes.scopes):
            return m.REJECT_BAD_REQUEST
        if not is_person and not self.may_ask(requester, kind, scope, value):
            return m.REJECT_NOT_ALLOWED
        if kind == m.SET_LIMIT:
            return self.set_limit(requester, request, events)
        if kind == m.SET_STATE:
            if not m.ACTIVE <= value <= m.KILLED:
                return m.REJECT_BAD_REQUEST
            if is_person:
                scopes.person(scope, value, self.quotes)
            else:
                scopes.change(scope, value, m.BY_STRATEGY, 0, 0)
            self.take_change(events, scopes.changes[-1], requester, int(request["request_id"]))
            if value == m.KILLED:
                scopes.flattens[scope] |= bool(request["flags"] & m.AND_FLATTEN)
            return m.REASON_NONE
        entries = [sent for sent in self.sent.values() if not sent.flags & m.EXIT and scopes.has_row(scope, sent.row)]
        opened = [row for row, position in self.positions.items() if position.quantity and scopes.has_row(scope, row)]
        self.take_done(requester, request, events, scope, len(entries if kind == m.CANCEL_ALL else opened))
        scopes.cancels[scope] = 1
        scopes.flattens[scope] |= kind == m.FLATTEN
        return m.REASON_NONE

    def may_ask(self, requester: int, kind: int, scope: int, value: int) -> bool:
        """Tell whether a strategy may ask for this: it may tighten its own scope, and kill the account."""
        if scope == 0:
            return kind == m.SET_STATE and value == m.KILLED
        is_own = scope == 1 + requester and kind != m.SET_LIMIT
        return is_own and (kind != m.SET_STATE or value > self.scopes.scopes[scope].state)

    def set_limit(self, requester: int, request: Any, events: deque) -> int:
        """Take a changed limit, and the one event that tells it."""
        limit_id, value, scope = (int(request[name]) for name in ("limit_id", "value", "scope"))
        if limit_id >= len(t.LIMIT_NAMES) or value < UNLIMITED:
            return m.REJECT_BAD_REQUEST
        before = self.scopes.set_limit(scope, limit_id, value)
        assert events, "a changed limit was not told"
        event = events.popleft()
        names = ("kind", "requester", "request_id", "scope", "limit_id", "value", "limit")
        expected = (m.LIMIT_CHANGED, requester, int(request["request_id"]), scope, limit_id, before, value)
        told = tuple(int(event[name]) for name in names)
        assert expected == told, f"event {event['event_id']} tells {told}, and not {expected}"
        return m.REASON_NONE
