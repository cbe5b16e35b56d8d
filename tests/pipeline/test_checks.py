"""Each pre-trade check at its limit, one under and one over, for each scope; what is found; what a reducing order may do."""

from __future__ import annotations

import pytest

from pipeline import messages as m
from pipeline import tables as t
from pipeline.risk import limits as limit_ids
from pipeline.risk.limits import NOT_SET
from tests.check_driver import verdict
from tests.check_twin import FINE
from tests.check_twin import check_order as twin_order
from tests.check_world import NOW_NS, SECOND, Holding, Market, Tables, World, order, scopes_of

pytestmark = pytest.mark.jitless

SCOPES = scopes_of(0, 0)
EACH_SCOPE = pytest.mark.parametrize("k", range(3), ids=["account", "strategy", "instrument"])

#: A limit, what an order to buy 5 lots in `busy_world` comes to for account, strategy and instrument, and the reason.
#: All worked out by hand.
EDGES = [
    ("max_order_quantity", (50, 50, 50), m.REJECT_QUANTITY),
    ("max_order_notional", (505_000, 505_000, 505_000), m.REJECT_NOTIONAL),
    # It buys at 101 where the last was 100.
    ("price_collar_percent", (10_000, 10_000, 10_000), m.REJECT_PRICE_COLLAR),
    # Its strategy: 10 held, 2 and 5 working. The other one is 4 short.
    ("max_position_quantity", (210, 170, 210), m.REJECT_POSITION_LIMIT),
    ("max_position_notional", (2_121_000, 1_717_000, 2_121_000), m.REJECT_POSITION_LIMIT),
    ("max_open_positions", (4, 2, 2), m.REJECT_OPEN_POSITIONS),
    # Of an equity of 10,000,000.
    ("max_concentration_percent", (212_100, 171_700, 212_100), m.REJECT_CONCENTRATION),
    # 12 + 4 + 3 + 5 lots are held or working, and 5 come to that.
    ("max_gross_exposure", (2_929_000, 2_020_000, 2_121_000), m.REJECT_GROSS_EXPOSURE),
    # Should all that buys fill: 12 - 4 + 0 + 5 + 5.
    ("max_net_exposure", (1_818_000, 1_717_000, 1_313_000), m.REJECT_NET_EXPOSURE),
    ("max_leverage", (292_900, 202_000, 212_100), m.REJECT_BUYING_POWER),
    # P&L is -19,000 in all, -10,000 of the strategy, -14,000 of the instrument.
    ("max_daily_loss", (20_000, 11_000, 15_000), m.REJECT_DAILY_LOSS),
    ("max_weekly_loss", (21_000, 12_000, 16_000), m.REJECT_WEEKLY_LOSS),
    ("max_drawdown", (22_000, 13_000, 17_000), m.REJECT_DRAWDOWN),
    # An ATR of 50.5 ticks, at a price of 101.
    ("max_volatility_percent", (500_000, 500_000, 500_000), m.REJECT_VOLATILITY),
    ("max_executions", (7, 5, 3), m.REJECT_EXECUTIONS),
]
#: Checks that a reducing order is not excused from.
FOR_ALL = {"max_order_quantity", "max_order_notional", "price_collar_percent"}


