"""The circuit breaker: each limit one under, at and one over; days, weeks, peaks, cooldown, and what a person lets pass."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import (
    ACTIVE,
    BUY,
    BY_COOLDOWN,
    BY_DAILY_LOSS,
    BY_DRAWDOWN,
    BY_LOSSES,
    BY_PERSON,
    BY_REJECTS,
    BY_TRADES,
    BY_WEEKLY_LOSS,
    HALTED,
    KILLED,
    REDUCING,
    SELL,
)
from pipeline.risk.limits import NOT_SET
from pipeline.risk.review import DAY_NS, MONDAY_NS, WEEK_NS, end_of_period, review
from pipeline.tables import (
    SCOPE_COOLDOWN_NS,
    SCOPE_DAY_END_NS,
    SCOPE_DAY_PNL,
    SCOPE_FORGIVEN,
    SCOPE_LOSSES,
    SCOPE_PEAK,
    SCOPE_REASON,
    SCOPE_REJECTS,
    SCOPE_SINCE_NS,
    SCOPE_STATE,
    SCOPE_TRADES,
    SCOPE_WEEK_END_NS,
    SCOPE_WEEK_PNL,
)
from pipeline.topology import ACCOUNT, RISK_REVIEW_NS
from shm.jit import JIT_ENABLED
from shm.ring import GATING, set_reader
from tests.account_books import REFUSED, REJECTED, SENT, Books, Fill, Input, Order, Person, Tick, changes
from tests.account_twin import next_boundary

pytestmark = pytest.mark.jitless

SECOND_NS = 1_000_000_000
#: A Tuesday, at noon.
NOON_NS = 2_860 * WEEK_NS + MONDAY_NS + DAY_NS + DAY_NS // 2
#: Time between two reviews.
REVIEW_NS = 100_000_000


def lost(units: int, more: tuple[Input, ...] = ()) -> list[Input]:
    """Return inputs after which a strategy has lost so much, open at its mark, and a review has seen it."""
    return [
        Tick(NOON_NS, 0, 10_000, 10_001),
        Fill(0, 0, BUY, 1, 10_000),
        Tick(NOON_NS + 1, 0, 10_000 - units, 10_001),
        *more,
        Tick(NOON_NS + REVIEW_NS),
    ]


AMOUNTS = [
    ("max_daily_loss", BY_DAILY_LOSS),
    ("max_weekly_loss", BY_WEEKLY_LOSS),
    ("max_drawdown", BY_DRAWDOWN),
]


@pytest.mark.parametrize(("limit", "reason"), AMOUNTS)
@pytest.mark.parametrize("scope", [ACCOUNT, 1])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_breaker_of_a_loss_trips_beyond_its_limit(scope: int, limit: str, reason: int, over: int) -> None:
    """One unit under the limit and at it nothing happens; one over it the scope reduces, with what was found."""
    books = Books((1, 1, 1), {scope: {limit: 500}})
    books.play(lost(500 + over))
    assert changes(books) == ([(scope, REDUCING, reason, 501, 500)] if over > 0 else [])
    assert int(over > 0) == books.counts()["breaker_trips"] == books.counts()["states_changed"]


@pytest.mark.parametrize("scope", [ACCOUNT, 1])
@pytest.mark.parametrize("losses", [1, 2, 3])
def test_breaker_of_losses_in_a_row_trips_at_its_limit(scope: int, losses: int) -> None:
    """The second loss of two allowed trips; a third would be too late."""
    books = Books((1, 1, 1), {scope: {"max_consecutive_losses": 2}})
    trades: list[Input] = [Fill(0, 0, BUY, 1, 100), Fill(0, 0, SELL, 1, 99)]
    books.play([Tick(NOON_NS), *trades * losses, Tick(NOON_NS + REVIEW_NS)])
    assert changes(books) == ([(scope, REDUCING, BY_LOSSES, losses, 2)] if losses >= 2 else [])


@pytest.mark.parametrize("scope", [ACCOUNT, 1])
def test_breaker_of_trades_trips_before_the_order_after_the_last(scope: int) -> None:
    """Three orders a day may leave: the request after the third finds the scope reducing, without any tick in between."""
    books = Books((1, 1, 1), {scope: {"max_trades_per_day": 3}})
    books.play([Tick(NOON_NS), *[Order(SENT, 0)] * 3])
    assert [] == changes(books)
    books.take(Order(REFUSED, 0))
    assert [(scope, REDUCING, BY_TRADES, 3, 3)] == changes(books)
    assert NOON_NS == books.word(scope, SCOPE_SINCE_NS)


@pytest.mark.parametrize(("sent", "rejected", "share"), [(8, 2, 0), (7, 3, 300_000), (9, 3, 0), (6, 3, 0)])
def test_breaker_of_rejects_trips_beyond_its_share_of_enough_orders(sent: int, rejected: int, share: int) -> None:
    """Of ten orders two may be rejected and three may not; three of twelve may; nine orders are too few to tell."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_reject_percent": 250_000}})
    books.play([Tick(NOON_NS), *[Order(SENT, 0)] * sent, *[Order(REFUSED, 0)] * rejected, Tick(NOON_NS + REVIEW_NS)])
    assert changes(books) == ([(ACCOUNT, REDUCING, BY_REJECTS, share, 250_000)] if share else [])


