"""Every state of an order and every answer of the venue: market and limit orders, cancels, full tables."""

import numpy as np
import pytest

from pipeline.execution.open_orders import OPEN_COUNT
from pipeline.messages import (
    ACCEPTED,
    BUY,
    CANCELLED,
    EXIT,
    FILLED,
    LIMIT,
    MARKET,
    PRICE_TICKS_LIMIT,
    REASON_NONE,
    REDUCE_ONLY,
    REJECT_NO_MARKET,
    REJECT_NO_ROOM,
    REJECT_ORDER_TYPE,
    REJECTED,
    SELL,
)
from pipeline.tables import CANCELLING, DONE, ORDER_STATE, VENUE_CANCELLED, VENUE_FILLED, VENUE_OPEN, WORKING
from shm import rows
from tests.desk import LATENCY_NS, Desk

pytestmark = pytest.mark.jitless


def desk_with_market(**sizes: int) -> Desk:
    """Return a desk whose venue knows a market in instrument 0: 100 bid, 102 asked."""
    desk = Desk(**sizes)
    desk.quote(100, 102)
    desk.settle()
    return desk


def test_market_order_when_due_fills_at_the_touch() -> None:
    """It does not fill before its latency is over, and then at what the touch is by then, whatever tick brings the time."""
    desk = desk_with_market()
    desk.order(7, BUY)
    desk.quote(101, 103, after_ns=LATENCY_NS - 1)
    desk.settle()
    assert [ACCEPTED] == desk.kinds_of(7)
    desk.timer(after_ns=1)
    desk.settle()
    assert (FILLED, 7, REASON_NONE, 10, 103, 0) == desk.told()[-1]


@pytest.mark.parametrize(("side", "limit", "away", "at", "better"), [
    (BUY, 101, (100, 102), (99, 101), (98, 100)), (SELL, 101, (100, 102), (101, 103), (102, 104)),
])  # fmt: skip
def test_limit_order_rests_until_the_touch_is_at_its_limit_or_better(
    side: int, limit: int, away: tuple[int, int], at: tuple[int, int], better: tuple[int, int]
) -> None:
    """A touch one tick away fills nothing; one at the limit fills there, and one beyond it fills at the better price."""
    for there in (at, better):
        desk = desk_with_market()
        desk.order(7, side, limit=limit)
        for _ in range(3):
            desk.quote(*away)
            desk.settle()
        assert [ACCEPTED] == desk.kinds_of(7)
        assert {7: WORKING} == desk.states()
        assert [VENUE_OPEN] == list(desk.venue_orders()["state"])
        desk.quote(*there)
        desk.settle()
        price = there[1] if side == BUY else there[0]
        assert (FILLED, 7, REASON_NONE, 10, price, 0) == desk.told()[-1]
        assert {7: DONE} == desk.states()
        assert [price] == list(desk.venue_fills()["price_ticks"])
        assert [(LIMIT, limit)] == [(int(order["order_type"]), int(order["price_ticks"])) for order in desk.venue_orders()]


def test_limit_order_reached_before_it_is_due_waits_for_its_due_time() -> None:
    """A touch that comes and goes within the latency fills nothing; one that stands when it is due fills."""
    desk = desk_with_market()
    desk.order(7, BUY, limit=101)
    desk.quote(99, 101, after_ns=LATENCY_NS - 1)
    desk.quote(100, 102, after_ns=1)
    desk.settle()
    assert [ACCEPTED] == desk.kinds_of(7)
    desk.order(8, BUY, limit=101)
    desk.quote(99, 101, after_ns=LATENCY_NS - 1)
    desk.settle()
    # It was the first that rested.
    assert [ACCEPTED, FILLED] == desk.kinds_of(7)
    assert [ACCEPTED] == desk.kinds_of(8)
    desk.timer(after_ns=1)
    desk.settle()
    assert [ACCEPTED, FILLED] == desk.kinds_of(8)


def test_limit_order_without_a_quote_follows_the_last_trade() -> None:
    """It is taken where no price is known at all, and fills at the first trade that reaches it."""
    desk = Desk()
    desk.timer()
    desk.order(7, SELL, limit=50, instrument=1)
    desk.trade(49, instrument=1)
    desk.settle()
    assert [ACCEPTED] == desk.kinds_of(7)
    desk.trade(51, instrument=1)
    desk.settle()
    assert (FILLED, 7, REASON_NONE, 10, 51, 0) == desk.told()[-1]