def busy_world() -> World:
    """Return an account in which both strategies hold, work and have lost something, and nothing is limited."""
    world = World(lot_units=[10, 10, 10], balance=10_019_000)
    world.holdings = {
        (0, 0): Holding(quantity=10, cost=1_000, entry=100, working_buy=2),
        (1, 0): Holding(quantity=-4, cost=-400, entry=100),
        (0, 1): Holding(working_sell=3),
        (1, 2): Holding(quantity=5, cost=500, entry=100),
    }
    world.markets[0] = Market(99, 101, 100, atr=101.0, bar_count=14)
    for k, scope in enumerate(SCOPES):
        world.scopes[scope] = {
            t.SCOPE_DAY_PNL: 1_000, t.SCOPE_WEEK_PNL: 2_000, t.SCOPE_PEAK: 3_000, t.SCOPE_EXECUTIONS: (6, 4, 2)[k],
        }  # fmt: skip
    return world


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Return tables to fill."""
    return Tables()


def check(tables: Tables, world: World, side: int = m.BUY, lots: int = 5, price: int = 0, calendar: int = 0) -> tuple:
    """Return what check and twin both say of an order of strategy 0 in instrument 0."""
    request = order(side, lots, price)
    found = verdict(tables.fill(world), request, calendar=calendar)
    assert twin_order(world, calendar, 0, 0, request) == found
    return found


def test_ids_of_limits_are_places_of_their_fields() -> None:
    """The ids bear the names of the fields, and stand at their places."""
    assert list(range(len(t.LIMIT_NAMES))) == [getattr(limit_ids, name.upper()) for name in t.LIMIT_NAMES]


@EACH_SCOPE
@pytest.mark.parametrize(("name", "values", "reason"), EDGES, ids=[edge[0] for edge in EDGES])
def test_upper_limit_passed_by_one_refuses(tables: Tables, name: str, values: tuple, reason: int, k: int) -> None:
    """An order may come to one under its limit and to the limit, and is refused one over it with all that is to be said."""
    world, value, scope = busy_world(), values[k], SCOPES[k]
    for limit, expected in ((value + 1, FINE), (value, FINE), (value - 1, (reason, value, value - 1, scope, name))):
        world.limits[scope][name] = limit
        assert expected == check(tables, world)


@EACH_SCOPE
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("min_order_quantity", 50, m.REJECT_MIN_QUANTITY), ("min_order_notional", 505_000, m.REJECT_MIN_NOTIONAL)],
)
def test_lower_limit_missed_by_one_refuses(tables: Tables, name: str, value: int, reason: int, k: int) -> None:
    """An order may come to one over its lower limit and to the limit, and is refused one under it."""
    world, scope = busy_world(), SCOPES[k]
    for limit, expected in ((value - 1, FINE), (value, FINE), (value + 1, (reason, value, value + 1, scope, name))):
        world.limits[scope][name] = limit
        assert expected == check(tables, world)


@EACH_SCOPE
@pytest.mark.parametrize("name", t.LIMIT_NAMES)
def test_limit_not_set_blocks_every_order(tables: Tables, name: str, k: int) -> None:
    """A limit that nobody set blocks orders of its scope, reducing ones too, and says which it is."""
    world = busy_world()
    world.limits[SCOPES[k]][name] = NOT_SET
    assert (m.REJECT_NO_LIMIT, 0, NOT_SET, SCOPES[k], name) == check(tables, world)
    assert (m.REJECT_NO_LIMIT, 0, NOT_SET, SCOPES[k], name) == check(tables, world, m.SELL, 1)


@pytest.mark.parametrize("name", t.LIMIT_NAMES)
def test_limit_of_another_scope_is_not_looked_at(tables: Tables, name: str) -> None:
    """What the other strategy and the other instruments lack is nothing to this order."""
    world = busy_world()
    for scope in range(len(world.limits)):
        if scope not in SCOPES:
            world.limits[scope][name] = NOT_SET
    assert FINE == check(tables, world)


@pytest.mark.parametrize(("name", "values", "reason"), EDGES, ids=[edge[0] for edge in EDGES])
def test_first_scope_beyond_its_limit_is_named(tables: Tables, name: str, values: tuple, reason: int) -> None:
    """Where all three scopes refuse the account is named, then the strategy, then the instrument."""
    world = busy_world()
    for scope in SCOPES:
        world.limits[scope][name] = 0
    for value, scope in zip(values, SCOPES, strict=True):
        assert (reason, value, 0, scope, name) == check(tables, world)
        world.limits[scope][name] = limit_ids.UNLIMITED


@pytest.mark.parametrize(("name", "values", "reason"), EDGES, ids=[edge[0] for edge in EDGES])
def test_reducing_order_is_excused_from_exposure_and_losses(tables: Tables, name: str, values: tuple, reason: int) -> None:
    """Selling what is held passes where new risk may not, but never in a size or at a price that no order may have."""
    world = busy_world()
    # The last trade lies above the bid, so that a sale falls short of it.
    world.markets[0].last = 100
    for scope in SCOPES:
        world.limits[scope][name] = 0
    assert (reason if name in FOR_ALL else m.REASON_NONE) == check(tables, world, m.SELL, 10)[0]
    assert reason == check(tables, world, m.SELL, 11)[0]


@pytest.mark.parametrize("name", ["min_order_quantity", "min_order_notional"])
def test_reducing_order_is_excused_from_least_sizes(tables: Tables, name: str) -> None:
    """The rest of a position may always be sold."""
    world = busy_world()
    world.limits[0][name] = 10**9
    assert FINE == check(tables, world, m.SELL, 1)
    assert m.REASON_NONE != check(tables, world, m.BUY, 1)[0]


@pytest.mark.parametrize("sign", [1, -1], ids=["long", "short"])
def test_order_reduces_up_to_what_no_other_order_takes(tables: Tables, sign: int) -> None:
    """Of ten lots of which three are on their way out seven may be left, eight would flip."""
    world = busy_world()
    world.holdings[0, 0] = Holding(sign * 10, sign * 1_000, 3 * (sign < 0), 3 * (sign > 0), entry=100)
    world.scopes[0][t.SCOPE_STATE] = m.REDUCING
    assert FINE == check(tables, world, -sign, 7)
    for side, lots in ((-sign, 8), (sign, 1)):
        assert (m.REJECT_REDUCING, m.REDUCING, 0, 0, "") == check(tables, world, side, lots)
    world.holdings[0, 0] = Holding()
    assert m.REJECT_REDUCING == check(tables, world, -sign, 1)[0]


@EACH_SCOPE
@pytest.mark.parametrize(
    ("state", "reason", "for_all"),
    [
        (m.REDUCING, m.REJECT_REDUCING, False),
        (m.HALTED, m.REJECT_HALTED, True),
        (m.KILLED, m.REJECT_KILLED, True),
    ],
)
def test_state_of_a_scope_refuses(tables: Tables, state: int, reason: int, for_all: bool, k: int) -> None:
    """Each scope's state refuses what opens or adds, and from HALTED on what reduces as well."""
    world = busy_world()
    world.scopes[SCOPES[k]][t.SCOPE_STATE] = state
    refused = (reason, state, 0, SCOPES[k], "")
    assert refused == check(tables, world)
    assert (refused if for_all else FINE) == check(tables, world, m.SELL, 1)