def test_breaker_of_rejects_counts_what_the_venue_rejects() -> None:
    """Ten sent, three of them rejected: three of ten."""
    books = Books((1, 1, 1), {1: {"max_reject_percent": 299_999}})
    books.play([Tick(NOON_NS), *[Order(SENT, 0)] * 10, *[Order(REJECTED, 0)] * 3, Tick(NOON_NS + REVIEW_NS)])
    assert [(1, REDUCING, BY_REJECTS, 300_000, 299_999)] == changes(books)


def test_breaker_of_rejects_forgets_a_window_that_has_ended() -> None:
    """What was rejected a minute ago trips nothing now."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_reject_percent": 0}}, review_ns=60 * SECOND_NS)
    start_ns = NOON_NS + 1
    books.play([Tick(start_ns), *[Order(REFUSED, 0)] * 20, Tick(start_ns + 60 * SECOND_NS)])
    assert [] == changes(books)


def test_breaker_without_limits_never_trips() -> None:
    """What is unlimited is never broken, and what is not set blocks orders elsewhere."""
    books = Books((1, 1, 1), {1: {"max_daily_loss": NOT_SET, "max_trades_per_day": NOT_SET, "max_reject_percent": NOT_SET}})
    books.play(lost(9_000, (*[Order(SENT, 0)] * 20, *[Order(REFUSED, 0)] * 20)))
    assert [] == changes(books)


def test_breaker_with_several_limits_broken_names_the_first() -> None:
    """One change of state, by the daily loss, however much else is broken."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 1, "max_weekly_loss": 1, "max_drawdown": 1, "max_trades_per_day": 1}})
    books.play(lost(5, (Order(SENT, 0),)))
    assert [(ACCOUNT, REDUCING, BY_DAILY_LOSS, 5, 1)] == changes(books)


def test_breaker_set_to_halt_halts() -> None:
    """The state that the breaker sets is a setting."""
    books = Books((1, 1, 1), {1: {"max_drawdown": 1}}, breaker_state=HALTED)
    books.play(lost(5))
    assert [(1, HALTED, BY_DRAWDOWN, 5, 1)] == changes(books)