def test_limit_order_with_a_quote_is_not_filled_by_trades_or_rejected_ticks() -> None:
    """Where a quote is known it is the touch; a tick that hygiene rejected moves time and nothing else."""
    desk = desk_with_market()
    desk.order(7, BUY, limit=101)
    desk.timer()
    desk.trade(90)
    desk.rejected(80, 81)
    desk.quote(80, 81, instrument=1)
    desk.settle()
    assert [ACCEPTED] == desk.kinds_of(7)
    assert 1 == desk.execution.venue.opened.local[OPEN_COUNT]


def test_orders_that_one_tick_fills_fill_by_arrival() -> None:
    """Whether they rested or waited, market or limit, the first that came has the first fill."""
    desk = desk_with_market()
    desk.order(1, BUY, limit=99)
    desk.order(2, BUY, limit=101)
    desk.timer()
    desk.settle()
    desk.order(3, BUY, limit=98)
    desk.order(4, BUY, limit=100)
    desk.order(5, SELL)
    desk.quote(98, 99)
    desk.settle()
    assert [1, 2, 4, 5] == list(desk.venue_fills()["order_id"])
    assert [1, 2, 3, 4] == list(desk.venue_fills()["fill_id"])


def test_order_sent_later_is_never_due_before_one_sent_earlier() -> None:
    """Orders come to the venue by one line, even where a later one says an earlier time."""
    desk = desk_with_market()
    desk.order(1, BUY)
    desk.order(2, BUY, event_ns=0)
    desk.timer(after_ns=LATENCY_NS - 1)
    desk.settle()
    assert [] == list(desk.venue_fills())
    desk.timer(after_ns=1)
    desk.settle()
    assert [1, 2] == list(desk.venue_fills()["order_id"])


@pytest.mark.parametrize(("order_type", "price_ticks"), [(0, 0), (9, 100), (LIMIT, 0), (LIMIT, -5), (LIMIT, PRICE_TICKS_LIMIT)])
def test_order_of_no_known_type_or_without_its_price_is_rejected(order_type: int, price_ticks: int) -> None:
    """The venue says so, and it is counted by its reason."""
    desk = desk_with_market()
    desk.order(7, BUY, order_type=order_type, price_ticks=price_ticks)
    desk.settle()
    assert [(REJECTED, 7, REJECT_ORDER_TYPE, 10, 0, 10)] == desk.told()
    assert 1 == desk.rejected_for(REJECT_ORDER_TYPE) == desk.count("rejected") == desk.count("venue_rejected")
    assert {7: DONE} == desk.states()
    assert 0 == len(desk.venue_orders())


def test_market_order_without_a_market_is_rejected_and_its_id_spent() -> None:
    """No price, no fill: it is rejected, and the same id again is no order."""
    desk = Desk()
    for _ in range(2):
        desk.order(7, BUY, price_ticks=5)
        desk.settle()
    assert [(REJECTED, 7, REJECT_NO_MARKET, 10, 0, 10)] == desk.told()
    assert 1 == desk.count("duplicates")


def test_cancel_of_a_working_order_takes_it_back() -> None:
    """Its row is done, its report tells what was not filled and whose order it was, and nothing fills it any more."""
    desk = desk_with_market()
    names = {"stop_id": 3, "request_id": 4, "generation": 5, "strategy": 0, "flags": EXIT | REDUCE_ONLY}
    desk.order(7, SELL, 10, limit=105, **names)
    desk.timer()
    desk.settle()
    desk.cancel(7)
    desk.quote(110, 112)
    desk.settle()
    assert [(ACCEPTED, 7, REASON_NONE, 10, 0, 10), (CANCELLED, 7, REASON_NONE, 10, 0, 10)] == desk.told()
    report = desk.records("reports")[-1]
    assert names == {name: int(report[name]) for name in names}
    assert (SELL, 0, 0) == (report["side"], report["instrument"], report["fill_id"])
    assert report["event_ns"] == desk.execution.venue.words[2] - LATENCY_NS
    assert {7: DONE} == desk.states()
    assert [VENUE_CANCELLED] == list(desk.venue_orders()["state"])
    assert 1 == desk.count("cancels") == desk.count("cancelled") == desk.count("venue_cancelled")
    assert 0 == len(desk.venue_fills()) == desk.execution.venue.opened.local[OPEN_COUNT]


