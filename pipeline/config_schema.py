"""Every setting of trading, and the whole of config.toml: each key's type, rule and default, and its value in whole units.

config.toml explains the keys; a test keeps the two equal, key for key and default for default. Percentages and seconds are
exact decimals here, and are read as integers: parts per million and nanoseconds. Risk limits have no default on purpose.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pipeline.config_account import AccountSection
from pipeline.config_risk import TradingSection
from pipeline.config_rules import Number, Section
from pipeline.config_runtime import (
    InstanceSection,
    RingsSection,
    SidecarSection,
    SupervisorSection,
    TablesSection,
    WorkersSection,
)
from pipeline.config_values import (
    Currency,
    Fee,
    FolderOrNone,
    Lots,
    Milliseconds,
    Percent,
    PercentOrNone,
    Price,
    ScenarioName,
    Speed,
    StartTime,
    Step,
    Symbol,
    Symbols,
    nanoseconds,
    parts_per_million,
    utc_ns,
)
from pipeline.instruments import Instrument, Instruments


class SimulatorSection(Section, frozen=True, kw_only=True):
    """[feed.simulator]"""

    scenario: ScenarioName = "normal"
    scenario_start_seconds: Annotated[Decimal, Number("0", "86400", "seconds", places=9)] = Decimal("5.0")
    scenario_symbols: Symbols = ()
    seed: Annotated[int, Number("0", str(2**63 - 1))] = 1
    rate: Annotated[float, Number("0.001", "1000000000", "ticks per second")] = 1000.0
    start_time: StartTime = "2026-01-05T14:30:00Z"
    volatility_percent: Annotated[Decimal, Number("0", "1000", "percent a year")] = Decimal("30.0")
    spread_bps_min: Annotated[float, Number("0", "1000", "basis points")] = 1.0
    spread_bps_max: Annotated[float, Number("0", "1000", "basis points")] = 5.0

    @property
    def volatility(self) -> float:
        """Annual volatility as a fraction."""
        return float(self.volatility_percent / 100)

    @property
    def start_ns(self) -> int:
        """Event time of the first tick: UTC nanoseconds."""
        start_ns = utc_ns(self.start_time)
        assert start_ns is not None, "the rule of start_time holds this"
        return start_ns

    @property
    def scenario_start_ns(self) -> int:
        """Stream time from the first tick to the scenario, in nanoseconds."""
        return nanoseconds(self.scenario_start_seconds)


class FeedSection(Section, frozen=True, kw_only=True):
    """[feed]"""

    kind: Literal["simulator", "replay"] = "simulator"
    speed: Speed = "1x"
    recording: FolderOrNone = ""
    simulator: SimulatorSection = SimulatorSection()

    @property
    def speed_factor(self) -> float:
        """Stream seconds per second of ours; infinity for "max"."""
        return float("inf") if self.speed == "max" else float(self.speed[:-1])


class InstrumentSection(Section, frozen=True, kw_only=True):
    """One [[instruments]]; decimals stay text until `Config.instrument_table` makes them exact."""

    symbol: Symbol
    tick_size: Step
    lot_size: Step
    start_price: Price
    multiplier: Step = "1"
    currency: Currency = "USD"
    venue: str = ""


class HygieneSection(Section, frozen=True, kw_only=True):
    """[hygiene]"""

    max_jump_percent: Percent = Decimal("5.0")
    stale_after_ms: Annotated[int, Number("1", "86400000", "milliseconds")] = 10_000
    on_stale: Literal["hold", "flatten"] = "hold"

    @property
    def max_jump_ppm(self) -> int:
        """Farthest that a price may be from the last valid one without being confirmed, in parts per million."""
        return parts_per_million(self.max_jump_percent)

    @property
    def stale_after_ns(self) -> int:
        """Stream time without a valid tick after which an instrument is stale, in nanoseconds."""
        return self.stale_after_ms * 1_000_000


class StopsSection(Section, frozen=True, kw_only=True):
    """[risk.stops]"""

    enforce_stops: bool = True
    watch: Literal["bid_ask", "last", "mid"] = "bid_ask"
    default_stop_percent: Percent = Decimal("2.0")
    trailing_stop_enabled: bool = True
    trailing_stop_percent: Percent = Decimal("0.2")
    trailing_activation_percent: PercentOrNone = Decimal("0.0")
    breakeven_percent: PercentOrNone = Decimal("0.0")
    take_profit_percent: PercentOrNone = Decimal("0.0")
    atr_enabled: bool = False
    atr_period: Annotated[int, Number("1", "1000", "bars")] = 14
    atr_multiplier: Annotated[Decimal, Number("0.0001", "1000", "times the ATR", places=4)] = Decimal("3.0")
    atr_bar_seconds: Annotated[int, Number("1", "86400", "seconds")] = 60
    atr_source: Literal["last", "mid"] = "last"
    max_holding_hours: Annotated[Decimal, Number("0", "87600", "hours", places=4)] = Decimal("0.0")
    min_stop_percent: Percent = Decimal("0.1")
    max_stop_percent: Percent = Decimal("20.0")
    exit_limit_ticks: Annotated[int, Number("0", "1000000", "ticks")] = 0
    escalate_after_ms: Milliseconds = 500
    exit_retry_ms: Milliseconds = 250
    exit_retry_ms_max: Milliseconds = 5000

    @property
    def default_stop_ppm(self) -> int:
        """Distance of the default static stop from the entry price, in parts per million."""
        return parts_per_million(self.default_stop_percent)

    @property
    def trailing_stop_ppm(self) -> int:
        """Distance of the default trailing stop from the best price, in parts per million."""
        return parts_per_million(self.trailing_stop_percent)

    @property
    def atr_ppm(self) -> int:
        """Multiplier of the ATR times 10**6."""
        return int(self.atr_multiplier * 1_000_000)

    @property
    def max_holding_ns(self) -> int:
        """Longest that a position is held, in nanoseconds of stream time; 0 = for ever."""
        return int(self.max_holding_hours * 3_600_000_000_000)

    @property
    def min_stop_ppm(self) -> int:
        """Nearest that a stop may be set, in parts per million."""
        return parts_per_million(self.min_stop_percent)

    @property
    def max_stop_ppm(self) -> int:
        """Farthest that a stop may be set, in parts per million."""
        return parts_per_million(self.max_stop_percent)

    @property
    def exit_retry_ns(self) -> int:
        """First wait before an exit that failed is sent again, in nanoseconds of stream time."""
        return self.exit_retry_ms * 1_000_000

    @property
    def exit_retry_ns_max(self) -> int:
        """Longest such wait, in nanoseconds of stream time."""
        return self.exit_retry_ms_max * 1_000_000


class RiskSection(TradingSection, frozen=True, kw_only=True):
    """[risk]"""

    stops: StopsSection = StopsSection()


class PaperSection(Section, frozen=True, kw_only=True):
    """[execution.paper]"""

    latency_us: Annotated[int, Number("0", "10000000", "microseconds")] = 500
    fee_percent: Annotated[Decimal, Number("0", "10", "percent", places=4)] = Decimal("0.0")
    fee_per_unit: Fee = "0"

    @property
    def latency_ns(self) -> int:
        """Stream time from an order's arrival to its fill, in nanoseconds."""
        return self.latency_us * 1000

    @property
    def fee_ppm(self) -> int:
        """Fee as a share of a fill's notional, in parts per million."""
        return parts_per_million(self.fee_percent)


