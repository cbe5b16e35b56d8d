"""The books and the breaker in the real stages: a loss trips, an exit leaves, a flip does not, a person lets it go on."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import (
    ACTIVE,
    BUY,
    BY_DAILY_LOSS,
    BY_PERSON,
    BY_TRADES,
    EVENT,
    HALTED,
    REDUCING,
    REJECT_HALTED,
    REJECT_REASONS,
    REJECT_REDUCING,
    REQUEST_REFUSED,
    SELL,
    SET_STATE,
    STATE_CHANGED,
)
from pipeline.risk.limits import free_limits
from pipeline.tables import SCOPE_EXECUTIONS, SCOPE_LOSSES, SCOPE_REALISED, SCOPE_TRADES, SCOPE_WORDS
from pipeline.topology import ACCOUNT, scope_of_strategy
from shm.jit import JIT_ENABLED
from tests.promises import assert_account_adds_up
from tests.rig import SIZES, Rig, quotes

pytestmark = [
    pytest.mark.jitless,
    pytest.mark.skipif(JIT_ENABLED, reason="the same kernels run compiled in tests of whole instances"),
]

STRATEGY = scope_of_strategy(0)
#: Requests ring of the control socket.
CONTROL = SIZES.strategies


def begin(scope: int, **limits: int) -> Rig:
    """Return a rig in which 100 lots were bought at 10,002, with a scope that has these limits; then the bid falls to 9,991."""
    limit_rows = free_limits(SIZES.scope_count)
    for name, value in limits.items():
        limit_rows[name][scope] = value
    calm, low = (0, 10_000, 10_002), (0, 9_991, 9_993)
    rig = Rig(quotes([calm] * 12 + [low] * 40), limit_rows=limit_rows)
    go_on(rig, 4)
    rig.submit(0, BUY, 100)
    go_on(rig, 8)
    assert 100 == rig.positions()[0]["quantity_lots"]
    return rig


def go_on(rig: Rig, ticks: int) -> None:
    """Take so many ticks, and all that follows from them."""
    for _ in range(ticks):
        rig.step("ingest", 1)
        for stage in ("risk", "execution", "risk"):
            rig.step(stage, 1)
        rig.drain_sidecar()


def word(rig: Rig, scope: int, number: int) -> int:
    """Return a word of a scope."""
    return int(rig.segment.array("scopes")[scope * SCOPE_WORDS + number])


def changed(rig: Rig) -> list[tuple[int, ...]]:
    """Return (scope, state, reason, value, limit, request) of each change of state."""
    events = rig.records("events", EVENT)
    names = ("scope", "state", "reason", "value", "limit", "request_id")
    return [tuple(int(event[name]) for name in names) for event in events[events["kind"] == STATE_CHANGED]]


def refused(rig: Rig) -> list[str]:
    """Return why requests were refused, in order."""
    events = rig.records("events", EVENT)
    return [REJECT_REASONS[reason] for reason in events["reason"][events["kind"] == REQUEST_REFUSED]]


@pytest.mark.parametrize("scope", [ACCOUNT, STRATEGY])
@pytest.mark.parametrize(("limit", "trips"), [(1_101, False), (1_100, False), (1_099, True)])
def test_loss_of_an_open_position_trips_beyond_its_limit(scope: int, limit: int, trips: bool) -> None:
    """Bought 100 at 10,002, bid 9,991: a loss of 1,100 is seen by the next review, and told once."""
    rig = begin(scope, max_daily_loss=limit)
    go_on(rig, 12)
    assert changed(rig) == ([(scope, REDUCING, BY_DAILY_LOSS, 1_100, limit, 0)] if trips else [])
    assert rig.count("risk")["breaker_trips"] == int(trips)
    assert_account_adds_up(rig)


def test_breaker_that_reduces_lets_an_exit_out_and_no_flip() -> None:
    """Nothing may be added or turned round; what makes the position smaller leaves, and the books show the loss."""
    rig = begin(STRATEGY, max_daily_loss=500)
    go_on(rig, 12)
    rig.submit(0, BUY, 1)
    rig.submit(0, SELL, 101)
    rig.submit(0, SELL, 100)
    rig.submit(1, BUY, 1, strategy=1)
    go_on(rig, 6)
    assert ["reducing", "reducing"] == refused(rig)[:2]
    assert 0 == rig.positions()[0]["quantity_lots"]
    assert -1_100 == word(rig, STRATEGY, SCOPE_REALISED) == word(rig, ACCOUNT, SCOPE_REALISED)
    assert [1, 2] == [word(rig, STRATEGY, number) for number in (SCOPE_LOSSES, SCOPE_EXECUTIONS)]
    assert_account_adds_up(rig)


def test_person_that_resumes_lets_the_strategy_go_on_the_same_day() -> None:
    """The daily loss stays what it is, and neither the breaker nor the check stops it again today."""
    rig = begin(STRATEGY, max_daily_loss=500)
    go_on(rig, 12)
    request = rig.send_request(CONTROL, strategy=0, kind=SET_STATE, scope=STRATEGY, value=ACTIVE)
    go_on(rig, 8)
    rig.submit(0, BUY, 1)
    go_on(rig, 6)
    assert [] == refused(rig)
    assert 101 == rig.positions()[0]["quantity_lots"]
    assert [(STRATEGY, REDUCING, BY_DAILY_LOSS), (STRATEGY, ACTIVE, BY_PERSON)] == [change[:3] for change in changed(rig)]
    assert request == changed(rig)[1][5]


def test_strategy_may_halt_itself_and_not_let_itself_go_on() -> None:
    """A strategy only tightens: what it halted, a person lets go on."""
    rig = begin(STRATEGY)
    rig.send_request(0, kind=SET_STATE, scope=STRATEGY, value=HALTED)
    rig.send_request(0, kind=SET_STATE, scope=STRATEGY, value=ACTIVE)
    rig.submit(0, SELL, 1)
    go_on(rig, 2)
    assert ["not_allowed", REJECT_REASONS[REJECT_HALTED]] == refused(rig)


def test_order_after_the_last_of_the_day_is_refused() -> None:
    """Two of two orders have left: requests behind the second find the strategy reducing, the last one a step later."""
    rig = begin(STRATEGY, max_trades_per_day=2)
    for _ in range(3):
        rig.submit(0, BUY, 1)
    for _ in range(2):
        rig.step("risk", 0)
    assert [REJECT_REASONS[REJECT_REDUCING]] * 2 == refused(rig)
    assert [(STRATEGY, REDUCING, BY_TRADES, 2, 2)] == [change[:5] for change in changed(rig)]
    assert 2 == word(rig, STRATEGY, SCOPE_TRADES)


def test_restart_of_the_stage_forgets_no_total() -> None:
    """A new process finds the same totals, states and counters, and looks at the same loss."""
    rig = begin(STRATEGY, max_daily_loss=2_000)
    go_on(rig, 6)
    before = rig.segment.array("scopes").copy()
    rig.open("risk")
    assert np.array_equal(before, rig.segment.array("scopes"))
    rig.submit(0, SELL, 40)
    go_on(rig, 8)
    assert_account_adds_up(rig)
    assert -440 == word(rig, ACCOUNT, SCOPE_REALISED)
