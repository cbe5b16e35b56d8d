"""The slow twin of what risk knows of the account, its strategies and its instruments: states, limits, flags, totals, rates.

The circuit breaker and the counts are those of tests/account_twin.py; here come instruments, what people and strategies ask
for, and every word that risk must have in shared memory at the end of a turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from pipeline import messages as m
from pipeline import tables as t
from pipeline import topology
from pipeline.risk.limits import UNLIMITED, Limits
from tests.account_twin import AccountTwin, Quote
from tests.exit_twin import PositionTwin, SentTwin

SECOND_NS = 10**9
#: Words that the breaker's twin knows, and the names that they have there.
BREAKER_WORDS = {
    t.SCOPE_STATE: "state", t.SCOPE_REASON: "reason", t.SCOPE_SINCE_NS: "since_ns", t.SCOPE_COOLDOWN_NS: "cooldown_ns",
    t.SCOPE_PEAK: "peak", t.SCOPE_DAY_PNL: "day_pnl", t.SCOPE_WEEK_PNL: "week_pnl", t.SCOPE_DAY_END_NS: "day_end_ns",
    t.SCOPE_WEEK_END_NS: "week_end_ns", t.SCOPE_TRADES: "trades", t.SCOPE_LOSSES: "losses",
    t.SCOPE_EXECUTIONS: "executions", t.SCOPE_WINDOW_NS: "window_ns", t.SCOPE_ORDERS: "orders", t.SCOPE_REJECTS: "rejects",
}  # fmt: skip


class ScopesTwin(AccountTwin):
    """Every scope.

    Args:
        sizes: Of the instance.
        settings: Of risk.
        limit_rows: LIMITS of each scope, as the instance began.

    Attributes:
        named: of each scope, every limit by name.
        positions: by row of the table.
        cancels, flattens, restricted: of each scope, whether that flag is up.
        rate_ns: of each scope, when its token bucket is full.
    """

    def __init__(self, sizes: topology.Sizes, settings: Limits, limit_rows: np.ndarray, restricted: Iterable[int]) -> None:
        names = ("review_ns", "breaker_state", "cooldown_ns", "auto_resumes", "reject_window_ns", "reject_orders_min")
        chosen = {name: int(getattr(settings, name)) for name in (*names, "day_start_ns")}
        self.named = [{name: int(row[name]) for name in t.LIMIT_NAMES} for row in limit_rows]
        super().__init__(settings.value_units.tolist(), [limited(row) for row in self.named], chosen)
        self.sizes, self.judged = sizes, 1 + sizes.book_count
        self.positions: Mapping[int, PositionTwin] = {}
        self.cancels, self.flattens, self.rate_ns = ([0] * sizes.scope_count for _ in range(3))
        self.restricted = [int(word) for word in restricted]

    def scopes_of(self, row: int) -> tuple[int, int, int]:
        """Return the account, the strategy and the instrument of a position."""
        strategy, instrument = divmod(row, self.sizes.instruments)
        return topology.ACCOUNT, topology.scope_of_strategy(strategy), topology.scope_of_instrument(self.sizes, instrument)

    def has_row(self, scope: int, row: int) -> bool:
        """Tell whether a position lies in a scope."""
        return scope in self.scopes_of(row)

    def is_flattened(self, row: int) -> bool:
        """Tell whether a position is to be left."""
        return any(self.flattens[scope] for scope in self.scopes_of(row))

    def may_exit(self, row: int) -> bool:
        """Tell whether exits of a position may leave."""
        return self.is_flattened(row) or max(self.scopes[scope].state for scope in self.scopes_of(row)) < m.KILLED

    def is_to_cancel(self, sent: SentTwin) -> bool:
        """Tell whether an order must be taken back with the others of its scope."""
        may_rest = bool(sent.flags & m.EXIT) and self.may_exit(sent.row)
        return not sent.is_taken_back and not may_rest and any(self.cancels[scope] for scope in self.scopes_of(sent.row))

    def lower_flags(self, sent: Iterable[SentTwin]) -> None:
        """Lower the flags of scopes in which nothing is left to do."""
        left = [order for order in sent if not order.is_taken_back]
        left = [order for order in left if not order.flags & m.EXIT or not self.may_exit(order.row)]
        held = [row for row, position in self.positions.items() if position.is_held]
        done = []
        for scope in range(len(self.scopes)):
            waits = self.flattens[scope] and any(self.has_row(scope, row) for row in held)
            if not waits and not any(self.has_row(scope, order.row) for order in left):
                done.append(scope)
        for scope in done:
            self.cancels[scope] = self.flattens[scope] = 0

    def push_rate(self, row: int) -> None:
        """Take an order out of the token buckets."""
        for scope in self.scopes_of(row):
            rate = self.named[scope]["max_orders_per_second"]
            if rate > 0:
                self.rate_ns[scope] = max(self.rate_ns[scope], self.now_ns) + SECOND_NS // rate

    def set_limit(self, scope: int, limit_id: int, value: int) -> int:
        """Change a limit, and return what it was."""
        name = t.LIMIT_NAMES[limit_id]
        before, self.named[scope][name] = self.named[scope][name], value
        self.limits[scope] = limited(self.named[scope])
        return before

    def profit(self, number: int, quotes: list[Quote]) -> int:
        """Return the P&L of any scope."""
        if number < self.judged:
            return super().profit(number, quotes)
        keys = [key for key in self.books if topology.scope_of_instrument(self.sizes, key[1]) == number]
        return sum(self.books[key].cash - self.books[key].fees + self.worth(key, quotes[key[1]]) for key in keys)

    def change(self, number: int, state: int, reason: int, value: int, limit: int) -> None:
        """Note a change of state; a tighter one takes back what works."""
        super().change(number, state, reason, value, limit)
        if state > m.ACTIVE:
            self.cancels[number] = 1

    def review(self, quotes: list[Quote]) -> None:
        """Look, if it is time: at the account and the strategies."""
        review_ns = self.settings["review_ns"]
        if not self.is_due():
            return
        self.review_due_ns = (self.now_ns // review_ns + 1) * review_ns
        for number in range(self.judged):
            self.review_scope(number, self.profit(number, quotes))

    def is_due(self) -> bool:
        """Tell whether it is time for a review."""
        return self.settings["review_ns"] > 0 and self.now_ns >= self.review_due_ns

    def realised(self, scope: int) -> int:
        """Return what a scope's positions have realised, in money units."""
        rows = [(row, one) for row, one in self.positions.items() if self.has_row(scope, row)]
        return sum(one.realised * self.values[row % self.sizes.instruments] for row, one in rows)

    def fees(self, scope: int) -> int:
        """Return what a scope's positions have paid."""
        return sum(one.fees for row, one in self.positions.items() if self.has_row(scope, row))

    def words(self, scope: int) -> dict[int, int]:
        """Return every word of a scope."""
        known = {word: int(getattr(self.scopes[scope], name)) for word, name in BREAKER_WORDS.items()}
        return known | {
            t.SCOPE_CANCELS: self.cancels[scope], t.SCOPE_FLATTENS: self.flattens[scope],
            t.SCOPE_FORGIVEN: sum(1 << reason for reason in self.scopes[scope].forgiven),
            t.SCOPE_REALISED: self.realised(scope), t.SCOPE_FEES: self.fees(scope), t.SCOPE_RATE_NS: self.rate_ns[scope],
            t.SCOPE_RESTRICTED: self.restricted[scope],
        }  # fmt: skip

    def all_words(self) -> list[dict[int, int]]:
        """Return every word of every scope."""
        return [self.words(scope) for scope in range(len(self.scopes))]

    def differences(self, scopes: np.ndarray) -> Iterator[str]:
        """Yield a line for each word that is another in shared memory.

        Args:
            scopes: int64 (scopes, SCOPE_WORDS).
        """
        for scope, words in enumerate(self.all_words()):
            for word, expected in words.items():
                if scopes[scope, word] != expected:
                    yield f"scope {scope}, word {word}: {scopes[scope, word]} and not {expected}"


def limited(row: Mapping[str, int]) -> dict[str, int]:
    """Return those limits that limit something."""
    return {name: value for name, value in row.items() if value > UNLIMITED}