def test_strictest_state_of_all_scopes_counts(tables: Tables) -> None:
    """An account that is REDUCING, with an instrument that is HALTED and a strategy that is KILLED, is refused as killed."""
    world = busy_world()
    for scope, state in zip(SCOPES, (m.REDUCING, m.KILLED, m.HALTED), strict=True):
        world.scopes[scope][t.SCOPE_STATE] = state
    assert (m.REJECT_KILLED, m.KILLED, 0, SCOPES[1], "") == check(tables, world)
    world.scopes[SCOPES[1]][t.SCOPE_STATE] = m.ACTIVE
    assert (m.REJECT_HALTED, m.HALTED, 0, SCOPES[2], "") == check(tables, world)


@EACH_SCOPE
def test_scope_being_left_takes_no_new_risk(tables: Tables, k: int) -> None:
    """While its positions are left nothing new is risked, and what reduces may go."""
    world = busy_world()
    world.scopes[SCOPES[k]][t.SCOPE_FLATTENS] = 1
    assert (m.REJECT_FLATTENING, 0, 0, SCOPES[k], "") == check(tables, world)
    assert FINE == check(tables, world, m.SELL, 1)


def test_restricted_instrument_and_closed_calendar_refuse_all(tables: Tables) -> None:
    """A restriction comes first, then what the calendar says, for reducing orders too."""
    world = busy_world()
    for side in (m.BUY, m.SELL):
        assert m.REJECT_SESSION == check(tables, world, side, 1, calendar=m.REJECT_SESSION)[0]
        assert m.REJECT_BLACKOUT == check(tables, world, side, 1, calendar=m.REJECT_BLACKOUT)[0]
    world.scopes[SCOPES[2]][t.SCOPE_RESTRICTED] = 1
    for side in (m.BUY, m.SELL):
        assert (m.REJECT_RESTRICTED, 1, 0, SCOPES[2], "") == check(tables, world, side, 1, calendar=m.REJECT_SESSION)


