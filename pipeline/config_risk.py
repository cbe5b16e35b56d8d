"""[risk] without its stops: the limits of the account, of strategies and of instruments, and the circuit breaker.

A limit is kept as the text that was written, and read by pipeline.limit_values, whose rules hold here as well. It has no
default on purpose: one that is missing would block every order, so the file is refused instead.
"""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import UNSET, UnsetType

from pipeline.config_rules import Check, Number, Section, Written
from pipeline.config_values import PercentOrNone, Symbol, Symbols, nanoseconds, parts_per_million
from pipeline.limit_values import LIMIT_FORMS, QUOTED_FORMS, limit_expected, limit_fault


def _rule(name: str) -> Written:
    """Return the rule of one limit in the file."""
    return Written(
        limit_expected(name, in_file=True), lambda text: limit_fault(name, text), LIMIT_FORMS[name].form not in QUOTED_FORMS
    )


MinOrderQuantity = Annotated[str, _rule("min_order_quantity")]
OrderQuantity = Annotated[str, _rule("max_order_quantity")]
MinOrderNotional = Annotated[str, _rule("min_order_notional")]
OrderNotional = Annotated[str, _rule("max_order_notional")]
PriceCollar = Annotated[str, _rule("price_collar_percent")]
PositionQuantity = Annotated[str, _rule("max_position_quantity")]
PositionNotional = Annotated[str, _rule("max_position_notional")]
OpenPositions = Annotated[str, _rule("max_open_positions")]
Concentration = Annotated[str, _rule("max_concentration_percent")]
GrossExposure = Annotated[str, _rule("max_gross_exposure")]
NetExposure = Annotated[str, _rule("max_net_exposure")]
Leverage = Annotated[str, _rule("max_leverage")]
DailyLoss = Annotated[str, _rule("max_daily_loss")]
WeeklyLoss = Annotated[str, _rule("max_weekly_loss")]
Drawdown = Annotated[str, _rule("max_drawdown")]
ConsecutiveLosses = Annotated[str, _rule("max_consecutive_losses")]
TradesPerDay = Annotated[str, _rule("max_trades_per_day")]
RejectRate = Annotated[str, _rule("max_reject_percent")]
OrdersPerSecond = Annotated[str, _rule("max_orders_per_second")]
DuplicateWindow = Annotated[str, _rule("duplicate_window_ms")]
Executions = Annotated[str, _rule("max_executions")]
Volatility = Annotated[str, _rule("max_volatility_percent")]

# What these texts say is read by pipeline.sessions (pipeline.config_risk_checks).
SessionText = Annotated[str, Check('"always", or hours such as "Mon-Fri 09:30-16:00 America/New_York"', str.strip)]
Blackouts = Annotated[
    tuple[str, ...],
    Check('a list such as ["2026-12-24T18:00:00Z/2026-12-26T00:00:00Z"]', lambda texts: all(text.strip() for text in texts)),
]


class LimitsSection(Section, frozen=True, kw_only=True):
    """Every limit of a scope, in the order of tables.LIMITS."""

    min_order_quantity: MinOrderQuantity
    max_order_quantity: OrderQuantity
    min_order_notional: MinOrderNotional
    max_order_notional: OrderNotional
    price_collar_percent: PriceCollar
    max_position_quantity: PositionQuantity
    max_position_notional: PositionNotional
    max_open_positions: OpenPositions
    max_concentration_percent: Concentration
    max_gross_exposure: GrossExposure
    max_net_exposure: NetExposure
    max_leverage: Leverage
    max_daily_loss: DailyLoss
    max_weekly_loss: WeeklyLoss
    max_drawdown: Drawdown
    max_consecutive_losses: ConsecutiveLosses
    max_trades_per_day: TradesPerDay
    max_reject_percent: RejectRate
    max_orders_per_second: OrdersPerSecond
    duplicate_window_ms: DuplicateWindow
    max_executions: Executions
    max_volatility_percent: Volatility