@pytest.mark.parametrize("state", [REDUCING, HALTED, KILLED])
def test_breaker_leaves_what_is_as_strict_already(state: int) -> None:
    """A person halted the account: no breaker loosens it, or takes it over."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 1}}, auto_resumes=1, cooldown_ns=1)
    books.play([Person(ACCOUNT, state), *lost(5), Tick(NOON_NS + SECOND_NS)])
    assert [(ACCOUNT, state, BY_PERSON, 0, 0)] == changes(books)


def test_breaker_that_tightens_what_a_person_set_never_lets_go_by_itself() -> None:
    """A person asked for REDUCING, the breaker halts: after the cooldown the account does not become ACTIVE."""
    settings = {"breaker_state": HALTED, "auto_resumes": 1, "cooldown_ns": 1}
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 1}}, **settings)
    books.play([Person(ACCOUNT, REDUCING), *lost(5), Tick(NOON_NS + 2, 0, 10_000, 10_001), Tick(NOON_NS + DAY_NS)])
    assert [(ACCOUNT, REDUCING, BY_PERSON, 0, 0), (ACCOUNT, HALTED, BY_DAILY_LOSS, 5, 1)] == changes(books)


@pytest.mark.parametrize(("offset_ns", "trips"), [(-1, 0), (0, 1), (1, 1)])
def test_review_comes_with_the_first_tick_at_or_past_its_time(offset_ns: int, trips: int) -> None:
    """One ns before the multiple of the review's period nobody looks."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 1}})
    books.play([*lost(5)[:-1], Tick(NOON_NS + REVIEW_NS + offset_ns)])
    assert trips == len(changes(books))
    assert 1 + trips == books.counts()["reviews"]


def test_review_looks_before_the_tick_that_brings_it_moves_its_mark() -> None:
    """The loss of a tick is seen by the next review: a tick that is repeated after a death must see the same marks."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 1}})
    books.play([*lost(0)[:-1], Tick(NOON_NS + REVIEW_NS, 0, 9_000, 9_001)])
    assert [] == changes(books)
    books.take(Tick(NOON_NS + 2 * REVIEW_NS, 0, 10_000, 10_001))
    assert [(ACCOUNT, REDUCING, BY_DAILY_LOSS, 1_000, 1)] == changes(books)


def test_review_without_room_for_its_events_is_done_later() -> None:
    """Where the ring of events is full nothing is reviewed, and the next call does it."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 1}})
    books.play(lost(5)[:-1])
    set_reader(books.state.events.ring, 0, GATING)
    books.state.words[RISK_REVIEW_NS] = 0
    capacity = len(books.state.events.ring.slots)
    books.state.events.local[:] = capacity - 10, 0
    assert not review(books.state)
    assert [0, ACTIVE] == [int(books.state.words[RISK_REVIEW_NS]), books.word(ACCOUNT, SCOPE_STATE)]
    books.state.events.local[:] = 0
    assert review(books.state)
    assert REDUCING == books.word(ACCOUNT, SCOPE_STATE)


def test_review_period_of_zero_means_no_reviews() -> None:
    """Where nobody wants the breaker it costs nothing."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 1}}, review_ns=0)
    books.play(lost(5))
    assert (0, []) == (books.counts()["reviews"], changes(books))


MIDNIGHT_NS = NOON_NS + DAY_NS // 2


@pytest.mark.parametrize("start_ns", [0, 3_600 * SECOND_NS, 82_800 * SECOND_NS])
@pytest.mark.parametrize("offset_ns", [-1, 0, 1])
def test_day_ends_so_long_after_midnight(start_ns: int, offset_ns: int) -> None:
    """At its end the day's loss and its orders begin anew, one ns before it they do not."""
    boundary_ns = next_boundary(NOON_NS, start_ns, DAY_NS)
    books = Books((1, 1, 1), day_start_ns=start_ns, review_ns=1)
    books.play([*lost(7, (Order(SENT, 0),)), Tick(boundary_ns + offset_ns)])
    new = offset_ns >= 0
    assert (-7 if new else 0, 0 if new else 1) == (books.word(1, SCOPE_DAY_PNL), books.word(1, SCOPE_TRADES))
    assert boundary_ns + (DAY_NS if new else 0) == books.word(1, SCOPE_DAY_END_NS)
    assert 0 == books.word(1, SCOPE_WEEK_PNL), "the week goes on"


@pytest.mark.parametrize("offset_ns", [-1, 0, 1])
def test_week_ends_on_monday(offset_ns: int) -> None:
    """At the end of Sunday the week's loss begins anew."""
    monday_ns = NOON_NS - DAY_NS - DAY_NS // 2 + WEEK_NS
    books = Books((1, 1, 1), review_ns=1)
    books.play([*lost(7), Tick(monday_ns + offset_ns)])
    new = offset_ns >= 0
    assert (-7 if new else 0) == books.word(ACCOUNT, SCOPE_WEEK_PNL)
    assert monday_ns + (WEEK_NS if new else 0) == books.word(ACCOUNT, SCOPE_WEEK_END_NS)


