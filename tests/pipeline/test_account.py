"""The account's books: what fills and orders mean for totals, trades and counters; totals are the sum of the positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.messages import BUY, SELL
from pipeline.tables import (
    SCOPE_EXECUTIONS,
    SCOPE_FEES,
    SCOPE_LOSSES,
    SCOPE_ORDERS,
    SCOPE_RATE_NS,
    SCOPE_REALISED,
    SCOPE_REJECTS,
    SCOPE_TRADES,
    SCOPE_WINDOW_NS,
)
from pipeline.topology import ACCOUNT, RISK_REVIEW_NS
from shm.jit import JIT_ENABLED
from tests.account_books import EXIT, REFUSED, REJECTED, SENT, SIZES, Books, Fill, Input, Order, Person, Tick, scopes_of
from tests.crash_points import explore_points

pytestmark = pytest.mark.jitless

VALUES = (1, 25, 1_000_000)
#: Scope of the second strategy, and of the last instrument.
STRATEGY, INSTRUMENT = 2, 5


def filled(*fills: Fill) -> Books:
    """Return books that have taken these fills."""
    books = Books(VALUES)
    books.play(fills)
    return books


def assert_totals(books: Books) -> None:
    """Realised and fees of every scope are the sums over its rows, by arithmetic without bounds."""
    realised, fees = [0] * SIZES.scope_count, [0] * SIZES.scope_count
    for row, position in enumerate(books.positions()):
        for scope in scopes_of(row):
            realised[scope] += int(position["realised_tick_lots"]) * VALUES[row % SIZES.instruments]
            fees[scope] += int(position["fee_units"])
    assert realised == [books.word(scope, SCOPE_REALISED) for scope in range(SIZES.scope_count)]
    assert fees == [books.word(scope, SCOPE_FEES) for scope in range(SIZES.scope_count)]


def test_fill_that_closes_a_part_realises_in_its_three_scopes() -> None:
    """Bought 10 at 100 and sold 4 at 103: 12 tick-lots of a million units each, and the fees of both fills."""
    books = filled(Fill(1, 2, BUY, 10, 100, 7), Fill(1, 2, SELL, 4, 103, 5))
    for scope in (ACCOUNT, STRATEGY, INSTRUMENT):
        assert (12_000_000, 12) == (books.word(scope, SCOPE_REALISED), books.word(scope, SCOPE_FEES))
    assert (0, 0) == (books.word(1, SCOPE_REALISED), books.word(3, SCOPE_FEES)), "others have no part in it"
    assert 12 == books.positions()[5]["fee_units"]


def test_fill_with_a_rebate_lowers_the_fees() -> None:
    """A negative fee is money that the venue pays."""
    books = filled(Fill(0, 0, BUY, 1, 100, 5), Fill(0, 0, BUY, 1, 100, -8))
    assert -3 == books.word(ACCOUNT, SCOPE_FEES)


@pytest.mark.parametrize(
    ("price", "fee", "losses"), [(99, 0, 1), (100, 0, 0), (101, 0, 0), (101, 9, 0), (101, 10, 0), (101, 11, 1)]
)
def test_trade_of_ten_lots_counts_as_a_loss_below_nothing(price: int, fee: int, losses: int) -> None:
    """A trade lost when what it realised less its fees is below 0, at 0 it did not, the opening fill's fee counted."""
    books = filled(Fill(0, 0, BUY, 10, 100, fee - 1 if fee else 0), Fill(0, 0, SELL, 10, price, 1 if fee else 0))
    assert [losses, losses, 0] == [books.word(scope, SCOPE_LOSSES) for scope in (ACCOUNT, 1, 3)]


def test_losses_in_a_row_end_with_a_gain_and_not_with_nothing() -> None:
    """Two losses, one trade that brought nothing, one loss: three in a row; one gain: none."""
    books = Books(VALUES)
    seen = []
    for price in (99, 98, 100, 99, 101):
        books.take(Fill(0, 0, BUY, 1, 100))
        books.take(Fill(0, 0, SELL, 1, price))
        seen.append(books.word(ACCOUNT, SCOPE_LOSSES))
    assert [1, 2, 2, 3, 0] == seen


def test_fill_that_flips_ends_one_trade_and_begins_the_next() -> None:
    """Its fee is of the trade that it ends: that lost by the fee alone, and the next, with no fee, gains."""
    books = filled(Fill(0, 0, BUY, 5, 100), Fill(0, 0, SELL, 8, 100, 2))
    assert 1 == books.word(ACCOUNT, SCOPE_LOSSES)
    books.take(Fill(0, 0, BUY, 3, 99))
    assert 0 == books.word(ACCOUNT, SCOPE_LOSSES)
    assert_totals(books)