def test_cancel_before_the_order_is_due_takes_it_back_at_once() -> None:
    """A cancel knows no latency: a market order that is still on its way never trades."""
    desk = desk_with_market()
    for order_id in (1, 2, 3):
        desk.order(order_id, BUY)
    for order_id in (1, 3):
        desk.cancel(order_id)
    desk.timer()
    desk.settle()
    assert [2] == list(desk.venue_fills()["order_id"])
    assert [CANCELLED, CANCELLED, FILLED] == [told[0] for told in desk.told() if told[0] != ACCEPTED]


def test_cancel_of_what_is_done_or_unknown_is_counted_and_no_more() -> None:
    """A second cancel, one of a filled or rejected order, one of an id that never was, and of id 0: no report, no state."""
    desk = desk_with_market()
    desk.order(1, BUY)
    desk.order(2, BUY, limit=90)
    desk.order(3, BUY, order_type=9)
    desk.timer()
    desk.cancel(2)
    desk.settle()
    before, states = desk.told(), desk.states()
    for order_id in (2, 1, 3, 4, 0):
        desk.cancel(order_id)
    desk.order(5, SELL)
    desk.settle()
    assert [(ACCEPTED, 5, REASON_NONE, 10, 0, 10)] == desk.told()[len(before) :]
    assert states | {5: WORKING} == desk.states()
    assert (6, 1, 1) == tuple(desk.count(name) for name in ("cancels", "cancelled", "venue_cancelled"))


def fill_unreported(desk: Desk) -> None:
    """Let the venue fill order 3, the third of three, while reports have room for no more than the first two."""
    for order_id in (1, 2, 3):
        desk.order(order_id, BUY)
    desk.step()
    desk.timer()
    # Three acceptances are in the ring of eight, so that two fills bring the room below what one input may need.
    desk.step()
    assert 3 == len(desk.venue_fills())
    assert WORKING == desk.states()[3]
    assert [ACCEPTED] == desk.kinds_of(3)


def test_cancel_that_comes_after_the_fill_and_before_its_report_loses() -> None:
    """The venue says that it has filled: the row works on until the report of the fill ends it, and nothing is cancelled."""
    desk = desk_with_market(reports=8)
    fill_unreported(desk)
    desk.cancel(3)
    desk.catch_up()
    before = desk.published("reports")
    # The cancel is taken before fills are reported.
    desk.step()
    assert [(FILLED, 3, REASON_NONE, 10, 102, 0)] == desk.told(before)
    assert (1, 0, 0) == tuple(desk.count(name) for name in ("cancels", "cancelled", "venue_cancelled"))
    assert DONE == desk.states()[3]
    assert [VENUE_FILLED] * 3 == list(desk.venue_orders()["state"])


def test_cancel_of_a_filled_order_that_the_venue_has_forgotten_loses() -> None:
    """Where the venue's record has gone to later orders it knows nothing of this one, whose fill is still to be reported."""
    desk = desk_with_market(reports=8, venue_orders=4)
    fill_unreported(desk)
    for order_id in (4, 5, 6, 7):
        desk.order(order_id, BUY, limit=50)
    desk.cancel(3)
    desk.catch_up()
    before = desk.published("reports")
    desk.step()
    assert {4, 5, 6, 7} == set(desk.venue_orders()["order_id"].tolist())
    assert (FILLED, 3, REASON_NONE, 10, 102, 0) == desk.told(before)[-1]
    assert (1, 0) == (desk.count("cancels"), desk.count("cancelled"))


def test_fill_of_an_order_whose_cancel_is_under_way_is_reported() -> None:
    """A venue may report a fill while a cancel is still unanswered: the fill has won, and ends the row."""
    desk = desk_with_market(reports=8)
    fill_unreported(desk)
    table = rows.open_table(desk.segment, "order_states", ORDER_STATE)
    for row in range(len(table.commits)):
        copy = table.copies[2 * row + (int(table.commits[row]) & 1)]
        if copy["order_id"] == 3:
            copy["state"] = CANCELLING
    desk.catch_up()
    before = desk.published("reports")
    desk.step()
    assert [(FILLED, 3, REASON_NONE, 10, 102, 0)] == desk.told(before)
    assert DONE == desk.states()[3]