def test_market_one_ns_too_old_is_stale(tables: Tables) -> None:
    """The younger of quote and trade may be as old as the stale age, and no older, except for a reducing order."""
    world = busy_world()
    world.markets[0].quote_ns, world.markets[0].trade_ns = NOW_NS - 20 * SECOND, NOW_NS - 10 * SECOND
    assert FINE == check(tables, world)
    world.markets[0].trade_ns -= 1
    assert (m.REJECT_STALE, 10 * SECOND + 1, 10 * SECOND, SCOPES[2], "") == check(tables, world)
    assert FINE == check(tables, world, m.SELL, 1)


@EACH_SCOPE
@pytest.mark.parametrize(("price", "lots"), [(0, 5), (101, 5), (0, -5)], ids=["market", "limit", "sell"])
def test_same_order_within_its_window_refuses(tables: Tables, price: int, lots: int, k: int) -> None:
    """The same side, lots and limit again are refused until the window has passed, and any other order is not."""
    world = busy_world()
    side, size = (m.BUY, lots) if lots > 0 else (m.SELL, -lots)
    world.holding(0, 0).last_order_lots, world.holding(0, 0).last_order_ticks = lots, price
    world.limits[SCOPES[k]]["duplicate_window_ms"] = 1_000
    for age_ns, refused in ((999, True), (1_000, False), (1_001, False)):
        world.holding(0, 0).last_order_ns = NOW_NS - age_ns
        expected = (m.REJECT_SAME_ORDER, age_ns, 1_000, SCOPES[k], "duplicate_window_ms") if refused else FINE
        assert expected == check(tables, world, side, size, price)
    world.holding(0, 0).last_order_ns = NOW_NS
    assert FINE == check(tables, world, side, size + 1, price)
    assert FINE == check(tables, world, side, size, 100)
    assert FINE == check(tables, world, -side, 1, price)


@EACH_SCOPE
def test_token_bucket_refuses_beyond_what_is_not_reserved(tables: Tables, k: int) -> None:
    """Ten a second, ten at once, a fifth kept for exits: the eighth of a moment leaves, the ninth does not."""
    world = busy_world()
    world.limits[SCOPES[k]]["max_orders_per_second"] = 10
    refused = (m.REJECT_ORDER_RATE, 11, 10, SCOPES[k], "max_orders_per_second")
    for sent, ahead_ns, expected in ((7, 0, FINE), (7, 1, refused), (8, 0, refused), (8, -100_000_000, FINE), (0, 0, FINE)):
        world.scopes[SCOPES[k]][t.SCOPE_RATE_NS] = NOW_NS + sent * SECOND // 10 + ahead_ns
        assert expected == check(tables, world)
        assert expected == check(tables, world, m.SELL, 1)
    world.limits[SCOPES[k]]["max_orders_per_second"] = 0
    world.scopes[SCOPES[k]][t.SCOPE_RATE_NS] = 0
    assert (m.REJECT_ORDER_RATE, 1, 0, SCOPES[k], "max_orders_per_second") == check(tables, world)


@EACH_SCOPE
@pytest.mark.parametrize(
    ("name", "reason", "why"),
    [
        ("max_daily_loss", m.REJECT_DAILY_LOSS, m.BY_DAILY_LOSS),
        ("max_weekly_loss", m.REJECT_WEEKLY_LOSS, m.BY_WEEKLY_LOSS),
        ("max_drawdown", m.REJECT_DRAWDOWN, m.BY_DRAWDOWN),
    ],
)
def test_loss_that_a_person_let_pass_refuses_no_more(tables: Tables, name: str, reason: int, why: int, k: int) -> None:
    """Of the scope, and of that loss alone."""
    world = busy_world()
    world.limits[SCOPES[k]][name] = 0
    world.scopes[SCOPES[k]][t.SCOPE_FORGIVEN] = ~(1 << why) & 0xFFFF
    assert reason == check(tables, world)[0]
    world.scopes[SCOPES[k]][t.SCOPE_FORGIVEN] = 1 << why
    assert FINE == check(tables, world)
