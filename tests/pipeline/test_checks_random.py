"""The pre-trade check on accounts and orders at random, against the twin: each refusal has one reason, and the right one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import messages as m
from pipeline.risk.amounts import AMOUNT_MAX
from shm.jit import JIT_ENABLED
from tests import check_twin
from tests.check_draws import draw_limits, draw_requests, draw_world
from tests.check_driver import verdict, verdicts
from tests.check_world import INSTRUMENTS, STRATEGIES, Holding, Market, Tables, World, order, scopes_of

pytestmark = pytest.mark.jitless

#: A million orders, of which the twin judges every fifth: it takes a thousand times as long. As plain Python some thousands.
WORLD_COUNT, ORDERS_PER_WORLD, TWIN_EVERY = (1_000, 1_000, 5) if JIT_ENABLED else (120, 50, 1)
#: Reasons that the check itself gives.
REASONS = {
    m.REJECT_BAD_REQUEST, m.REJECT_ORDER_TYPE, m.REJECT_QUANTITY, m.REJECT_NO_MARKET, m.REJECT_EXIT_WORKING, m.REJECT_KILLED,
    m.REJECT_HALTED, m.REJECT_FLATTENING, m.REJECT_REDUCING, m.REJECT_RESTRICTED, m.REJECT_SESSION, m.REJECT_BLACKOUT,
    m.REJECT_STALE, m.REJECT_NO_LIMIT, m.REJECT_MIN_QUANTITY, m.REJECT_MIN_NOTIONAL, m.REJECT_NOTIONAL, m.REJECT_PRICE_COLLAR,
    m.REJECT_POSITION_LIMIT, m.REJECT_OPEN_POSITIONS, m.REJECT_CONCENTRATION, m.REJECT_GROSS_EXPOSURE, m.REJECT_NET_EXPOSURE,
    m.REJECT_BUYING_POWER, m.REJECT_DAILY_LOSS, m.REJECT_WEEKLY_LOSS, m.REJECT_DRAWDOWN, m.REJECT_VOLATILITY,
    m.REJECT_EXECUTIONS, m.REJECT_SAME_ORDER, m.REJECT_ORDER_RATE,
}  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Return tables to fill."""
    return Tables()


def agree(found: check_twin.Verdict, expected: check_twin.Verdict) -> bool:
    """Tell whether check and twin say the same; a share that is found comes from a float, and may be off in its last places."""
    near = abs(found[1] - expected[1]) <= 1 + expected[1] * 1e-9
    return near and (found[0], *found[2:]) == (expected[0], *expected[2:])


@pytest.mark.timeout(300)
def test_million_random_orders_have_the_reason_of_the_twin(tables: Tables) -> None:
    """Of a million random orders in random accounts each has one answer, the twin's, and every reason comes up."""
    rng = np.random.default_rng(20_261_124)
    seen: dict[int, int] = {}
    for _ in range(WORLD_COUNT):
        world = draw_world(rng)
        draw_limits(rng, world)
        requests = draw_requests(rng, world, ORDERS_PER_WORLD)
        orders = np.zeros((ORDERS_PER_WORLD, 3), np.int64)
        orders[:, 0] = rng.choice([0, m.REJECT_SESSION, m.REJECT_BLACKOUT], ORDERS_PER_WORLD, p=[0.98, 0.01, 0.01])
        orders[:, 1], orders[:, 2] = rng.integers(0, STRATEGIES, ORDERS_PER_WORLD), requests["instrument"]
        known = {place: check_twin.sums_of(world, *place) for place in np.ndindex(STRATEGIES, INSTRUMENTS)}
        for k, found in enumerate(verdicts(tables.fill(world), orders, requests)):
            seen[found[0]] = seen.get(found[0], 0) + 1
            if k % TWIN_EVERY:
                continue
            calendar, strategy, instrument = orders[k].tolist()
            expected = check_twin.check_order(
                world, calendar, strategy, instrument, requests[k : k + 1], known[strategy, instrument]
            )
            assert agree(found, expected), (world, orders[k], requests[k])
    assert REASONS | {m.REASON_NONE} == set(seen)
    assert sum(seen.values()) == WORLD_COUNT * ORDERS_PER_WORLD