@pytest.mark.skipif(JIT_ENABLED, reason="a kernel that only kernels call")
@pytest.mark.parametrize("start_ns", [0, 1, DAY_NS - 1])
@pytest.mark.parametrize("now_ns", [0, 1, DAY_NS - 1, DAY_NS, DAY_NS + 1, NOON_NS])
def test_end_of_period_is_the_first_boundary_after_now(now_ns: int, start_ns: int) -> None:
    """A boundary itself belongs to the period that it begins."""
    end_ns = end_of_period(now_ns, start_ns, DAY_NS)
    assert now_ns < end_ns <= now_ns + DAY_NS
    assert 0 == (end_ns - start_ns) % DAY_NS


def test_daily_loss_counts_from_the_start_of_the_day() -> None:
    """What was lost yesterday is no loss of today; the weekly loss counts both."""
    limits = {"max_daily_loss": 10, "max_weekly_loss": 15}
    books = Books((1, 1, 1), {ACCOUNT: limits}, review_ns=SECOND_NS)
    books.play([*lost(10), Tick(MIDNIGHT_NS), Tick(MIDNIGHT_NS + 1, 0, 9_985, 10_001), Tick(MIDNIGHT_NS + SECOND_NS)])
    assert [] == changes(books)
    books.play_on([Tick(MIDNIGHT_NS + SECOND_NS + 1, 0, 9_984, 10_001), Tick(MIDNIGHT_NS + 2 * SECOND_NS)])
    assert [(ACCOUNT, REDUCING, BY_WEEKLY_LOSS, 16, 15)] == changes(books)


def test_drawdown_counts_from_the_highest_profit_seen() -> None:
    """Up 30 and back to 15 is a drawdown of 15, days and weeks later as well."""
    books = Books((1, 1, 1), {1: {"max_drawdown": 14}}, review_ns=SECOND_NS)
    books.play([*lost(-30), Tick(NOON_NS + SECOND_NS), Tick(NOON_NS + WEEK_NS, 0, 10_015, 10_016), Tick(NOON_NS + 2 * WEEK_NS)])
    assert 30 == books.word(1, SCOPE_PEAK)
    assert [(1, REDUCING, BY_DRAWDOWN, 15, 14)] == changes(books)


COOLING = {"auto_resumes": 1, "cooldown_ns": 5 * SECOND_NS}
LOSING: list[Input] = [Tick(NOON_NS), Fill(0, 0, BUY, 1, 100), Fill(0, 0, SELL, 1, 99), Tick(NOON_NS)]


@pytest.mark.parametrize(("offset_ns", "state"), [(-1, REDUCING), (0, ACTIVE), (1, ACTIVE)])
def test_cooldown_of_losses_in_a_row_ends_and_they_count_anew(offset_ns: int, state: int) -> None:
    """Five seconds after the trip the scope goes on, with no losses, and the next loss trips again."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_consecutive_losses": 1}}, review_ns=1, **COOLING)
    books.play([*LOSING, Tick(NOON_NS + 5 * SECOND_NS + offset_ns)])
    assert (state, int(state == REDUCING)) == (books.word(ACCOUNT, SCOPE_STATE), books.word(ACCOUNT, SCOPE_LOSSES))
    tripped, resumed = (ACCOUNT, REDUCING, BY_LOSSES, 1, 1), (ACCOUNT, ACTIVE, BY_COOLDOWN, 0, 0)
    assert [tripped, *[resumed] * (state == ACTIVE)] == changes(books)
    books.play_on([Tick(NOON_NS + 6 * SECOND_NS), *LOSING[1:]])
    assert [tripped, resumed, tripped] == changes(books)
    assert 0 < books.word(ACCOUNT, SCOPE_COOLDOWN_NS)


@pytest.mark.parametrize("settings", [{}, {"auto_resumes": 1}, {"cooldown_ns": 1}])
def test_cooldown_that_is_not_configured_never_ends(settings: dict[str, int]) -> None:
    """Without both its length and the word that it may, only a person lets a scope go on."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_consecutive_losses": 1}}, **settings)
    books.play([*LOSING, Tick(NOON_NS + WEEK_NS)])
    assert [REDUCING, 0] == [books.word(ACCOUNT, word) for word in (SCOPE_STATE, SCOPE_COOLDOWN_NS)]