class StrategyLimitsSection(Section, frozen=True, kw_only=True):
    """One [[risk.strategies]]: limits of one slot instead of those of [risk.strategy]."""

    slot: Annotated[int, Number("0", "7", "as strategies are counted, from 0")]
    min_order_quantity: MinOrderQuantity | UnsetType = UNSET
    max_order_quantity: OrderQuantity | UnsetType = UNSET
    min_order_notional: MinOrderNotional | UnsetType = UNSET
    max_order_notional: OrderNotional | UnsetType = UNSET
    price_collar_percent: PriceCollar | UnsetType = UNSET
    max_position_quantity: PositionQuantity | UnsetType = UNSET
    max_position_notional: PositionNotional | UnsetType = UNSET
    max_open_positions: OpenPositions | UnsetType = UNSET
    max_concentration_percent: Concentration | UnsetType = UNSET
    max_gross_exposure: GrossExposure | UnsetType = UNSET
    max_net_exposure: NetExposure | UnsetType = UNSET
    max_leverage: Leverage | UnsetType = UNSET
    max_daily_loss: DailyLoss | UnsetType = UNSET
    max_weekly_loss: WeeklyLoss | UnsetType = UNSET
    max_drawdown: Drawdown | UnsetType = UNSET
    max_consecutive_losses: ConsecutiveLosses | UnsetType = UNSET
    max_trades_per_day: TradesPerDay | UnsetType = UNSET
    max_reject_percent: RejectRate | UnsetType = UNSET
    max_orders_per_second: OrdersPerSecond | UnsetType = UNSET
    duplicate_window_ms: DuplicateWindow | UnsetType = UNSET
    max_executions: Executions | UnsetType = UNSET
    max_volatility_percent: Volatility | UnsetType = UNSET


class InstrumentLimitsSection(Section, frozen=True, kw_only=True):
    """One [[risk.instruments]]: limits of one instrument beside those of the account and its strategy."""

    symbol: Symbol
    restricted: bool = False
    session: SessionText | UnsetType = UNSET
    min_order_quantity: MinOrderQuantity | UnsetType = UNSET
    max_order_quantity: OrderQuantity | UnsetType = UNSET
    min_order_notional: MinOrderNotional | UnsetType = UNSET
    max_order_notional: OrderNotional | UnsetType = UNSET
    price_collar_percent: PriceCollar | UnsetType = UNSET
    max_position_quantity: PositionQuantity | UnsetType = UNSET
    max_position_notional: PositionNotional | UnsetType = UNSET
    max_gross_exposure: GrossExposure | UnsetType = UNSET
    max_net_exposure: NetExposure | UnsetType = UNSET
    max_volatility_percent: Volatility | UnsetType = UNSET


class BreakerSection(Section, frozen=True, kw_only=True):
    """[risk.breaker]"""

    state: Literal["reducing", "halted"] = "reducing"
    cooldown_seconds: Annotated[Decimal, Number("0", "604800", "seconds", places=9)] = Decimal("0.0")
    auto_resume: bool = False
    reject_window_seconds: Annotated[Decimal, Number("0.1", "86400", "seconds", places=9)] = Decimal("60.0")
    reject_orders_min: Annotated[int, Number("1", "1000000", "orders")] = 100
    review_ms: Annotated[int, Number("1", "60000", "milliseconds")] = 100

    @property
    def cooldown_ns(self) -> int:
        """Stream time for which a trip holds, in nanoseconds; 0 = until a person resumes."""
        return nanoseconds(self.cooldown_seconds)

    @property
    def reject_window_ns(self) -> int:
        """Stream time over which orders and rejects are counted, in nanoseconds."""
        return nanoseconds(self.reject_window_seconds)

    @property
    def review_ns(self) -> int:
        """Stream time from one look at the account to the next, in nanoseconds."""
        return self.review_ms * 1_000_000


class TradingSection(LimitsSection, frozen=True, kw_only=True):
    """[risk] but for its stops: the account's limits, and what is said of strategies and instruments."""

    order_burst: Annotated[int, Number("1", "1000", "orders")] = 50
    order_rate_reserve_percent: PercentOrNone = Decimal("20.0")
    session: SessionText = "always"
    blackouts: Blackouts = ()
    restricted: Symbols = ()
    breaker: BreakerSection = BreakerSection()
    strategy: LimitsSection
    strategies: tuple[StrategyLimitsSection, ...] = ()
    instruments: tuple[InstrumentLimitsSection, ...] = ()

    @property
    def order_rate_reserve_ppm(self) -> int:
        """Share of the token bucket that is kept for exits, in parts per million."""
        return parts_per_million(self.order_rate_reserve_percent)
