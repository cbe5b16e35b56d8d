"""The slow, obvious twin of the account's books and of the circuit breaker, from the contract's words, in exact numbers.

It keeps every fill, and works everything out of the fills: money as Fraction of the account's currency units, P&L as what was
sold less what was bought, so that no average cost can be wrong in the same way.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

from pipeline.messages import (
    ACTIVE,
    BY_COOLDOWN,
    BY_DAILY_LOSS,
    BY_DRAWDOWN,
    BY_LOSSES,
    BY_PERSON,
    BY_REJECTS,
    BY_TRADES,
    BY_WEEKLY_LOSS,
)

DAY_NS = 86_400 * 10**9
WEEK_NS = 7 * DAY_NS
MONDAY_NS = 4 * DAY_NS
#: A position: strategy, instrument.
Key = tuple[int, int]
#: (bid, ask, last) in ticks; 0 = not known.
Quote = tuple[int, int, int]


@dataclass
class Trade:
    """What happened from flat to flat: cash paid and fees, in money units."""

    cash: int = 0
    fees: int = 0


@dataclass
class Book:
    """One position: its lots, what all fills together paid and cost, and the trade that is open."""

    lots: int = 0
    cash: int = 0
    fees: int = 0
    trade: Trade = field(default_factory=Trade)


@dataclass
class ScopeTwin:
    """What the breaker knows of the account or of a strategy."""

    state: int = ACTIVE
    reason: int = 0
    since_ns: int = 0
    cooldown_ns: int = 0
    forgiven: set[int] = field(default_factory=set)
    peak: int = 0
    day_pnl: int = 0
    week_pnl: int = 0
    day_end_ns: int = 0
    week_end_ns: int = 0
    trades: int = 0
    losses: int = 0
    executions: int = 0
    window_ns: int = 0
    orders: int = 0
    rejects: int = 0


class AccountTwin:
    """The account.

    Args:
        values: Money units in one tick-lot, by instrument.
        limits: Of each scope of the breaker (0 the account, 1 + s a strategy): name of a limit to its value; absent = none.
        settings: review_ns, breaker_state, cooldown_ns, auto_resumes, reject_window_ns, reject_orders_min, day_start_ns.
    """

    def __init__(self, values: list[int], limits: list[dict[str, int]], settings: dict[str, int]) -> None:
        self.values, self.limits, self.settings = values, limits, settings
        self.books: dict[Key, Book] = defaultdict(Book)
        self.scopes = [ScopeTwin() for _ in limits]
        self.now_ns = 0
        self.review_due_ns = 0
        #: (time, scope, state, reason, value, limit)
        self.changes: list[tuple[int, int, int, int, int, int]] = []

    def fill(self, key: Key, side: int, lots: int, price: int, fee: int) -> None:
        """Take one fill; where it flips, what closes and what opens are told apart by lots; the fee is the closing trade's."""
        book, value = self.books[key], self.values[key[1]]
        book.cash -= side * lots * price * value
        book.fees += fee
        closing = min(lots, abs(book.lots)) if book.lots * side < 0 else 0
        was_open = book.lots != 0
        book.lots += side * lots
        book.trade.fees += fee
        if closing == lots or not was_open or closing == 0:
            book.trade.cash -= side * lots * price * value
            if was_open and book.lots == 0:
                self.end_trade(key)
            return
        book.trade.cash -= side * closing * price * value
        self.end_trade(key)
        book.trade.cash -= side * (lots - closing) * price * value

    def end_trade(self, key: Key) -> None:
        """Count what a trade has brought, and begin the next."""
        outcome = self.books[key].trade.cash - self.books[key].trade.fees
        self.books[key].trade = Trade()
        for number in (0, 1 + key[0]):
            scope = self.scopes[number]
            if outcome < 0:
                scope.losses += 1
                self.ask(scope.losses, number, "max_consecutive_losses")
            elif outcome > 0:
                scope.losses = 0

    def ask(self, count: int, number: int, limit: str) -> None:
        """A count that has come to its limit has the breaker look at once."""
        if count == self.limits[number].get(limit, -1):
            self.review_due_ns = 0

    def order(self, strategy: int) -> None:
        """Take an order that is sent."""
        for number in (0, 1 + strategy):
            self.scopes[number].trades += 1
            self.ask(self.scopes[number].trades, number, "max_trades_per_day")
            self.window(number).orders += 1

    def refused(self, strategy: int) -> None:
        """Take an order that is refused before it leaves."""
        for number in (0, 1 + strategy):
            self.window(number).orders += 1
            self.scopes[number].rejects += 1

    def rejected(self, strategy: int) -> None:
        """Take an order that the venue rejects."""
        for number in (0, 1 + strategy):
            self.window(number).rejects += 1

    def executed(self, strategy: int) -> None:
        """Take an order that is filled."""
        for number in (0, 1 + strategy):
            self.scopes[number].executions += 1

    def window(self, number: int) -> ScopeTwin:
        """Return a scope whose window of orders runs now."""
        scope = self.scopes[number]
        if self.now_ns >= scope.window_ns:
            scope.window_ns, scope.orders, scope.rejects = self.now_ns + self.settings["reject_window_ns"], 0, 0
        return scope

    def worth(self, key: Key, quote: Quote) -> int:
        """Return what the position would bring if it were left now."""
        bid, ask, last = quote
        lots = self.books[key].lots
        price = (bid if lots > 0 else ask) or last
        assert price > 0 or lots == 0, "with no price at all P&L is what is realised, which this twin does not know"
        return lots * price * self.values[key[1]]

    def profit(self, number: int, quotes: list[Quote]) -> int:
        """Return the P&L of the account (0) or of a strategy (1 + s)."""
        keys = [key for key in self.books if number in (0, 1 + key[0])]
        return sum(self.books[key].cash - self.books[key].fees + self.worth(key, quotes[key[1]]) for key in keys)

    def review(self, quotes: list[Quote]) -> None:
        """Look, if it is time."""
        if self.now_ns < self.review_due_ns:
            return
        self.review_due_ns = (self.now_ns // self.settings["review_ns"] + 1) * self.settings["review_ns"]
        for number in range(len(self.scopes)):
            self.review_scope(number, self.profit(number, quotes))

    def review_scope(self, number: int, profit: int) -> None:
        """Look at one scope: days, weeks, peak, cooldown, trips."""
        scope, start = self.scopes[number], self.settings["day_start_ns"]
        if self.now_ns >= scope.day_end_ns:
            if scope.day_end_ns:
                scope.day_pnl, scope.trades = profit, 0
                scope.forgiven -= {BY_DAILY_LOSS, BY_TRADES}
            scope.day_end_ns = next_boundary(self.now_ns, start, DAY_NS)
        if self.now_ns >= scope.week_end_ns:
            if scope.week_end_ns:
                scope.week_pnl = profit
                scope.forgiven -= {BY_WEEKLY_LOSS}
            scope.week_end_ns = next_boundary(self.now_ns, start + MONDAY_NS, WEEK_NS)
        if profit > scope.peak:
            scope.peak = profit
            scope.forgiven -= {BY_DRAWDOWN}
        broken = {reason: found for reason, found in self.broken(number, profit).items() if reason not in scope.forgiven}
        if scope.cooldown_ns and self.now_ns >= scope.cooldown_ns:
            if not set(broken) - {BY_LOSSES, BY_REJECTS}:
                scope.losses = scope.orders = scope.rejects = scope.window_ns = 0
                self.change(number, ACTIVE, BY_COOLDOWN, 0, 0)
        elif broken and scope.state < self.settings["breaker_state"]:
            reason = min(broken)
            self.change(number, self.settings["breaker_state"], reason, *broken[reason])

    def broken(self, number: int, profit: int) -> dict[int, tuple[int, int]]:
        """Return the value and the limit of each limit that is broken, by reason."""
        scope, limits = self.scopes[number], self.limits[number]
        share = Fraction(scope.rejects * 10**6, scope.orders) if scope.orders else Fraction(0)
        if self.now_ns >= scope.window_ns or scope.orders < self.settings["reject_orders_min"]:
            share = Fraction(0)
        amounts = (
            (BY_DAILY_LOSS, "max_daily_loss", Fraction(scope.day_pnl - profit)),
            (BY_WEEKLY_LOSS, "max_weekly_loss", Fraction(scope.week_pnl - profit)),
            (BY_DRAWDOWN, "max_drawdown", Fraction(scope.peak - profit)),
            (BY_REJECTS, "max_reject_percent", share),
        )
        counts = (
            (BY_LOSSES, "max_consecutive_losses", scope.losses),
            (BY_TRADES, "max_trades_per_day", scope.trades),
        )
        found = {
            reason: (-(-value.numerator // value.denominator), limits[name])
            for reason, name, value in amounts
            if name in limits and value > limits[name]
        }
        return found | {
            reason: (value, limits[name]) for reason, name, value in counts if name in limits and value >= limits[name]
        }

    def person(self, number: int, state: int, quotes: list[Quote]) -> None:
        """A person sets a state; to ACTIVE lets pass what is broken, and counters start anew."""
        scope = self.scopes[number]
        if state == ACTIVE:
            scope.forgiven |= set(self.broken(number, self.profit(number, quotes))) - {BY_LOSSES, BY_REJECTS}
            scope.losses = scope.executions = scope.orders = scope.rejects = scope.window_ns = 0
        self.change(number, state, BY_PERSON, 0, 0)

    def change(self, number: int, state: int, reason: int, value: int, limit: int) -> None:
        """Note a change of state."""
        scope, settings = self.scopes[number], self.settings
        cools = BY_DAILY_LOSS <= reason <= BY_REJECTS and settings["auto_resumes"] and settings["cooldown_ns"]
        scope.cooldown_ns = self.now_ns + settings["cooldown_ns"] if cools and scope.state == ACTIVE else 0
        scope.state, scope.reason, scope.since_ns = state, reason, self.now_ns
        self.changes.append((self.now_ns, number, state, reason, value, limit))


def next_boundary(now_ns: int, first_ns: int, length_ns: int) -> int:
    """Return the first boundary after a time: one lies at `first_ns`, and one every `length_ns`."""
    return now_ns + length_ns - (now_ns - first_ns) % length_ns