def test_resting_orders_when_the_ring_comes_round_hold_nothing_up() -> None:
    """One order rests while five times as many as there are rows come and end, and it still fills when its time comes."""
    desk = desk_with_market(working_orders=8, venue_orders=8)
    desk.order(1_000, BUY, limit=50)
    for order_id in range(1, 41):
        desk.order(order_id, BUY, limit=60 if order_id % 2 else None)
        desk.timer()
        if order_id % 2:
            desk.cancel(order_id)
        desk.settle()
    assert 0 == desk.count("rejected") == desk.count("stalled") == desk.count("duplicates")
    assert (20, 20) == (desk.count("filled"), desk.count("cancelled"))
    desk.open()
    desk.quote(49, 50)
    desk.settle()
    assert (FILLED, 1_000, REASON_NONE, 10, 50, 0) == desk.told()[-1]
    assert DONE == desk.states()[1_000]


def test_entries_that_rest_leave_rows_for_exits_and_a_cancel_frees_one() -> None:
    """Entries are rejected when nine tenths of the rows work, exits when all do; neither holds up the cancel behind it."""
    desk = desk_with_market(working_orders=16, venue_orders=16)
    for order_id in range(1, 16):
        desk.order(order_id, BUY, limit=50)
    for order_id in range(21, 24):
        desk.order(order_id, SELL, limit=150, flags=EXIT)
    desk.cancel(1)
    desk.order(24, SELL, limit=150, flags=EXIT)
    desk.settle()
    rejected = [told[1] for told in desk.told() if told[0] == REJECTED]
    assert [15, 23] == rejected
    assert 2 == desk.rejected_for(REJECT_NO_ROOM) == desk.count("rejected")
    assert [ACCEPTED, CANCELLED] == desk.kinds_of(1)
    assert [ACCEPTED] == desk.kinds_of(24)
    assert 0 == desk.count("venue_rejected") == desk.count("stalled")


def test_venue_with_no_room_rejects_until_an_order_ends() -> None:
    """As many orders as its record has rows may work at the venue, wherever they lie in it."""
    desk = desk_with_market(venue_orders=2)
    desk.order(1, BUY, limit=50)
    desk.order(2, BUY, limit=50)
    desk.order(3, BUY, limit=50)
    desk.cancel(2)
    desk.order(4, BUY)
    desk.order(5, BUY)
    desk.timer()
    desk.order(6, BUY)
    desk.settle()
    assert [3, 5, 6] == [told[1] for told in desk.told() if told[:3:2] == (REJECTED, REJECT_NO_ROOM)]
    assert [4] == list(desk.venue_fills()["order_id"])
    assert {1, 4} == set(desk.venue_orders()["order_id"].tolist())


def test_many_orders_that_one_tick_makes_due_fill_at_that_tick() -> None:
    """A thousand stops may fire on one tick: their exits all fill at the tick at which they are due, by arrival."""
    desk = Desk(orders=1024, reports=4096, working_orders=1024, venue_orders=1024)
    desk.quote(100, 102)
    desk.settle()
    for order_id in range(1, 1001):
        desk.order(order_id, SELL, flags=EXIT)
    while desk.count("accepted") < 1_000:
        desk.step(0)
    desk.quote(90, 92)
    desk.settle()
    fills = desk.venue_fills()
    assert list(range(1, 1001)) == list(fills["order_id"])
    assert {90} == set(fills["price_ticks"].tolist())
    assert np.array_equal(np.arange(1_000), fills["order_seq"])


def test_order_type_market_with_a_price_ignores_the_price() -> None:
    """A market order's price is no limit."""
    desk = desk_with_market()
    desk.order(7, BUY, order_type=MARKET, price_ticks=1)
    desk.timer()
    desk.settle()
    assert [102] == list(desk.venue_fills()["price_ticks"])
    assert [0] == list(desk.venue_orders()["price_ticks"])
