"""The risk worker: opens the stage on an instance and runs its kernel."""

import numpy as np
from msgspec import UNSET

from pipeline import topology
from pipeline.config import Config
from pipeline.config_values import parts_per_million
from pipeline.instruments import Instruments
from pipeline.messages import TRADING_STATES, WATCH_NAMES
from pipeline.money import money_of
from pipeline.risk.calendar import ALWAYS, Calendar, make_calendar
from pipeline.risk.fills import STOPS_PER_POSITION_MAX
from pipeline.risk.limits import Limits, default_terms
from pipeline.risk.state import open_risk
from pipeline.risk.step import has_orders, run
from pipeline.risk.stops import PENDING_COUNT
from pipeline.sessions import parse_blackout, parse_sessions, spans_for
from shm.heartbeat import INCARNATION
from shm.pulse import idle_pulse, make_pulse
from shm.rows import snapshot
from shm.segment import Segment
from shm.wait import Waiter


def limits_from(config: Config, instruments: Instruments) -> Limits:
    """Turn the configured settings of risk into units, ticks, lots, ns and ppm; the limits themselves are rows of a table.

    Args:
        config: the settings.
        instruments: those that are traded.
    Raises:
        ConfigurationError: an instrument's currency has no rate, or cannot be counted in one unit with the others.
    """
    stops, breaker = config.risk.stops, config.risk.breaker
    money = money_of(instruments, config.account)
    defaults = default_terms(
        static_ppm=stops.default_stop_ppm,
        trailing_ppm=stops.trailing_stop_ppm if stops.trailing_stop_enabled else 0,
        atr_ppm=stops.atr_ppm if stops.atr_enabled else 0,
        holding_ns=stops.max_holding_ns,
        take_profit_ppm=parts_per_million(stops.take_profit_percent),
        activation_ppm=parts_per_million(stops.trailing_activation_percent),
        breakeven_ppm=parts_per_million(stops.breakeven_percent),
    )
    defaults["watch"] = WATCH_NAMES.index(stops.watch)
    defaults["limit_ticks"], defaults["escalate_ms"] = stops.exit_limit_ticks, stops.escalate_after_ms
    return Limits(
        value_units=np.array(money.value_units, np.int64),
        lot_units=np.array(money.lot_units, np.int64),
        defaults=defaults if stops.enforce_stops else defaults[:0],
        retry_ns=stops.exit_retry_ns,
        retry_ns_max=stops.exit_retry_ns_max,
        enforces=int(stops.enforce_stops),
        min_stop_ppm=stops.min_stop_ppm,
        max_stop_ppm=stops.max_stop_ppm,
        fallback_ppm=stops.default_stop_ppm,
        atr_ppm=stops.atr_ppm,
        atr_period=stops.atr_period,
        bar_ns=stops.atr_bar_seconds * 1_000_000_000,
        atr_source=WATCH_NAMES.index(stops.atr_source),
        escalate_ms=stops.escalate_after_ms,
        stale_ns=config.hygiene.stale_after_ns,
        flattens=int(config.hygiene.on_stale == "flatten"),
        balance_units=money.balance_units,
        day_start_ns=config.account.day_start_ns,
        review_ns=breaker.review_ns,
        breaker_state=TRADING_STATES.index(breaker.state),
        cooldown_ns=breaker.cooldown_ns,
        auto_resumes=int(breaker.auto_resume),
        reject_window_ns=breaker.reject_window_ns,
        reject_orders_min=breaker.reject_orders_min,
        rate_burst=config.risk.order_burst,
        rate_reserve_ppm=config.risk.order_rate_reserve_ppm,
    )


def calendar_from(config: Config, instruments: Instruments) -> Calendar:
    """Return the configured session hours and blackouts of each instrument."""
    own = {row.symbol: row.session for row in config.risk.instruments if row.session is not UNSET}
    texts = [str(own.get(item.symbol, config.risk.session)) for item in instruments]
    parsed = {text: parse_sessions(text, "risk.session") for text in texts}
    hours = {text: found for text, found in parsed.items() if found is not None}
    places = list(hours)
    blackouts = [parse_blackout(text, "risk.blackouts") for text in config.risk.blackouts]
    return make_calendar(
        [places.index(text) if text in hours else ALWAYS for text in texts],
        [found.ranges for found in hours.values()],
        [found.offsets for found in hours.values()],
        [spans_for(blackouts, item.symbol) for item in instruments],
    )


class RiskStage:
    """Risk as a worker runs it (see pipeline.worker)."""

    name = "risk"

    def __init__(self, segment: Segment, config: Config, waiter: Waiter) -> None:
        about = topology.read_about(segment)
        sizes = topology.Sizes(**about["sizes"])
        instruments = Instruments.from_json(about["instruments"])
        self.state = open_risk(segment, sizes, limits_from(config, instruments), calendar_from(config, instruments))
        self.waiter = waiter
        self.incarnation = int(self.state.heartbeat.words[INCARNATION])
        self.scratch = np.zeros(2 * STOPS_PER_POSITION_MAX, np.int64)

    def warm_up(self) -> None:
        """Load the kernels by one turn of the loop."""
        run(self.state, idle_pulse(self.state.heartbeat, self.waiter), self.scratch)

    def run(self, until_ns: int) -> int:
        """Run the kernel until monotonic `until_ns`, or until the supervisor says otherwise."""
        return int(run(self.state, make_pulse(self.state.heartbeat, self.waiter, self.incarnation, until_ns), self.scratch))

    def drained(self) -> bool:
        """Tell whether nothing waits, no exit is owed, and no order works."""
        if has_orders(self.state) or self.state.book.counts[PENDING_COUNT] > 0:
            return False
        rows = snapshot(self.state.positions)
        return not (rows["working_buy_lots"].any() or rows["working_sell_lots"].any())

    def close(self) -> None:
        """Nothing is held but the mapping, which ends with the process."""
