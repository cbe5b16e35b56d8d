"""The account's books and the breaker on an instance of their own: inputs one by one, each in one transaction with its cursor.

It plays the part of the risk stage that calls them: the position, the books and the cursor of the input change together; a tick
moves time, has the review done when one is due, and then moves the mark. What is private is thrown away and opened anew to play
a death.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline import topology
from pipeline.messages import EVENT
from pipeline.risk.account import Account, book_executed, book_exit, book_fill, book_order, book_refused, count_reject
from pipeline.risk.held import keep, make_held
from pipeline.risk.limits import Limits, free_limits, write_limits
from pipeline.risk.positions import apply_fill
from pipeline.risk.review import Review, is_due, review
from pipeline.risk.scopes import open_scopes
from pipeline.risk.trading_states import change_state, forgive
from pipeline.tables import LIMITS, MARK, POSITION, SCOPE_WORDS
from shm import counters, ring, rows
from shm.segment import finish, open_private
from shm.transaction import commit, open_transaction, stage

SIZES = topology.Sizes(
    instruments=3, strategies=2, ticks=16, requests=16, orders=16, reports=16, events=64, stops=4, working_orders=4,
    venue_orders=4, series=3,
)  # fmt: skip
#: Word of risk.state that no stage uses: how many inputs are taken.
INPUTS_TAKEN = topology.STATE_WORDS - 1


class Fill(NamedTuple):
    """One fill of a position; `last` = of an order of its strategy, with which nothing of it is left."""

    strategy: int
    instrument: int
    side: int
    lots: int
    price: int
    fee: int = 0
    last: bool = False


class Tick(NamedTuple):
    """A quote, or where bid and ask are 0 a timer."""

    now_ns: int
    instrument: int = 0
    bid: int = 0
    ask: int = 0


class Order(NamedTuple):
    """An order: SENT by a strategy, EXIT of a stop, REFUSED before it left, or REJECTED by the venue."""

    what: str
    strategy: int
    instrument: int = 0


class Person(NamedTuple):
    """A person sets a trading state."""

    scope: int
    state: int


Input = Fill | Tick | Order | Person
SENT, EXIT, REFUSED, REJECTED = "sent", "exit", "refused", "rejected"


class Books:
    """The books on an instance.

    Args:
        values: Money units in one tick-lot, by instrument.
        limits: By scope: name of a limit to its value; what is absent is unlimited.
        books: Positions of one instrument; 0 = as many as strategies.
        settings: Of Limits.
    """

    def __init__(
        self, values: Sequence[int], limits: dict[int, dict[str, int]] | None = None, books: int = 0, **settings: Any
    ) -> None:
        self.sizes = SIZES._replace(books=books)
        self.limits = Limits(np.array(values, np.int64), np.ones(len(values), np.int64), **settings)
        self.segment = open_private(topology.regions(self.sizes, 64))
        finish(self.segment)
        self.limit_rows = free_limits(self.sizes.scope_count)
        for scope, by_name in (limits or {}).items():
            for name, value in by_name.items():
                self.limit_rows[name][scope] = value
        write_limits(self.segment, self.limit_rows)
        self.open()

    def open(self) -> None:
        """Open everything as a new process does: from shared memory alone."""
        transaction = open_transaction(self.segment, "risk")
        positions = rows.open_table(self.segment, "positions", POSITION)
        self.state = Review(
            transaction=transaction,
            scopes=open_scopes(self.segment, self.sizes),
            positions=positions,
            limit_rows=rows.open_table(self.segment, "limits", LIMITS),
            limits=self.limits,
            words=self.segment.array("risk.state"),
            words_base=self.segment.base("risk.state"),
            events=ring.open_producer(self.segment, ring.open_ring(self.segment, "events", EVENT)),
            counters=counters.open_counters(self.segment, "risk"),
            marks=self.segment.array("marks", MARK),
            held=make_held(positions, SIZES.instruments),
            profits=np.zeros(1 + self.sizes.book_count, np.int64),
        )
        self.account = Account(*(getattr(self.state, name) for name in Account._fields))

    def play(self, inputs: Sequence[Input]) -> None:
        """Take the inputs that shared memory says are not taken yet."""
        while (taken := int(self.state.words[INPUTS_TAKEN])) < len(inputs):
            self.take(inputs[taken])

    def play_on(self, inputs: Sequence[Input]) -> None:
        """Take more inputs."""
        for given in inputs:
            self.take(given)

    def take(self, given: Input) -> None:
        """Take one input."""
        state = self.state
        if isinstance(given, Tick):
            self.take_tick(given)
        elif isinstance(given, Order) and given.what in (SENT, REFUSED):
            self.look()
        stage(state.transaction, state.words_base + INPUTS_TAKEN, int(state.words[INPUTS_TAKEN]) + 1)
        row = -1
        if isinstance(given, Fill):
            row = self.stage_fill(given)
        elif isinstance(given, Order):
            self.stage_order(given)
        elif isinstance(given, Person):
            if given.state == 0:
                forgive(state, given.scope)
            change_state(state, given.scope, given.state, 1, 0, 0)
        assert commit(state.transaction) > 0
        if row >= 0:
            keep(state.held, state.positions, row)

    def take_tick(self, tick: Tick) -> None:
        """Move time, look when it is time, move the mark."""
        state = self.state
        state.words[topology.RISK_NOW_NS] = max(state.words[topology.RISK_NOW_NS], tick.now_ns)
        self.look()
        if tick.bid > 0:
            mark = state.marks[tick.instrument]
            mark["bid_ticks"], mark["ask_ticks"] = tick.bid, tick.ask

    def look(self) -> None:
        """Have the review done, when one is due."""
        if is_due(self.state):
            assert review(self.state), "the ring of events has room"

    def stage_fill(self, fill: Fill) -> int:
        """Stage one fill, and return the row of its position."""
        state = self.state
        row = fill.strategy * SIZES.instruments + fill.instrument
        position = state.positions.copies[rows.edit(state.transaction, state.positions, row)]
        before = int(position["realised_tick_lots"])
        change = apply_fill(position, fill.side, fill.lots, fill.price, int(state.words[topology.RISK_NOW_NS]))
        book_fill(self.account, row, change, int(position["realised_tick_lots"]) - before, fill.fee)
        if fill.last:
            book_executed(self.account, row)
        return row

    def stage_order(self, order: Order) -> None:
        """Stage what becomes of one order."""
        row = order.strategy * SIZES.instruments + order.instrument
        if order.what == SENT:
            book_order(self.account, row)
        elif order.what == EXIT:
            book_exit(self.account, row)
        elif order.what == REFUSED:
            book_refused(self.account, order.strategy)
        else:
            count_reject(self.account, row)

    def word(self, scope: int, word: int) -> int:
        """Return a word of a scope."""
        return int(self.state.scopes.words[scope * SCOPE_WORDS + word])

    def positions(self) -> np.ndarray:
        """Return a copy of all positions."""
        return rows.snapshot(self.state.positions)

    def events(self) -> np.ndarray:
        """Return the events that are still in the ring."""
        view = ring.RingView(self.state.events.ring)
        return view.read(0, view.capacity)

    def counts(self) -> dict[str, int]:
        """Return the counters of risk by name."""
        return counters.snapshot(self.state.counters, topology.RISK_COUNTERS)

    def open_profit(self, row: int) -> int:
        """Return the open P&L of a position by plain arithmetic, in money units."""
        position, instrument = self.positions()[row], row % SIZES.instruments
        lots, mark = int(position["quantity_lots"]), self.state.marks[instrument]
        price = int(mark["bid_ticks"] if lots > 0 else mark["ask_ticks"]) or int(mark["last_ticks"])
        return (lots * price - int(position["cost_tick_lots"])) * int(self.limits.value_units[instrument]) if price else 0


def scopes_of(row: int) -> tuple[int, int, int]:
    """Return the account, the strategy and the instrument of a row of the positions table."""
    strategy, instrument = divmod(row, SIZES.instruments)
    return topology.ACCOUNT, topology.scope_of_strategy(strategy), topology.scope_of_instrument(SIZES, instrument)


def changes(books: Books) -> list[tuple[Any, ...]]:
    """Return what the events tell: (scope, state, reason, value, limit) of each change of state."""
    names = ("scope", "state", "reason", "value", "limit")
    return [tuple(int(event[name]) for name in names) for event in books.events()]