class ExecutionSection(Section, frozen=True, kw_only=True):
    """[execution]"""

    venue: Literal["paper"] = "paper"
    paper: PaperSection = PaperSection()


class DemoSection(Section, frozen=True, kw_only=True):
    """[strategies.demo]"""

    enabled: bool = True
    hold_seconds: Annotated[Decimal, Number("0.001", "86400", "seconds", places=9)] = Decimal("4.0")
    pause_seconds: Annotated[Decimal, Number("0.001", "86400", "seconds", places=9)] = Decimal("30.0")
    quantity: Lots = "100"
    symbols: Symbols = ()

    @property
    def hold_ns(self) -> int:
        """Stream time for which a position is held before it is reversed, in nanoseconds."""
        return nanoseconds(self.hold_seconds)

    @property
    def pause_ns(self) -> int:
        """Stream time to stay out of a symbol after a stop, in nanoseconds."""
        return nanoseconds(self.pause_seconds)

    @property
    def quantity_lots(self) -> int:
        """Size of each position, in lots."""
        return int(self.quantity)


class StrategiesSection(Section, frozen=True, kw_only=True):
    """[strategies]"""

    slots: Annotated[int, Number("1", "8", "strategies")] = 4
    cancel_on_death: bool = True
    demo: DemoSection = DemoSection()


class Config(Section, frozen=True, kw_only=True):
    """All of config.toml."""

    instance: InstanceSection = InstanceSection()
    account: AccountSection = AccountSection()
    feed: FeedSection = FeedSection()
    instruments: tuple[InstrumentSection, ...] = ()
    hygiene: HygieneSection = HygieneSection()
    risk: RiskSection
    execution: ExecutionSection = ExecutionSection()
    strategies: StrategiesSection = StrategiesSection()
    sidecar: SidecarSection = SidecarSection()
    rings: RingsSection = RingsSection()
    tables: TablesSection = TablesSection()
    workers: WorkersSection = WorkersSection()
    supervisor: SupervisorSection = SupervisorSection()

    @property
    def instrument_table(self) -> Instruments:
        """The instruments of the simulator; a replay brings those of its recording."""
        return Instruments(
            Instrument(
                row.symbol, Decimal(row.tick_size), Decimal(row.lot_size), Decimal(row.multiplier), row.currency, row.venue
            )
            for row in self.instruments
        )

    @property
    def start_price_ticks(self) -> tuple[int, ...]:
        """Start price of each instrument of `instrument_table`, in ticks."""
        table = self.instrument_table
        return tuple(table.price_ticks(index, row.start_price) for index, row in enumerate(self.instruments))

    @property
    def scenario_mask(self) -> tuple[bool, ...]:
        """Which instruments of `instrument_table` the scenario concerns; all of them where none is named."""
        named = self.feed.simulator.scenario_symbols
        return tuple(not named or row.symbol in named for row in self.instruments)
