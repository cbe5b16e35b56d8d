"""Metrics of the account: equity, P&L, exposure, limits, trading states and working orders, by strategy where that says more.

Amounts are doubles in the account's currency; the exact ones are in the database. `scope` is `account`, a strategy's slot as
other metrics name it, or a symbol.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipeline.account_view import AccountState, ScopeState, limit_number
from pipeline.messages import ACTIVE, TRADING_STATES
from pipeline.money import Money
from pipeline.sidecar.view import InstanceView
from pipeline.table_rows import committed_rows
from pipeline.tables import LIMIT_NAMES

#: What the account and each strategy have: end of the metric's name, what it is, and its amount in money units.
AMOUNTS: tuple[tuple[str, str, Callable[[ScopeState], int]], ...] = (
    ("realised_pnl", "Realised P&L since the instance was made, fees not taken off", lambda scope: scope.totals.realised),
    ("unrealised_pnl", "P&L of what is open, if it were left at the touch", lambda scope: scope.totals.unrealised),
    ("fees", "Fees paid since the instance was made", lambda scope: scope.totals.fees),
    ("daily_pnl", "P&L of this trading day", lambda scope: scope.day_pnl),
    ("gross_exposure", "Exposure, working orders counted at their worst", lambda scope: scope.totals.gross),
    ("net_exposure", "Long against short, working orders counted at their worst", lambda scope: scope.totals.net),
    ("drawdown", "How far the P&L is below its peak", lambda scope: scope.drawdown),
)


def account_metrics(view: InstanceView) -> Iterator[Metric]:
    """Yield everything about the account, from one look at it."""
    state = view.account.read()
    money = state.money
    for name, text, amount in (
        ("balance", "What was in the account before the first trade.", money.balance_units),
        ("equity", "The balance, with what was won and lost since.", state.equity),
        ("peak_equity", "The highest equity seen.", state.peak_equity),
    ):
        yield _family(f"account_{name}", text, [("", amount)], money)
    if state.buying_power is not None:
        text = "How much more exposure the leverage allows; absent where it is unlimited."
        yield _family("account_buying_power", text, [("", state.buying_power)], money)
    for name, text, of in AMOUNTS:
        yield _family(f"account_{name}", f"{text}, of the account.", [("", of(state.account))], money)
    used = [(name, scope) for name, scope in zip(view.strategies, state.strategies, strict=True) if _is_used(scope)]
    for name, text, of in AMOUNTS:
        yield _family(f"strategy_{name}", f"{text}, by strategy.", [(label, of(scope)) for label, scope in used], money)
    yield from _states(view, state)
    yield _limits(view, state)
    yield CounterMetricFamily(
        "stopline_breaker_trips", "Times that the circuit breaker tightened a trading state.",
        value=view.count("risk", "breaker_trips"),
    )  # fmt: skip
    yield _working_orders(view)


def _family(name: str, text: str, amounts: Iterable[tuple[str, int]], money: Money) -> Metric:
    """Return a gauge of money: by strategy, or one number where the strategy is ""."""
    pairs = list(amounts)
    is_single = [strategy for strategy, _ in pairs] == [""]
    family = GaugeMetricFamily(f"stopline_{name}", text, labels=["currency"] if is_single else ["strategy", "currency"])
    for strategy, units in pairs:
        family.add_metric([money.currency] if is_single else [strategy, money.currency], float(money.decimal(units)))
    return family


def _is_used(scope: ScopeState) -> bool:
    """Whether a strategy's slot ever traded, or is not as it was made."""
    return any(scope.totals) or scope.state != ACTIVE


def _states(view: InstanceView, state: AccountState) -> Iterator[Metric]:
    """Yield the trading states: of the account and the strategies always, of an instrument while it is not ACTIVE."""
    family = GaugeMetricFamily(
        "stopline_trading_state", "1 for the trading state that the scope is in.", labels=["scope", "state"]
    )
    shown = [("account", state.account), *zip(view.strategies, state.strategies, strict=True)]
    shown += [(scope.name, scope) for scope in state.instruments if scope.state != ACTIVE]
    for label, scope in shown:
        for code, name in enumerate(TRADING_STATES):
            family.add_metric([label, name], int(scope.state == code))
    yield family
    restricted = GaugeMetricFamily("stopline_restricted", "1 while no order may open or add.", labels=["symbol"])
    for scope in state.instruments:
        if scope.is_restricted:
            restricted.add_metric([scope.name], 1)
    yield restricted


def _limits(view: InstanceView, state: AccountState) -> Metric:
    """Return the limits of the account and of each strategy, as config.toml writes them: +Inf = unlimited, NaN = not set."""
    family = GaugeMetricFamily(
        "stopline_limit", "A limit as config.toml writes it; +Inf is unlimited, NaN is not set and blocks.",
        labels=["scope", "limit"],
    )  # fmt: skip
    for label, scope in (("account", state.account), *zip(view.strategies, state.strategies, strict=True)):
        for name in LIMIT_NAMES:
            family.add_metric([label, name], limit_number(name, int(scope.limits[name]), state.money))
    return family


def _working_orders(view: InstanceView) -> Metric:
    """Return how many orders of each strategy were sent and have not ended."""
    family = GaugeMetricFamily("stopline_working_orders", "Orders that were sent and have not ended.", labels=["strategy"])
    sent = committed_rows(view.sent)
    owners = sent["position"][sent["order_id"] != 0] // len(view.instruments)
    counted = np.bincount(owners, minlength=len(view.strategies)) if len(owners) else np.zeros(len(view.strategies), np.int64)
    for name, count in zip(view.strategies, counted.tolist(), strict=False):
        family.add_metric([name], count)
    return family