def test_cooldown_waits_for_the_day_while_its_loss_is_broken() -> None:
    """A cooldown of seconds does not let a lost day go on, the next day does."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 4}}, **COOLING)
    books.play([*lost(5), Tick(MIDNIGHT_NS - 1)])
    assert REDUCING == books.word(ACCOUNT, SCOPE_STATE)
    books.take(Tick(MIDNIGHT_NS))
    assert [(ACCOUNT, REDUCING, BY_DAILY_LOSS, 5, 4), (ACCOUNT, ACTIVE, BY_COOLDOWN, 0, 0)] == changes(books)


@pytest.mark.parametrize("state", [REDUCING, HALTED, KILLED])
def test_cooldown_after_a_person_changed_the_state_is_over_for_good(state: int) -> None:
    """The breaker's trip is the person's now: no cooldown loosens it."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_consecutive_losses": 1}}, **COOLING)
    books.play([*LOSING, Person(ACCOUNT, state), Tick(NOON_NS + WEEK_NS)])
    assert [state, BY_PERSON] == [books.word(ACCOUNT, word) for word in (SCOPE_STATE, SCOPE_REASON)]


def test_person_that_resumes_lets_pass_what_is_broken_until_the_day_ends() -> None:
    """No trip again by the same loss today, however it grows; tomorrow's loss trips again."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 4}}, review_ns=SECOND_NS)
    books.play([*lost(5), Tick(NOON_NS + SECOND_NS), Person(ACCOUNT, ACTIVE)])
    assert 1 << BY_DAILY_LOSS == books.word(ACCOUNT, SCOPE_FORGIVEN)
    worse, worst = Tick(NOON_NS + SECOND_NS, 0, 9_900, 9_901), Tick(MIDNIGHT_NS + 1, 0, 9_895, 9_901)
    books.play_on([worse, Tick(NOON_NS + 2 * SECOND_NS), Tick(MIDNIGHT_NS)])
    assert [(ACCOUNT, REDUCING, BY_DAILY_LOSS, 5, 4), (ACCOUNT, ACTIVE, BY_PERSON, 0, 0)] == changes(books)
    assert 0 == books.word(ACCOUNT, SCOPE_FORGIVEN)
    books.play_on([worst, Tick(MIDNIGHT_NS + SECOND_NS)])
    assert (ACCOUNT, REDUCING, BY_DAILY_LOSS, 5, 4) == changes(books)[-1]


def test_person_that_resumes_forgives_only_what_is_broken() -> None:
    """Another limit that breaks later trips all the same."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 4, "max_drawdown": 10}}, review_ns=SECOND_NS)
    books.play([*lost(5), Tick(NOON_NS + SECOND_NS), Person(ACCOUNT, ACTIVE), Tick(NOON_NS + SECOND_NS, 0, 9_989, 9_990)])
    books.take(Tick(NOON_NS + 2 * SECOND_NS))
    assert (ACCOUNT, REDUCING, BY_DRAWDOWN, 11, 10) == changes(books)[-1]


