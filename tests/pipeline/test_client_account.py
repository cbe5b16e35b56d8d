"""The account as a strategy sees it: every number follows from the rows, and they add up."""

from decimal import Decimal

import pytest

from pipeline.client import Client
from pipeline.messages import BY_DAILY_LOSS, HALTED, REDUCING
from pipeline.risk.limits import NOT_SET, free_limits, write_limits
from pipeline.tables import (
    LIMITS,
    POSITION,
    SCOPE_DAY_PNL,
    SCOPE_PEAK,
    SCOPE_REASON,
    SCOPE_SINCE_NS,
    SCOPE_STATE,
    SCOPE_WORDS,
)
from pipeline.topology import ACCOUNT, scope_of_instrument
from tests.pipeline.client_instance import AAPL, BTCUSDT, MONEY, SIZES, put_row, running

pytestmark = pytest.mark.jitless


@pytest.fixture
def instance(instance_name):
    """Return an instance in which strategy 0 holds both instruments, and strategy 1 sold AAPL at a loss."""
    with running(instance_name) as instance:
        write_limits(instance.segment, free_limits(SIZES.scope_count))
        hold(instance, 0, AAPL, quantity_lots=100, cost_tick_lots=100 * 9_900, fee_units=250_000)
        hold(instance, 0, BTCUSDT, quantity_lots=-5, cost_tick_lots=-5 * 900_100, realised_tick_lots=-300)
        hold(instance, 1, AAPL, quantity_lots=0, realised_tick_lots=-1_234, working_buy_lots=10)
        yield instance


def hold(instance, strategy: int, instrument: int, **fields: int) -> None:
    """Write one position."""
    row = strategy * SIZES.instruments + instrument
    put_row(instance, "positions", POSITION, row, strategy=strategy, instrument=instrument, fill_count=1, **fields)


def words(instance, scope: int, **values: int) -> None:
    """Set words of a scope."""
    places = {"state": SCOPE_STATE, "reason": SCOPE_REASON, "since": SCOPE_SINCE_NS, "peak": SCOPE_PEAK, "day": SCOPE_DAY_PNL}
    for name, value in values.items():
        instance.segment.array("scopes")[scope * SCOPE_WORDS + places[name]] = value


def test_account_adds_up_from_its_positions(instance, instance_name):
    """Realised, fees and unrealised of two currencies are one sum, and equity is the balance with it."""
    with Client(instance_name, 0) as client:
        account = client.account()
    # 100 x (100.00 - 99.00); -5 lots of 0.001 at an ask of 90001.00 sold at 90010.00; 1,234 cents and 300 x 0.0001 lost.
    assert (Decimal("100.045"), Decimal("-12.37"), Decimal("0.25")) == (account.unrealised, account.realised, account.fees)
    assert account.realised - account.fees + account.unrealised == account.pnl
    assert (Decimal(1_000_000), Decimal(1_000_000) + account.pnl) == (account.balance, account.equity)
    assert ("USD", "account", 2, "active", "none") == (
        account.currency, account.scope, account.open_positions, account.trading_state, account.state_reason,
    )  # fmt: skip
    # What works counts at its worst: 110 AAPL at 100.02, and 0.005 BTC at 90001.00.
    assert Decimal("100.02") * 110 + Decimal("0.005") * 90_001 == account.gross_exposure
    assert Decimal("100.02") * 110 - Decimal("0.005") * 90_001 == account.net_exposure
    assert account.buying_power is None


def test_account_is_the_sum_of_its_strategies(instance, instance_name):
    """Each strategy has its own share, and together they are the account's."""
    with Client(instance_name, 0) as first, Client(instance_name, 1) as second, Client(instance_name, 2) as third:
        shares = [client.performance() for client in (first, second, third)]
        account = first.account()
    assert ["strategy 0", "strategy 1", "strategy 2"] == [share.scope for share in shares]
    for name in ("realised", "fees", "unrealised", "pnl", "gross_exposure"):
        assert getattr(account, name) == sum(getattr(share, name) for share in shares)
    assert (Decimal(0), 0) == (shares[2].pnl, shares[2].open_positions)


def test_account_tells_peak_day_and_trading_state(instance, instance_name):
    """Drawdown counts from the highest P&L, the day from its start, and a breaker's state has its reason."""
    words(instance, ACCOUNT, state=REDUCING, reason=BY_DAILY_LOSS, since=7, peak=MONEY.units(Decimal(500)), day=1_000_000)
    words(instance, 2, state=HALTED)
    with Client(instance_name, 1) as client:
        account, own = client.account(), client.performance()
    assert (Decimal(500), Decimal(500) - account.pnl, Decimal(1_000_500)) == (
        account.peak_pnl, account.drawdown, account.peak_equity,
    )  # fmt: skip
    assert account.pnl - 1 == account.daily_pnl
    assert ("reducing", "daily_loss", 7, "halted") == (
        account.trading_state, account.state_reason, account.state_since_ns, own.trading_state,
    )  # fmt: skip


@pytest.mark.parametrize(("leverage", "expected"), [(0, 0), (10_000, 0), (20_000, 1), (2_000_000, 1)])
def test_account_buying_power_is_what_leverage_leaves(instance, instance_name, leverage, expected):
    """Equity times leverage less what is exposed already, never below zero."""
    put_row(instance, "limits", LIMITS, ACCOUNT, max_leverage=leverage)
    with Client(instance_name, 0) as client:
        account = client.account()
    left = account.equity * Decimal(leverage) / 1_000_000 - account.gross_exposure
    assert bool(expected) == (account.buying_power > 0)
    assert abs(max(Decimal(0), left) - account.buying_power) < Decimal("0.00001")


def test_limits_of_a_strategy_are_told_in_words(instance, instance_name):
    """The account's come first, then its own, then the instrument's; what is not set says that it blocks."""
    put_row(instance, "limits", LIMITS, ACCOUNT, max_daily_loss=MONEY.units(Decimal(2_500)))
    put_row(instance, "limits", LIMITS, 1, max_orders_per_second=50, max_drawdown=NOT_SET)
    put_row(instance, "limits", LIMITS, scope_of_instrument(SIZES, AAPL), price_collar_percent=50_000)
    with Client(instance_name, 0) as client:
        limits = {(limit.scope, limit.name): limit for limit in client.limits("AAPL")}
        assert {"account", "strategy 0"} == {limit.scope for limit in client.limits()}
    loss = limits["account", "max_daily_loss"]
    assert (Decimal(2500), "2,500.00 USD", "daily loss", True, False) == (
        loss.value, loss.text, loss.title, loss.is_set, loss.is_unlimited,
    )  # fmt: skip
    assert "50/s" == limits["strategy 0", "max_orders_per_second"].text
    missing = limits["strategy 0", "max_drawdown"]
    assert (None, "not set", False) == (missing.value, missing.text, missing.is_set)
    assert (Decimal(5), "5 %") == (limits["AAPL", "price_collar_percent"].value, limits["AAPL", "price_collar_percent"].text)
    assert limits["AAPL", "max_position_notional"].is_unlimited
