"""The account's books and the breaker against their exact twin: any fills, orders, marks, people, days and restarts."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline import tables
from pipeline.messages import ACTIVE, BUY, HALTED, KILLED, REDUCING, SELL, STATE_CHANGED
from pipeline.topology import RISK_REVIEW_NS
from tests.account_books import REFUSED, REJECTED, SENT, SIZES, Books, Fill, Order, Person, Tick, scopes_of
from tests.account_twin import DAY_NS, AccountTwin, Quote

pytestmark = pytest.mark.jitless

SECOND_NS = 10**9
VALUES = [1, 2, 25]
AMOUNTS, COUNTS = ("max_daily_loss", "max_weekly_loss", "max_drawdown"), ("max_consecutive_losses", "max_trades_per_day")
#: Scopes that the breaker looks at.
SCOPES = range(1 + SIZES.strategies)
#: Word of a scope, field of the twin.
WORDS = (
    (tables.SCOPE_STATE, "state"), (tables.SCOPE_REASON, "reason"), (tables.SCOPE_SINCE_NS, "since_ns"),
    (tables.SCOPE_COOLDOWN_NS, "cooldown_ns"), (tables.SCOPE_PEAK, "peak"), (tables.SCOPE_DAY_PNL, "day_pnl"),
    (tables.SCOPE_WEEK_PNL, "week_pnl"), (tables.SCOPE_DAY_END_NS, "day_end_ns"), (tables.SCOPE_WEEK_END_NS, "week_end_ns"),
    (tables.SCOPE_TRADES, "trades"), (tables.SCOPE_LOSSES, "losses"), (tables.SCOPE_EXECUTIONS, "executions"),
    (tables.SCOPE_WINDOW_NS, "window_ns"), (tables.SCOPE_ORDERS, "orders"), (tables.SCOPE_REJECTS, "rejects"),
)  # fmt: skip

some_limits = st.fixed_dictionaries(
    {},
    optional={
        # Little of what the prices below move, so that what is broken, let pass and broken again comes often.
        **{name: st.sampled_from([0, 40, 400]) for name in AMOUNTS},
        **{name: st.integers(1, 4) for name in COUNTS},
        "max_reject_percent": st.integers(0, 1_000_000),
    },
)
some_settings = st.fixed_dictionaries(
    {
        "review_ns": st.sampled_from([1, SECOND_NS // 10, SECOND_NS]),
        "breaker_state": st.sampled_from([REDUCING, HALTED]),
        "cooldown_ns": st.sampled_from([0, SECOND_NS, 3 * SECOND_NS, 2 * DAY_NS]),
        "auto_resumes": st.integers(0, 1),
        "reject_window_ns": st.sampled_from([SECOND_NS, 60 * SECOND_NS]),
        "reject_orders_min": st.integers(1, 4),
        "day_start_ns": st.sampled_from([0, 22 * 3600 * SECOND_NS]),
    }
)


class AccountMachine(RuleBasedStateMachine):
    """Drives the books and their twin with the same inputs."""

    @initialize(limits=st.lists(some_limits, min_size=3, max_size=3), given=some_settings, start=st.integers(1, 20 * DAY_NS))
    def set_up(self, limits: list[dict[str, int]], given: dict[str, int], start: int) -> None:
        """Make an account with any limits, and a price for every instrument."""
        self.books = Books(VALUES, dict(enumerate(limits)), **given)
        self.twin = AccountTwin(VALUES, limits, given)
        self.quotes: list[Quote] = [(0, 0, 0)] * SIZES.instruments
        self.twin.now_ns = start
        for instrument in range(SIZES.instruments):
            self.move(0, instrument, 100, 101)

    def move(self, after_ns: int, instrument: int, bid: int, ask: int) -> None:
        """Move time, then a mark."""
        self.twin.now_ns += after_ns
        self.books.take(Tick(self.twin.now_ns, instrument, bid, ask))
        self.twin.review(self.quotes)
        if bid > 0:
            self.quotes[instrument] = (bid, ask, 0)

    @rule(
        after_ns=st.one_of(st.just(SECOND_NS), st.integers(0, 3 * SECOND_NS), st.integers(0, 10 * DAY_NS)),
        instrument=st.integers(0, 2),
        bid=st.integers(80, 120),
        spread=st.integers(0, 2),
    )
    def quote(self, after_ns: int, instrument: int, bid: int, spread: int) -> None:
        """A quote comes."""
        self.move(after_ns, instrument, bid, bid + spread)

    @rule(after_ns=st.integers(0, DAY_NS))
    def timer(self, after_ns: int) -> None:
        """Time goes on without a price."""
        self.move(after_ns, 0, 0, 0)

    @rule(
        strategy=st.integers(0, 1),
        instrument=st.integers(0, 2),
        side=st.sampled_from([BUY, SELL]),
        lots=st.integers(1, 9),
        price=st.integers(80, 120),
        fee=st.integers(-9, 30),
        last=st.booleans(),
    )
    def fill(self, strategy: int, instrument: int, side: int, lots: int, price: int, fee: int, last: bool) -> None:
        """An order is filled, in part or for good."""
        self.books.take(Fill(strategy, instrument, side, lots, price, fee, last))
        self.twin.fill((strategy, instrument), side, lots, price, fee)
        if last:
            self.twin.executed(strategy)

    @rule(what=st.sampled_from([SENT, REFUSED, REJECTED]), strategy=st.integers(0, 1), instrument=st.integers(0, 2))
    def order(self, what: str, strategy: int, instrument: int) -> None:
        """An order leaves, is refused, or rejected."""
        self.books.take(Order(what, strategy, instrument))
        if what == REJECTED:
            self.twin.rejected(strategy)
            return
        self.twin.review(self.quotes)
        if what == SENT:
            self.twin.order(strategy)
        else:
            self.twin.refused(strategy)

    @rule(instrument=st.integers(0, 2), bid=st.integers(50, 150))
    def swing(self, instrument: int, bid: int) -> None:
        """A price moves far, is seen by a review, and people let every scope go on."""
        self.move(SECOND_NS, instrument, bid, bid)
        self.move(SECOND_NS, 0, 0, 0)
        for scope in SCOPES:
            self.person(scope, ACTIVE)

    @rule(scope=st.sampled_from(SCOPES), state=st.sampled_from([ACTIVE, REDUCING, REDUCING, HALTED, KILLED]))
    def person(self, scope: int, state: int) -> None:
        """A person sets a state."""
        self.books.take(Person(scope, state))
        self.twin.person(scope, state, self.quotes)

    @rule()
    def restart(self) -> None:
        """The process dies, and a new one goes on from shared memory."""
        self.books.open()

    @invariant()
    def words_are_those_of_the_twin(self) -> None:
        """Every word of every scope, and when the next review is due."""
        if not hasattr(self, "books"):
            return
        for scope in SCOPES:
            found = {name: self.books.word(scope, word) for word, name in WORDS}
            assert {name: getattr(self.twin.scopes[scope], name) for _, name in WORDS} == found, f"scope {scope}"
            assert sum(1 << reason for reason in self.twin.scopes[scope].forgiven) == self.books.word(
                scope, tables.SCOPE_FORGIVEN
            )
        assert self.twin.review_due_ns == self.books.state.words[RISK_REVIEW_NS]

    @invariant()
    def profit_folds_to_the_last_unit(self) -> None:
        """Realised less fees plus open P&L is what all fills took and paid, and what is open is worth; totals are the sums."""
        if not hasattr(self, "books"):
            return
        realised, fees, opened = ([0] * SIZES.scope_count for _ in range(3))
        for row, position in enumerate(self.books.positions()):
            for scope in scopes_of(row):
                realised[scope] += int(position["realised_tick_lots"]) * VALUES[row % SIZES.instruments]
                fees[scope] += int(position["fee_units"])
                opened[scope] += self.books.open_profit(row)
        assert realised == [self.books.word(scope, tables.SCOPE_REALISED) for scope in range(SIZES.scope_count)]
        assert fees == [self.books.word(scope, tables.SCOPE_FEES) for scope in range(SIZES.scope_count)]
        for scope in SCOPES:
            assert self.twin.profit(scope, self.quotes) == realised[scope] - fees[scope] + opened[scope]

    @invariant()
    def events_tell_each_change_once(self) -> None:
        """In order, with what was found; the ring holds the last of them."""
        if not hasattr(self, "books"):
            return
        events = self.books.events()
        names = ("event_ns", "scope", "state", "reason", "value", "limit")
        told = [tuple(int(event[name]) for name in names) for event in events]
        assert told == self.twin.changes[-len(told) :][: len(told)] if told else self.twin.changes == []
        assert [STATE_CHANGED] * len(told) == events["kind"].tolist()
        counts = self.books.counts()
        trips = sum(2 < reason < 9 for _, _, _, reason, _, _ in self.twin.changes)
        assert (len(self.twin.changes), trips) == (counts["states_changed"], counts["breaker_trips"])


AccountMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestAccountMachine = AccountMachine.TestCase