def test_person_that_resumes_forgives_a_drawdown_until_there_is_a_new_peak() -> None:
    """Days do not end it; a new peak does, and the next fall from there trips."""
    books = Books((1, 1, 1), {1: {"max_drawdown": 4}}, review_ns=SECOND_NS)
    books.play([*lost(5), Tick(NOON_NS + SECOND_NS), Person(1, ACTIVE), Tick(NOON_NS + WEEK_NS)])
    assert 1 << BY_DRAWDOWN == books.word(1, SCOPE_FORGIVEN)
    books.play_on([Tick(NOON_NS + WEEK_NS + 1, 0, 10_001, 10_002), Tick(NOON_NS + WEEK_NS + SECOND_NS)])
    assert 0 == books.word(1, SCOPE_FORGIVEN)
    books.play_on([Tick(NOON_NS + WEEK_NS + SECOND_NS + 1, 0, 9_996, 9_997), Tick(NOON_NS + 2 * WEEK_NS)])
    assert (1, REDUCING, BY_DRAWDOWN, 5, 4) == changes(books)[-1]


def test_person_that_resumes_forgives_a_weekly_loss_until_monday() -> None:
    """The days of the week do not end it."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_weekly_loss": 4}}, review_ns=SECOND_NS)
    books.play([*lost(5), Tick(NOON_NS + SECOND_NS), Person(ACCOUNT, ACTIVE), Tick(NOON_NS + DAY_NS)])
    assert 1 << BY_WEEKLY_LOSS == books.word(ACCOUNT, SCOPE_FORGIVEN)
    books.take(Tick(NOON_NS + WEEK_NS))
    assert [0, ACTIVE] == [books.word(ACCOUNT, word) for word in (SCOPE_FORGIVEN, SCOPE_STATE)]


def test_person_that_resumes_makes_counters_start_anew() -> None:
    """Losses in a row and rejects are 0; orders of the day are not, but are let pass."""
    limits = {"max_consecutive_losses": 1, "max_trades_per_day": 1, "max_reject_percent": 1}
    books = Books((1, 1, 1), {ACCOUNT: limits}, reject_orders_min=1, review_ns=SECOND_NS)
    books.play([*LOSING, Order(SENT, 0), Order(REFUSED, 0), Person(ACCOUNT, ACTIVE), Tick(NOON_NS + SECOND_NS)])
    words = (SCOPE_STATE, SCOPE_LOSSES, SCOPE_REJECTS, SCOPE_TRADES, SCOPE_FORGIVEN)
    assert [ACTIVE, 0, 0, 1, 1 << BY_TRADES] == [books.word(ACCOUNT, word) for word in words]


def test_person_that_tightens_forgives_nothing() -> None:
    """To halt what the breaker reduced is no leave to go on."""
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 4}})
    books.play([*lost(5), Person(ACCOUNT, HALTED)])
    assert [HALTED, 0] == [books.word(ACCOUNT, word) for word in (SCOPE_STATE, SCOPE_FORGIVEN)]


def test_change_of_a_state_says_whose_it_is() -> None:
    """The event names scope, and the strategy or the instrument that it is."""
    books = Books((1, 1, 1))
    books.play([Tick(NOON_NS), Person(ACCOUNT, HALTED), Person(2, HALTED), Person(5, HALTED)])
    events = books.events()
    assert [ACCOUNT, 2, 5] == events["scope"].tolist()
    assert [(0, 0), (1, 0), (0, 2)] == list(zip(events["strategy"].tolist(), events["instrument"].tolist(), strict=True))
    assert np.all(events["event_ns"] == NOON_NS)


def test_loss_of_one_strategy_trips_it_and_no_other() -> None:
    """Each strategy has its own P&L; the account has the sum."""
    limits = {"max_daily_loss": 4}
    books = Books((1, 1, 1), {ACCOUNT: {"max_daily_loss": 9}, 1: limits, 2: limits}, review_ns=SECOND_NS)
    books.play([*lost(5), Fill(1, 0, SELL, 1, 10_001), Tick(NOON_NS + SECOND_NS)])
    assert [(1, REDUCING, BY_DAILY_LOSS, 5, 4)] == changes(books)
    books.play_on([Tick(NOON_NS + SECOND_NS, 0, 9_995, 10_006), Tick(NOON_NS + 2 * SECOND_NS)])
    assert {(2, REDUCING, BY_DAILY_LOSS, 5, 4), (ACCOUNT, REDUCING, BY_DAILY_LOSS, 10, 9)} == set(changes(books)[1:])
