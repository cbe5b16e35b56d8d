"""Stops in a live instance whose stages stand at different ticks, die, or are asked for too much: small stories by hand."""

from __future__ import annotations

import pytest

from pipeline.messages import (
    BUY,
    EVENT,
    MOVE_STOP,
    PRICE_TICKS_LIMIT,
    REJECT_STOP_TABLE_FULL,
    REJECT_STOP_TERMS,
    REQUEST_REFUSED,
    SELL,
    SET_STOP,
    STATIC,
    STOP_TRIGGERED,
    TAKE_PROFIT,
    TIME,
    TRAILING,
)
from tests.promises import assert_kept
from tests.recorder import RecordingRig
from tests.rig import SIZES, limits, quotes

pytestmark = pytest.mark.jitless


def hold(rig: RecordingRig, tick_count: int = 2, side: int = BUY) -> None:
    """Open a position of 100 lots: execution and its venue see so many ticks, risk the first alone."""
    rig.step("ingest", tick_count)
    rig.step("risk", 1)
    rig.step("execution", 1)
    rig.submit(0, side, 100)
    rig.step("risk", 0)
    rig.step("execution", tick_count)
    rig.step("risk", 0)
    assert 100 == side * rig.positions()[0]["quantity_lots"]


def fired(rig: RecordingRig) -> list[tuple[int, ...]]:
    """Return (stop, tick, price, level) of every stop that fired."""
    events = rig.records("events", EVENT)
    return [
        tuple(int(event[name]) for name in ("stop_id", "tick_seq", "price_ticks", "level_ticks"))
        for event in events[events["kind"] == STOP_TRIGGERED]
    ]


def test_stop_by_hand_before_its_position_is_held_waits_for_that_tick() -> None:
    """The fill comes from ticks that are still ahead of risk: what lies before it is not the position's market."""
    peak_and_fall = [(0, 10_000, 10_002), (0, 10_500, 10_502), (0, 10_500, 10_502), (0, 10_000, 10_002), (0, 10_000, 10_002)]
    rig = RecordingRig(quotes(peak_and_fall), risk_limits=limits(2, trailing_stop_ppm=0), latency_ns=3_000)
    hold(rig, 5)
    assert rig.positions()[0]["entry_ns"] > rig.risk.marks[0]["quote_ns"]
    rig.send_request(0, kind=SET_STOP, stop_kind=TAKE_PROFIT, price_ticks=10_400)
    rig.settle()
    assert_kept(rig)
    assert [] == fired(rig)


def test_stale_market_leaves_by_a_trailing_stop_and_tells_its_level_of_then() -> None:
    """The price rose after the level was last worked out; the level that is told is that of the best price."""
    rise = [(0, 10_000, 10_002), (0, 10_000, 10_002), (0, 10_100, 10_102), (0, 10_200, 10_202), *[(1, 500, 501)] * 6]
    flat = limits(2, default_stop_ppm=0)._replace(stale_ns=3_000, flattens=1)
    rig = RecordingRig(quotes(rise), risk_limits=flat, latency_ns=0)
    hold(rig, 2)
    rig.settle()
    assert_kept(rig)
    # 1% below 10200.
    assert [(1, 7, 10_200, 10_098)] == fired(rig)


@pytest.mark.parametrize(
    "terms",
    [
        {"stop_kind": STATIC, "price_ticks": PRICE_TICKS_LIMIT},
        {"stop_kind": TAKE_PROFIT, "price_ticks": 1 << 62},
        {"stop_kind": TRAILING, "offset_ticks": (1 << 63) - 1},
        {"stop_kind": TIME, "holding_ns": (1 << 63) - 1},
    ],
)
@pytest.mark.parametrize("side", [BUY, SELL])
def test_numbers_of_a_stop_that_would_wrap_around_are_refused(side: int, terms: dict[str, int]) -> None:
    """What is beyond the bounds of prices and times makes no stop, and moves none."""
    rig = RecordingRig(quotes([(0, 10_000, 10_002)] * 4), latency_ns=0)
    hold(rig, side=side)
    rig.send_request(0, kind=SET_STOP, **terms)
    price = terms.get("price_ticks", 0)
    rig.send_request(0, kind=MOVE_STOP, stop_id=1, price_ticks=price, offset_ticks=0 if price else (1 << 63) - 1)
    rig.settle()
    assert_kept(rig)
    events = rig.records("events", EVENT)
    assert [REJECT_STOP_TERMS] * 2 == events[events["kind"] == REQUEST_REFUSED]["reason"].tolist()


def test_stops_by_hand_leave_slots_for_the_stops_of_positions_that_open() -> None:
    """An order is on its way; stops by hand fill the table as far as they may; and the position that opens is protected."""
    rig = RecordingRig(quotes([(0, 10_000, 10_002), (1, 500, 501)] * 6), SIZES._replace(stops=16), latency_ns=2_000)
    rig.limits = rig.limits._replace(enforces=1)
    rig.open("risk")
    hold(rig, 4)
    rig.step("risk", 1)
    rig.step("execution", 1)
    rig.submit(1, BUY, 10, strategy=1)
    rig.step("risk", 0)
    for k in range(16):
        rig.send_request(0, kind=SET_STOP, stop_kind=STATIC, price_ticks=9_000 + k)
    rig.settle()
    assert_kept(rig)
    events = rig.records("events", EVENT)
    refused = events[events["kind"] == REQUEST_REFUSED]["reason"].tolist()
    # Two slots for each of the two positions are kept: for the one that opens, and for when either loses its last stop.
    assert [REJECT_STOP_TABLE_FULL] * len(refused) == refused
    assert 10 == rig.positions()[3]["quantity_lots"]
    assert 0 == rig.count("risk")["no_stop_slot"]
    assert 2 == (rig.stops()["position"] == 3).sum()