@given(seed=st.integers(0, 2**32), price=st.integers(1, 250), lots=st.integers(1, 60), strategy=st.integers(0, STRATEGIES - 1))
def test_order_of_any_size_in_any_account_agrees_with_the_twin(
    tables: Tables, seed: int, price: int, lots: int, strategy: int
) -> None:
    """Whatever the account, limit orders of any price and size and market orders are judged as the twin judges them."""
    rng = np.random.default_rng(seed)
    world = draw_world(rng)
    draw_limits(rng, world)
    guard, instrument = tables.fill(world), seed % INSTRUMENTS
    for side in (m.BUY, m.SELL):
        for request in (order(side, lots), order(side, lots, price)):
            expected = check_twin.check_order(world, 0, strategy, instrument, request)
            assert agree(verdict(guard, request, strategy, instrument), expected)


@pytest.mark.parametrize("scale", [1 << 40, 1 << 50, 1 << 60])
@pytest.mark.parametrize("side", [m.BUY, m.SELL])
def test_amounts_beyond_all_bounds_are_refused_and_never_wrap(tables: Tables, scale: int, side: int) -> None:
    """Lots, prices and values whose product is past any word are refused without a limit, as exact integers say."""
    for lots in (1, 1 << 20, m.QUANTITY_LOTS_LIMIT - 1):
        for price in (1, 1 << 20, m.PRICE_TICKS_LIMIT - 1):
            world = World(value_units=[scale, 1, 1], lot_units=[scale >> 20, 1, 1], balance=AMOUNT_MAX - 1)
            world.markets[0] = Market(price, price, price)
            world.holdings = {(1, 0): Holding(lots, min(lots * price, 1 << 61), entry=price), (0, 1): Holding(-5, -500, 7, 7)}
            request = order(side, lots)
            expected = check_twin.check_order(world, 0, 0, 0, request)
            assert agree(verdict(tables.fill(world), request), expected)
            assert (lots * price * scale >= AMOUNT_MAX) <= (expected[0] != m.REASON_NONE)


def test_amount_of_exactly_the_bound_is_refused_and_one_less_passes(tables: Tables) -> None:
    """2**61 - 1 units may be ordered where nothing is limited, 2**61 units may not."""
    world = World(balance=1)
    world.markets[0] = Market(1, 1, 1)
    for units, reason in ((AMOUNT_MAX - 1, m.REASON_NONE), (AMOUNT_MAX, m.REJECT_NOTIONAL)):
        world.value_units[0] = units
        found = verdict(tables.fill(world), order(m.BUY, 1))
        assert check_twin.check_order(world, 0, 0, 0, order(m.BUY, 1)) == found
        assert reason == found[0]


def test_limit_beyond_the_bound_counts_as_the_bound(tables: Tables) -> None:
    """A limit of 2**62 units lets no more through than none, and what is found names what does hold."""
    world = World(balance=1, value_units=[AMOUNT_MAX, 1, 1])
    world.markets[0] = Market(1, 1, 1)
    world.limits[0]["max_order_notional"] = 1 << 62
    expected = (m.REJECT_NOTIONAL, AMOUNT_MAX, AMOUNT_MAX - 1, 0, "max_order_notional")
    assert expected == verdict(tables.fill(world), order(m.BUY, 1))


def test_market_known_only_by_an_entry_values_what_is_held(tables: Tables) -> None:
    """A position whose market has not been seen yet counts at its entry, for the exposure of the others."""
    world = World()
    world.markets[1] = Market()
    world.holdings = {(0, 1): Holding(10, 1_000, entry=100)}
    scope = scopes_of(0, 0)[0]
    for limit, reason in ((1_101_000, m.REASON_NONE), (1_100_999, m.REJECT_GROSS_EXPOSURE)):
        world.limits[scope]["max_gross_exposure"] = limit
        assert reason == verdict(tables.fill(world), order(m.BUY, 1))[0]
