"""Kill risk at the stores of a story of scopes: limits, states, cancels of one and of all, kill, resume, flatten.

Whatever store the kill comes before or after, the story is told as if it had not come: the twins judge every request, every
word of every scope and every order on the way (tests/risk_twin.py), and what it comes to is written out below.
"""

from __future__ import annotations

import pytest

from pipeline.messages import (
    ACTIVE,
    AND_FLATTEN,
    BUY,
    CANCEL,
    CANCEL_ALL,
    CANCEL_ORDER,
    EVENT,
    EXIT,
    FLATTEN,
    KILLED,
    LIMIT,
    LIMIT_CHANGED,
    MARKET,
    ORDER,
    REDUCING,
    REJECT_REASONS,
    REQUEST_REFUSED,
    SELL,
    SET_LIMIT,
    SET_STATE,
    STATE_CHANGED,
    STATE_REASONS,
    STOP_TRIGGERED,
    SUBMIT,
    TRADING_STATES,
    TRIGGER_REASONS,
)
from pipeline.order_ids import entry_order_id
from pipeline.risk.limits import MAX_CONSECUTIVE_LOSSES, MAX_GROSS_EXPOSURE, MAX_POSITION_QUANTITY, UNLIMITED
from pipeline.topology import ACCOUNT, scope_of_instrument, scope_of_strategy
from shm.jit import JIT_ENABLED
from tests.deaths import Deaths, explore_deaths
from tests.promises import assert_kept
from tests.rig import LATENCY_NS, SIZES, limits
from tests.stories import StoryRig, ask, quote

pytestmark = [
    pytest.mark.jitless,
    pytest.mark.skipif(JIT_ENABLED, reason="compiled kernels cannot be stopped between two stores"),
]

CONTROL = SIZES.strategies
FIRST, SECOND, THING = scope_of_strategy(0), scope_of_strategy(1), scope_of_instrument(SIZES, 0)
#: Of so many different deaths one is played; all of them take minutes. A prime, so that it meets all sorts.
EVERY = {"risk": 59, "execution": 97}
WAIT = 2 * LATENCY_NS

STORY = (
    quote(10_000),
    quote(5_000, instrument=1),
    ask(SET_LIMIT, CONTROL, strategy=0, scope=FIRST, limit_id=MAX_POSITION_QUANTITY, value=160),
    ask(SET_LIMIT, CONTROL, strategy=0, scope=ACCOUNT, limit_id=MAX_CONSECUTIVE_LOSSES, value=1),
    ask(SET_LIMIT, CONTROL, strategy=0, scope=SECOND, limit_id=MAX_GROSS_EXPOSURE, value=400_000),
    ask(SUBMIT, side=BUY, quantity_lots=100, order_type=MARKET),
    ask(SUBMIT, 1, side=SELL, quantity_lots=40, order_type=MARKET, instrument=1),
    quote(10_001, WAIT),
    quote(5_001, instrument=1),
    # Two that rest, one of which would pass the limit with a third.
    ask(SUBMIT, side=BUY, quantity_lots=50, order_type=LIMIT, price_ticks=9_000),
    ask(SUBMIT, side=BUY, quantity_lots=11, order_type=LIMIT, price_ticks=9_000),
    ask(SUBMIT, 1, side=SELL, quantity_lots=30, order_type=LIMIT, price_ticks=6_000, instrument=1),
    ask(CANCEL_ORDER, 1, value=entry_order_id(1, 1), instrument=1),
    # All of one is taken back, and what comes after is not.
    ask(SUBMIT, 1, side=SELL, quantity_lots=20, order_type=LIMIT, price_ticks=6_000, instrument=1),
    ask(SUBMIT, 1, side=SELL, quantity_lots=10, order_type=LIMIT, price_ticks=6_100, instrument=1),
    # What works counts: 70 lots at 5,003, and 10 at 10,003.
    ask(SUBMIT, 1, side=BUY, quantity_lots=10, order_type=MARKET),
    ask(CANCEL_ALL, 1, scope=SECOND),
    ask(SUBMIT, 1, side=SELL, quantity_lots=5, order_type=LIMIT, price_ticks=6_000, instrument=1),
    # It may make its position smaller now, and no more than that, what works counted.
    ask(SET_STATE, scope=FIRST, value=REDUCING),
    ask(SUBMIT, side=SELL, quantity_lots=101, order_type=MARKET),
    ask(SUBMIT, side=SELL, quantity_lots=30, order_type=MARKET),
    ask(SUBMIT, side=SELL, quantity_lots=71, order_type=MARKET),
    quote(10_000, WAIT),
    # Killed: what works is taken back, and the stop that fires waits.
    ask(SET_STATE, 1, scope=ACCOUNT, value=KILLED),
    quote(9_700, WAIT),
    quote(9_690, WAIT),
    ask(SUBMIT, side=SELL, quantity_lots=1, order_type=MARKET),
    ask(SET_STATE, CONTROL, strategy=0, scope=ACCOUNT, value=ACTIVE),
    quote(9_680, WAIT),
    quote(9_670, WAIT),
    # The loss trips the breaker, a person lets it pass; then all is left.
    ask(SUBMIT, 1, side=SELL, quantity_lots=1, order_type=MARKET, instrument=1),
    ask(SET_STATE, CONTROL, strategy=0, scope=FIRST, value=ACTIVE),
    ask(SET_STATE, CONTROL, strategy=0, scope=ACCOUNT, value=ACTIVE),
    ask(SUBMIT, side=BUY, quantity_lots=20, order_type=MARKET),
    quote(9_672, WAIT),
    ask(SUBMIT, side=BUY, quantity_lots=5, order_type=LIMIT, price_ticks=9_000),
    ask(FLATTEN, CONTROL, strategy=0, scope=ACCOUNT),
    quote(9_671, WAIT),
    quote(5_000, WAIT, instrument=1),
    quote(9_672, WAIT),
    ask(SET_STATE, CONTROL, strategy=0, scope=ACCOUNT, value=ACTIVE),
    ask(SUBMIT, side=BUY, quantity_lots=7, order_type=MARKET),
    quote(9_671, WAIT),
    ask(SET_STATE, CONTROL, strategy=0, scope=THING, value=KILLED, flags=AND_FLATTEN),
    quote(9_672, WAIT),
    quote(9_673, WAIT),
    ask(SET_STATE, CONTROL, strategy=0, scope=THING, value=ACTIVE),
    quote(9_674, WAIT),
)  # fmt: skip