def test_trade_with_a_partial_close_counts_once_when_it_is_flat() -> None:
    """A loss taken in part is no lost trade as long as something is open; the whole trade counts then."""
    books = filled(Fill(0, 0, BUY, 10, 100), Fill(0, 0, SELL, 5, 90))
    assert 0 == books.word(ACCOUNT, SCOPE_LOSSES)
    books.take(Fill(0, 0, SELL, 5, 111))
    assert (0, 5) == (books.word(ACCOUNT, SCOPE_LOSSES), books.word(ACCOUNT, SCOPE_REALISED))


def test_fill_of_another_position_leaves_a_trade_alone() -> None:
    """The same instrument in two strategies is two trades; the account counts both."""
    books = filled(Fill(0, 0, BUY, 1, 100), Fill(1, 0, SELL, 1, 100), Fill(0, 0, SELL, 1, 99))
    assert [1, 1, 0] == [books.word(scope, SCOPE_LOSSES) for scope in (ACCOUNT, 1, 2)]


def test_amounts_beyond_all_bounds_are_held_and_do_not_wrap() -> None:
    """A profit that money cannot count stays the greatest that it can, of the right sign."""
    books = filled(Fill(0, 2, BUY, 1 << 38, 1), Fill(0, 2, SELL, 1 << 38, 1 << 20))
    assert 1 << 61 == books.word(ACCOUNT, SCOPE_REALISED)
    books.play([Fill(0, 2, BUY, 1, 1)] * 3)
    books.take(Fill(0, 2, SELL, 1 << 38, 1))
    books.take(Fill(0, 2, BUY, 1 << 38, 1 << 21))
    assert books.word(ACCOUNT, SCOPE_REALISED) <= 0, "the loss is held as well"


def test_order_that_is_sent_counts_for_account_and_strategy() -> None:
    """An order counts as a trade of the day and in the window of rejects; an exit in neither."""
    books = Books(VALUES)
    books.play([Order(SENT, 1, 2), Order(SENT, 0, 2), Order(EXIT, 1, 2)])
    assert [2, 1, 1, 0] == [books.word(scope, SCOPE_TRADES) for scope in (ACCOUNT, 1, 2, INSTRUMENT)]
    assert [2, 1, 1, 0] == [books.word(scope, SCOPE_ORDERS) for scope in (ACCOUNT, 1, 2, INSTRUMENT)]


def test_order_that_is_refused_or_rejected_counts_once_among_all() -> None:
    """Refused before it left: one order and one reject; rejected by the venue: it was counted when it was sent."""
    books = Books(VALUES)
    books.play([Order(SENT, 1), Order(REFUSED, 1), Order(REJECTED, 1)])
    assert [(2, 2), (0, 0), (2, 2)] == [(books.word(s, SCOPE_ORDERS), books.word(s, SCOPE_REJECTS)) for s in (ACCOUNT, 1, 2)]


@pytest.mark.parametrize(("later_ns", "orders"), [(99, 2), (100, 1), (101, 1)])
def test_window_of_orders_ends_after_its_length(later_ns: int, orders: int) -> None:
    """What comes at the end of the window, or after it, begins the next."""
    books = Books(VALUES, reject_window_ns=100)
    books.play([Tick(1_000), Order(SENT, 0), Tick(1_000 + later_ns), Order(SENT, 0)])
    assert orders == books.word(ACCOUNT, SCOPE_ORDERS)
    assert 1_100 + (later_ns if orders == 1 else 0) == books.word(ACCOUNT, SCOPE_WINDOW_NS)


def test_fill_that_ends_an_order_counts_as_an_execution() -> None:
    """Parts of an order count nothing, its last fill one, and an instrument counts none."""
    books = filled(Fill(1, 0, BUY, 1, 100), Fill(1, 0, BUY, 1, 100, last=True))
    assert [1, 0, 1, 0] == [books.word(scope, SCOPE_EXECUTIONS) for scope in (ACCOUNT, 1, 2, 3)]
    books.take(Person(2, 0))
    assert [1, 0] == [books.word(scope, SCOPE_EXECUTIONS) for scope in (ACCOUNT, 2)], "a person lets the strategy go on"


def test_order_rate_is_pushed_by_orders_and_exits_where_there_is_a_limit() -> None:
    """Five a second: each order makes the bucket full 200 ms later, an exit too; without a limit nothing is kept."""
    books = Books(VALUES, {0: {"max_orders_per_second": 5}, INSTRUMENT: {"max_orders_per_second": 1}})
    books.play([Tick(1_000), Order(SENT, 1, 2), Order(EXIT, 1, 2)])
    assert [400_001_000, 0, 2_000_001_000] == [books.word(scope, SCOPE_RATE_NS) for scope in (ACCOUNT, 2, INSTRUMENT)]


