"""The real risk step against its twins, with a venue that the test plays: fills in part, twice, late, after a cancel, mixed up.

What comes in comes in any order, with deaths in between; tests/risk_twin.py then judges every request, order and event, and
every word of every scope. What no sequence may do is checked on the way: in REDUCING nothing makes a position larger.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline import topology
from pipeline.messages import (
    ACCEPTED,
    ACTIVE,
    AND_FLATTEN,
    BUY,
    CANCEL,
    CANCEL_ALL,
    CANCEL_ORDER,
    CANCELLED,
    FILLED,
    FLATTEN,
    HALTED,
    KILLED,
    LIMIT,
    MARKET,
    ORDER,
    PARTIALLY_FILLED,
    QUOTE,
    REDUCING,
    REJECTED,
    REPORT,
    SELL,
    SET_LIMIT,
    SET_STATE,
    SUBMIT,
    TICK,
)
from pipeline.risk.limits import UNLIMITED, default_terms, free_limits
from pipeline.tables import LIMIT_NAMES, SCOPE_STATE, SCOPE_WORDS
from shm import ring
from shm.jit import JIT_ENABLED
from tests.crash_points import run_until
from tests.recorder import RecordingRig, committed
from tests.rig import SIZES, limits
from tests.risk_twin import RiskTwin

pytestmark = pytest.mark.jitless

CONTROL = SIZES.strategies
SCOPES = SIZES.scope_count
FILES = ("shm/", "pipeline/")
#: Limits that are drawn, and values that matter for orders of 1 to 9 lots at 90 to 110.
VALUES = {
    "max_position_quantity": (5, 10, 20), "max_gross_exposure": (900, 2_000), "max_net_exposure": (500, 1_500),
    "max_open_positions": (1, 2), "max_daily_loss": (0, 40), "max_drawdown": (10, 60), "max_consecutive_losses": (1, 2),
    "max_trades_per_day": (2, 6), "max_executions": (1, 4), "duplicate_window_ms": (1, 5_000),
    "max_orders_per_second": (1, 1_000_000), "max_reject_percent": (0, 500_000), "max_order_quantity": (4, 8),
}  # fmt: skip
some_limits = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(
        lambda name: st.tuples(st.integers(0, SCOPES - 1), st.just(name), st.sampled_from(VALUES[name]))
    ),
    max_size=4,
)


class Venue:
    """A venue that answers what it likes: what it has taken, and every report that it ever wrote.

    Args:
        rig: Whose orders it takes; execution never steps.
    """

    def __init__(self, rig: RecordingRig) -> None:
        self.rig, self.seen = rig, 0
        self.orders: list[np.void] = []
        self.told: list[np.ndarray] = []
        self.fills = 0

    def take(self) -> None:
        """Take the orders and cancels that are there."""
        known = self.rig.records("orders", ORDER)
        self.orders += [order for order in known[self.seen :] if order["kind"] != CANCEL]
        self.seen = len(known)
        execution = self.rig.execution
        for reader in (execution.orders, execution.ticks):
            ring.advance(reader, int(reader.ring.words[ring.PUBLISHED]))
        self.rig.drain_sidecar()

    def tell(self, pick: int, kind: int, lots: int, price: int, fee: int) -> None:
        """Report something about an order, whatever was reported before."""
        order = self.orders[-1 - pick % len(self.orders)]
        report = np.zeros(1, REPORT)
        for name in ("order_id", "stop_id", "request_id", "instrument", "strategy", "side", "flags", "generation"):
            report[name] = order[name]
        report["kind"], report["event_ns"] = kind, self.rig.risk_words[topology.RISK_NOW_NS]
        report["quantity_lots"] = report["left_lots"] = order["quantity_lots"]
        if kind in (FILLED, PARTIALLY_FILLED):
            self.fills += 1
            report["fill_id"], report["price_ticks"], report["fee_units"] = self.fills, price, fee
            report["quantity_lots"] = (
                min(lots, int(order["quantity_lots"])) if kind == PARTIALLY_FILLED else order["quantity_lots"]
            )
            if order["price_ticks"]:
                report["price_ticks"] = order["price_ticks"]
        self.publish(report)

    def repeat(self, pick: int) -> None:
        """Let a report come again."""
        self.publish(self.told[-1 - pick % len(self.told)])

    def publish(self, report: np.ndarray) -> None:
        """Publish a report."""
        reports = self.rig.execution.reports
        slots = reports.ring.slots
        place = int(ring.claim(reports, 1)) & (len(slots) - 1)
        slots[place : place + 1] = report
        ring.publish(reports)
        self.told.append(report)
        self.rig.keep_records()


class RiskMachine(RuleBasedStateMachine):
    """Drives risk; the twin judges at the end of each life."""

    @initialize(
        given=some_limits, breaker_state=st.sampled_from([REDUCING, HALTED]), cooldown_ns=st.sampled_from([0, 3_000]),
        has_stops=st.booleans(), enforces=st.booleans(),
    )  # fmt: skip
    def set_up(
        self, given: list[tuple[int, str, int]], breaker_state: int, cooldown_ns: int, has_stops: bool, enforces: bool
    ) -> None:
        """Make an instance with any limits, and a price for every instrument."""
        chosen = limits(SIZES.instruments)._replace(
            breaker_state=breaker_state, cooldown_ns=cooldown_ns, auto_resumes=int(cooldown_ns > 0), reject_orders_min=2,
            defaults=default_terms(static_ppm=60_000, trailing_ppm=80_000) if has_stops else default_terms(),
            enforces=int(enforces and has_stops), balance_units=10_000,
        )  # fmt: skip
        rows = free_limits(SCOPES)
        for scope, name, value in given:
            rows[name][scope] = value
        self.rig = RecordingRig(np.zeros(0, TICK), SIZES, chosen, limit_rows=rows)
        self.venue = Venue(self.rig)
        self.event_ns = 1_000_000
        for instrument in range(SIZES.instruments):
            self.quote(instrument, 0, 0, 1)
        self.known: set[int] = set()
        self.changes = 0

    def step(self) -> None:
        """Let risk take what is there, and the venue its orders."""
        self.rig.step("risk", 64)
        self.venue.take()

    @rule(
        instrument=st.integers(0, 1), after_ns=st.sampled_from([0, 500, 4_000, 20_000]), away=st.integers(-9, 9),
        spread=st.integers(0, 2),
    )  # fmt: skip
    def quote(self, instrument: int, after_ns: int, away: int, spread: int) -> None:
        """A quote comes, and is taken."""
        rig = self.rig
        self.event_ns += after_ns
        tick = np.zeros(1, TICK)
        bid = 100 + away
        tick[0] = (self.event_ns, 0, len(rig.ticks) + 1, instrument, QUOTE, 0, 0, bid, bid + spread, 100, 100)
        rig.ticks = np.concatenate([rig.ticks, tick])
        rig.step("ingest", 1)
        self.step()

    @rule(
        strategy=st.integers(0, 1), instrument=st.integers(0, 1), side=st.sampled_from([BUY, SELL]), lots=st.integers(1, 9),
        price=st.none() | st.integers(85, 115),
    )  # fmt: skip
    def submit(self, strategy: int, instrument: int, side: int, lots: int, price: int | None) -> None:
        """A strategy asks for an order."""
        order_type = MARKET if price is None else LIMIT
        fields = {"kind": SUBMIT, "instrument": instrument, "side": side, "quantity_lots": lots, "price_ticks": price or 0}
        self.send(strategy, **fields, order_type=order_type)

    @rule(requester=st.integers(0, 2), strategy=st.integers(0, 1), pick=st.integers(0, 9))
    def cancel(self, requester: int, strategy: int, pick: int) -> None:
        """Somebody takes an order back."""
        orders = self.venue.orders
        order_id = int(orders[-1 - pick % len(orders)]["order_id"]) if orders else 5
        self.send(requester, kind=CANCEL_ORDER, strategy=strategy, value=order_id)

    @rule(requester=st.integers(0, 2), kind=st.sampled_from([CANCEL_ALL, FLATTEN]), scope=st.integers(0, SCOPES))
    def empty(self, requester: int, kind: int, scope: int) -> None:
        """Somebody takes all orders of a scope back, or leaves its positions."""
        self.send(requester, kind=kind, scope=scope, strategy=0)

    @rule(
        requester=st.sampled_from([0, 1, 2, 2, 2]), scope=st.integers(0, SCOPES - 1),
        state=st.sampled_from([ACTIVE, ACTIVE, REDUCING, REDUCING, HALTED, KILLED]), flattens=st.booleans(),
    )  # fmt: skip
    def set_state(self, requester: int, scope: int, state: int, flattens: bool) -> None:
        """Somebody sets a trading state."""
        self.send(requester, kind=SET_STATE, scope=scope, value=state, flags=AND_FLATTEN if flattens else 0, strategy=0)

    @rule(scope=st.integers(0, SCOPES - 1), name=st.sampled_from(sorted(VALUES)), pick=st.integers(0, 2))
    def set_limit(self, scope: int, name: str, pick: int) -> None:
        """A person changes a limit."""
        value = (*VALUES[name], UNLIMITED)[pick]
        self.send(CONTROL, kind=SET_LIMIT, scope=scope, limit_id=LIMIT_NAMES.index(name), value=value, strategy=0)

    def send(self, requester: int, **fields: int) -> None:
        """Send a request, and let risk take it."""
        if requester == CONTROL:
            fields.setdefault("strategy", 0)
        if ring.room(self.rig.pens[requester]) > 0:
            self.rig.send_request(requester, **fields)
        self.step()

    @rule(
        pick=st.integers(0, 4), kind=st.sampled_from([ACCEPTED, FILLED, FILLED, PARTIALLY_FILLED, REJECTED, CANCELLED]),
        lots=st.integers(1, 9), price=st.integers(90, 110), fee=st.integers(-2, 5), is_late=st.booleans(),
    )  # fmt: skip
    def report(self, pick: int, kind: int, lots: int, price: int, fee: int, is_late: bool) -> None:
        """The venue reports something, sensible or not: of an order that has ended, more than was left, in any order."""
        if self.venue.orders:
            self.venue.tell(pick, kind, lots, price, fee)
        if not is_late:
            self.step()

    @rule(pick=st.integers(0, 9))
    def repeat(self, pick: int) -> None:
        """The venue says again what it has said."""
        if self.venue.told:
            self.venue.repeat(pick)
        self.step()

    @rule()
    def restart(self) -> None:
        """Risk dies between two steps."""
        self.rig.open("risk")

    @rule(point=st.integers(0, 400), strategy=st.integers(0, 1), side=st.sampled_from([BUY, SELL]))
    def die(self, point: int, strategy: int, side: int) -> None:
        """Risk dies while it takes an order."""
        if JIT_ENABLED:
            return
        if ring.room(self.rig.pens[strategy]) > 0:
            self.rig.send_request(strategy, kind=SUBMIT, side=side, quantity_lots=3, order_type=MARKET)
        if run_until(point, lambda: self.rig.step_unseen("risk", 64), FILES):
            self.rig.open("risk")
        else:
            self.rig.look("risk")
        self.venue.take()

    @invariant()
    def nothing_grows_in_reducing(self) -> None:
        """An order that was sent in REDUCING is against its position, and takes out no more than it, all that works counted."""
        if not hasattr(self, "rig"):
            return
        risk, changes = self.rig.risk, self.rig.count("risk")["states_changed"]
        works = committed(risk.sent.table)
        works = works[works["order_id"] != 0]
        states = self.states_of(risk.scopes.words.reshape(-1, SCOPE_WORDS)[:, SCOPE_STATE])
        # Where a state changed meanwhile the twin knows what came first.
        for order in works if changes == self.changes else ():
            row = int(order["position"])
            if states[row] < REDUCING or int(order["order_id"]) in self.known:
                continue
            position = committed(risk.positions)[row]
            quantity = int(position["quantity_lots"])
            working = int(position["working_sell_lots"] if quantity > 0 else position["working_buy_lots"])
            assert int(order["side"]) * quantity < 0, f"an order in REDUCING opens or adds to position {row}"
            assert working <= abs(quantity), f"orders in REDUCING may flip position {row}"
        self.known, self.changes = set(works["order_id"].tolist()), changes

    def states_of(self, words: np.ndarray) -> list[int]:
        """Return the strictest state of each position."""
        count = SIZES.instruments
        rows = range(SIZES.strategies * count)
        return [
            max(int(words[0]), int(words[1 + row // count]), int(words[1 + SIZES.strategies + row % count])) for row in rows
        ]

    def teardown(self) -> None:
        """The twin follows the whole life."""
        if hasattr(self, "rig"):
            RiskTwin(self.rig).live()


RiskMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestRiskMachine = RiskMachine.TestCase