#: What must become of it.
TOLD: dict[str, list] = {
    "states": [
        (FIRST, "reducing", "strategy"), (ACCOUNT, "killed", "strategy"), (ACCOUNT, "active", "person"),
        (ACCOUNT, "reducing", "consecutive_losses"), (FIRST, "active", "person"), (ACCOUNT, "active", "person"),
        (ACCOUNT, "reducing", "consecutive_losses"), (ACCOUNT, "active", "person"), (THING, "killed", "person"),
        (ACCOUNT, "reducing", "consecutive_losses"), (THING, "active", "person"),
    ],
    "limits": [
        (FIRST, MAX_POSITION_QUANTITY, UNLIMITED, 160), (ACCOUNT, MAX_CONSECUTIVE_LOSSES, UNLIMITED, 1),
        (SECOND, MAX_GROSS_EXPOSURE, UNLIMITED, 400_000),
    ],
    "refused": ["position_limit", "gross_exposure", "reducing", "reducing", "killed", "reducing"],
    "fired": [("flatten", 7), ("flatten", 20), ("flatten", 40), ("level", 0)],
    "taken back": [5, 5, 10, 20, 30, 50],
    "exits": [7, 20, 40, 70],
}  # fmt: skip


def begin() -> StoryRig:
    """Return a rig at the beginning of the story."""
    return StoryRig(STORY, risk_limits=limits(2, trailing_stop_ppm=0)._replace(enforces=1))


def story_of(rig: StoryRig) -> dict[str, list]:
    """Return what became of it."""
    events, orders = rig.records("events", EVENT), rig.records("orders", ORDER)
    changed, fired = events[events["kind"] == STATE_CHANGED], events[events["kind"] == STOP_TRIGGERED]
    refused, moved = events[events["kind"] == REQUEST_REFUSED], events[events["kind"] == LIMIT_CHANGED]
    return {
        "states": [(int(e["scope"]), TRADING_STATES[e["state"]], STATE_REASONS[e["reason"]]) for e in changed],
        "limits": [(int(e["scope"]), int(e["limit_id"]), int(e["value"]), int(e["limit"])) for e in moved],
        "refused": [REJECT_REASONS[e["reason"]] for e in refused],
        # In no order: a process that starts lists anew what is held and what works.
        "fired": sorted((TRIGGER_REASONS[e["reason"]], int(e["quantity_lots"])) for e in fired),
        "taken back": sorted(int(order["quantity_lots"]) for order in orders[orders["kind"] == CANCEL]),
        "exits": sorted(int(order["quantity_lots"]) for order in orders if order["flags"] & EXIT and order["kind"] != CANCEL),
    }


def check(rig: StoryRig) -> None:
    """Check that every promise was kept, and that the story is the one that is written above."""
    assert_kept(rig)
    assert {} == {name: told for name, told in story_of(rig).items() if told != TOLD[name]}, "what became of it"


def live() -> None:
    """Live the story without a death.

    Raises:
        AssertionError: It is another.
    """
    rig = begin()
    try:
        rig.tell()
        check(rig)
    except AssertionError as error:
        raise AssertionError(f"story of scopes: {error}") from error


def explore_all(stage: str, every: int = 1, place: str = "") -> Deaths:
    """Kill a stage at points of the story: one of so many, in one place or anywhere; see tests/deaths.py."""
    rig = begin()
    return explore_deaths(rig, rig.tell, lambda: check(rig), [stage], every, place)


@pytest.mark.parametrize(("stage", "every"), EVERY.items())
def test_scopes_with_a_stage_killed_keep_every_promise(stage: str, every: int) -> None:
    """Whatever store the kill comes before or after, what was taken back, killed, resumed and left is the same."""
    deaths = explore_all(stage, every)
    print(f"{deaths.points} crash points, {deaths.found} different deaths of {stage}, {deaths.played} played, all survived")
    assert deaths.played > 15
