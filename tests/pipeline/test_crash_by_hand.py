"""Kill risk and execution at the stores of a story of stops by hand: set, moved, cancelled, fired by fractions, escalated.

Whatever store the kill comes before or after, the story is told as if it had not come. As in test_crash_points: the stage that
died is opened again from shared memory alone, and all go on from where that says they stand.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.messages import (
    ATR,
    BUY,
    CANCEL_STOP,
    CHANDELIER,
    END_REASONS,
    EVENT,
    FIRE_NOW,
    MARKET,
    MID,
    MOVE_STOP,
    SET_STOP,
    STATIC,
    STOP_ENDED,
    STOP_KIND_NAMES,
    STOP_TRIGGERED,
    SUBMIT,
    TAKE_PROFIT,
    TIME,
    TRAILING,
    TRIGGER_REASONS,
)
from shm.jit import JIT_ENABLED
from tests.deaths import Deaths, explore_deaths
from tests.promises import assert_kept
from tests.recorder import RecordingRig
from tests.rig import LATENCY_NS, limits
from tests.stories import MS, StoryRig, ask, quote

pytestmark = [
    pytest.mark.jitless,
    pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores"),
]

CONTROL = 2
#: Of so many different deaths of a stage one is played; all of them take a few minutes. A prime, so that it meets all sorts.
EVERY = {"risk": 13, "execution": 23}


STORY = (
    quote(10_000),
    quote(10_020),
    ask(SUBMIT, side=BUY, quantity_lots=100, order_type=MARKET),
    # The venue is ahead: what is armed now waits until risk gets there.
    quote(10_000, is_late=True),
    ask(SET_STOP, stop_kind=TRAILING, offset_ticks=200, limit_ticks=2, escalate_ms=1, is_late=True),
    quote(10_010),
    ask(SET_STOP, stop_kind=ATR, watch=MID, atr_ppm=3_000_000, breakeven_ppm=50_000, fraction_ppm=200_000),
    ask(SET_STOP, CONTROL, strategy=0, stop_kind=CHANDELIER, atr_ppm=9_000_000),
    ask(SET_STOP, stop_kind=TIME, holding_ns=30 * LATENCY_NS),
    ask(SET_STOP, stop_kind=TAKE_PROFIT, price_ticks=10_100, fraction_ppm=500_000, limit_ticks=5),
    ask(SET_STOP, stop_kind=STATIC, price_ticks=10_500, fraction_ppm=100_000, flags=FIRE_NOW),
    ask(SET_STOP, stop_kind=TIME, holding_ns=9 * LATENCY_NS, fraction_ppm=100_000),
    # Wide bars: the ATR grows, and levels that lie nearer stay.
    quote(10_040),
    quote(9_990),
    quote(10_030),
    # Moved, the ATR stop has its best price for itself, until the next new one.
    ask(MOVE_STOP, stop_id=3, percent_ppm=30_000),
    quote(10_060),
    quote(9_935),
    quote(10_020),
    ask(MOVE_STOP, stop_id=2, offset_ticks=60),
    ask(CANCEL_STOP, stop_id=5),
    ask(CANCEL_STOP, CONTROL, strategy=0, stop_id=1),
    quote(10_030),
    # The deadline; then the target.
    quote(10_040),
    quote(10_101),
    quote(10_099),
    # A new best price, and the fall from it: a limit exit that the market runs away from.
    quote(10_150),
    quote(10_088),
    quote(10_050),
    quote(10_049, after_ns=MS),
    quote(10_048),
    quote(10_047),
)

#: What must become of it: which stops fired, why, and how many lots left; and why each stop ended.
FIRED = [
    ("static", "fire_now", 10), ("atr", "level", 18), ("time", "deadline", 7), ("take_profit", "target", 32),
    ("trailing", "level", 33),
]  # fmt: skip
ENDED = {
    1: "cancelled", 2: "exit_filled", 3: "exit_filled", 4: "position_flat", 5: "cancelled", 6: "exit_filled", 7: "exit_filled",
    8: "exit_filled",
}  # fmt: skip


def begin() -> StoryRig:
    """Return a rig at the beginning of the story."""
    chosen = limits(2, trailing_stop_ppm=0)._replace(enforces=1, atr_period=1, bar_ns=2 * LATENCY_NS, atr_source=MID)
    return StoryRig(STORY, risk_limits=chosen)


def assert_story_told(rig: RecordingRig) -> None:
    """The right stops fired, each ended as it should, and the position is flat."""
    events = rig.records("events", EVENT)
    fired, ended = events[events["kind"] == STOP_TRIGGERED], events[events["kind"] == STOP_ENDED]
    told = [(STOP_KIND_NAMES[e["stop_kind"]], TRIGGER_REASONS[e["reason"]], int(e["quantity_lots"])) for e in fired]
    assert FIRED == told, f"what fired: {told}"
    assert ENDED == {int(e["stop_id"]): END_REASONS[e["reason"]] for e in ended}, "why stops ended"
    assert (1, 2) == tuple(rig.count("risk")[name] for name in ("escalated", "stops_moved"))
    assert 0 == rig.positions()[0]["quantity_lots"] == rig.venue_net()[0, 0], "left open"


def explore_all(rig: StoryRig, stages: Sequence[str], every: int = 1, place: str = "") -> Deaths:
    """Kill the stage that is stepping at points of the story: one of so many, in one place or anywhere; see tests/deaths.py."""

    def check() -> None:
        assert_kept(rig)
        assert_story_told(rig)

    return explore_deaths(rig, rig.tell, check, stages, every, place)


@pytest.mark.parametrize(("stage", "every"), EVERY.items())
def test_stops_by_hand_with_a_stage_killed_keep_every_promise(stage: str, every: int) -> None:
    """Whatever store the kill comes before or after, each stop is set, moved, cancelled and fired once, and the rest leaves."""
    deaths = explore_all(begin(), [stage], every)
    print(f"{deaths.points} crash points, {deaths.found} different deaths of {stage}, {deaths.played} played, all survived")
    assert deaths.played > 30