@pytest.mark.parametrize("limit", ["max_trades_per_day", "max_consecutive_losses"])
def test_count_that_comes_to_its_limit_makes_a_review_due(limit: str) -> None:
    """One under the limit the review waits for its time; at the limit the next request or tick brings it."""
    books = Books(VALUES, {1: {limit: 2}})
    inputs: list[Input] = [Order(SENT, 0), Fill(0, 0, BUY, 1, 100), Fill(0, 0, SELL, 1, 99)]
    books.play([Tick(1_000), *inputs])
    assert books.state.words[RISK_REVIEW_NS] > 1_000
    books.play([Tick(1_000), *inputs, *inputs])
    assert 0 == books.state.words[RISK_REVIEW_NS]


fills = st.builds(
    Fill,
    strategy=st.integers(0, 1),
    instrument=st.integers(0, 2),
    side=st.sampled_from([BUY, SELL]),
    lots=st.integers(1, 50),
    price=st.integers(1, 2_000),
    fee=st.integers(-50, 500),
)


@given(inputs=st.lists(fills, max_size=40), restarts=st.sets(st.integers(0, 40)))
def test_totals_after_any_fills_and_restarts_are_the_sum_of_the_positions(inputs: list[Fill], restarts: set[int]) -> None:
    """Whatever is filled, and however often the process starts anew, no total differs by a unit."""
    books = Books(VALUES)
    for number, fill in enumerate(inputs):
        if number in restarts:
            books.open()
        books.take(fill)
    assert_totals(books)


STORY: tuple[Input, ...] = (
    Tick(1_000, 0, 100, 101),
    Order(SENT, 0, 0),
    Fill(0, 0, BUY, 7, 101, 3),
    Tick(100_000_000, 0, 99, 100),
    Order(REFUSED, 0),
    Fill(0, 0, SELL, 10, 99, 2, last=True),
    Order(SENT, 1, 2),
    Fill(1, 2, SELL, 2, 50, -1),
    Order(REJECTED, 1, 2),
    Fill(0, 0, BUY, 3, 98, 4),
    Tick(200_000_000, 2, 52, 53),
    Person(0, 2),
    Person(0, 0),
    Tick(90_000_000_000_000, 2, 40, 41),
)


@pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores")
def test_books_killed_at_any_store_count_each_input_once() -> None:
    """Whatever store the kill comes before or after, a new process goes on, and all words are as if nobody had died."""
    limits = {0: {"max_daily_loss": 15, "max_orders_per_second": 10}, 2: {"max_drawdown": 1_000_000}}
    books = Books(VALUES, limits, reject_orders_min=1)
    assert kill_everywhere(books, STORY) > 200
    assert_totals(books)
    assert books.counts()["breaker_trips"] > 1, "the story has trips to lose"


@pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores")
def test_review_of_many_books_killed_between_two_transactions_trips_each_once() -> None:
    """A backtest has more books than one transaction can review: the rest is done by the next process, and nothing twice."""
    limits: dict[int, dict[str, int]] = {1 + book: {"max_daily_loss": 4} for book in range(35)}
    story: list[Input] = [Tick(1_000, 0, 100, 101), *[Fill(book, 0, BUY, 1, 100 + book % 7) for book in range(35)]]
    books = Books(VALUES, limits, books=35)
    assert kill_everywhere(books, [*story, Tick(100_000_000), Tick(200_000_000)], begin=len(story)) > 100
    assert [3, 10] == [books.counts()["reviews"], books.counts()["breaker_trips"]]


def kill_everywhere(books: Books, story: Sequence[Input], begin: int = 0) -> int:
    """Play a story, then again with a death before and after every store, from the input `begin` on.

    Each death is followed by a new process that goes on to the end, where all words must be as if nobody had died.

    Returns:
        How many different deaths there were.
    """
    books.play(story[:begin])
    pristine = books.segment.memory.copy()
    books.play(story)
    expected = remembered(books)
    books.segment.memory[:] = pristine
    books.open()
    died: list[np.ndarray] = []

    def look_ahead(where: str) -> None:
        """Let a new process go on from here, then bring all back."""
        memory, dying = books.segment.memory.copy(), (books.state, books.account)
        locals_ = [(words, words.copy()) for words in (dying[0].transaction.local, dying[0].events.local, *dying[0].held[:5])]
        if died and np.array_equal(memory, died[-1]):
            return
        died.append(memory)
        books.open()
        books.play(story)
        assert expected == remembered(books), f"killed at {where}"
        books.segment.memory[:] = memory
        books.state, books.account = dying
        for words, content in locals_:
            words[...] = content

    points = explore_points(lambda: books.play(story), look_ahead, ("shm/", "pipeline/", "tests/account_books.py"))
    print(f"{points} crash points, {len(died)} deaths")
    return len(died)


def remembered(books: Books) -> tuple[bytes, ...]:
    """Return all that must not depend on deaths: scopes, positions, counters, what events tell."""
    events = books.events()
    events["sent_ns"] = 0
    scopes, words = books.state.scopes.words, books.state.words
    return tuple(array.tobytes() for array in (scopes, words, books.positions(), books.state.counters.words, events))
