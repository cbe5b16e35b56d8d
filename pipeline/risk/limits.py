"""What the account allows, the stops that a position gets by itself, and the table of limits as it is first written.

`Limits` are settings that stay as they are while the stage runs. The limits of a scope, which people change meanwhile, are rows
of the table "limits" (pipeline.tables.LIMITS).
"""

from typing import NamedTuple

import numpy as np

from pipeline import tables
from pipeline.messages import ATR, BID_ASK, LAST, REDUCING, STATIC, TAKE_PROFIT, TIME, TRAILING
from pipeline.tables import LIMIT_NAMES, LIMITS, STOP_TERMS
from shm.rows import open_table
from shm.segment import Segment

#: As they stand in the rows. Whoever only reads a configuration takes them from there, and waits for no numba.
NOT_SET, UNLIMITED = tables.NOT_SET, tables.UNLIMITED
#: Ids of the limits: places of the fields of LIMITS, which bear the same names.
(
    MIN_ORDER_QUANTITY,
    MAX_ORDER_QUANTITY,
    MIN_ORDER_NOTIONAL,
    MAX_ORDER_NOTIONAL,
    PRICE_COLLAR_PERCENT,
    MAX_POSITION_QUANTITY,
    MAX_POSITION_NOTIONAL,
    MAX_OPEN_POSITIONS,
    MAX_CONCENTRATION_PERCENT,
    MAX_GROSS_EXPOSURE,
    MAX_NET_EXPOSURE,
    MAX_LEVERAGE,
    MAX_DAILY_LOSS,
    MAX_WEEKLY_LOSS,
    MAX_DRAWDOWN,
    MAX_CONSECUTIVE_LOSSES,
    MAX_TRADES_PER_DAY,
    MAX_REJECT_PERCENT,
    MAX_ORDERS_PER_SECOND,
    DUPLICATE_WINDOW_MS,
    MAX_EXECUTIONS,
    MAX_VOLATILITY_PERCENT,
) = range(len(LIMIT_NAMES))
#: `series` of a configured ATR stop: the first series of its instrument.
DEFAULT_SERIES = (1 << 32) - 1


class Limits(NamedTuple):
    """What the account allows, and the stops that every position gets; per-instrument arrays are int64."""

    value_units: np.ndarray  #: money units of the account in one tick of one lot (pipeline.money)
    lot_units: np.ndarray  #: quantity units in one lot
    defaults: np.ndarray = np.zeros(0, STOP_TERMS)  #: what a position gets at its first fill; `deadline_ns` = longest holding
    retry_ns: int = 250_000_000  #: first wait before a rejected exit is sent again; doubles
    retry_ns_max: int = 5_000_000_000
    enforces: int = 0  #: 1 = the last stop that protects a position cannot be cancelled
    min_stop_ppm: int = 1  #: nearest and farthest percentage of a stop by hand
    max_stop_ppm: int = 999_999
    fallback_ppm: int = 20_000  #: of ATR stops that name no percentage, until there is an ATR
    atr_ppm: int = 3_000_000  #: multiplier of ATR stops that name none
    atr_period: int = 14
    bar_ns: int = 60_000_000_000
    atr_source: int = LAST  #: what bars are made of: LAST or MID
    escalate_ms: int = 500
    stale_ns: int = 1 << 62  #: an instrument without a valid tick for so long is stale
    flattens: int = 0  #: 1 = positions in a stale instrument are left
    default_series: int = DEFAULT_SERIES
    balance_units: int = 0  #: money of the account when the instance was made: equity = that + P&L
    day_start_ns: int = 0  #: days begin so long after midnight UTC
    review_ns: int = 100_000_000  #: stream time between two looks of the circuit breaker
    breaker_state: int = REDUCING  #: what it sets: REDUCING or HALTED
    cooldown_ns: int = 0  #: until it lets go by itself; 0 = never
    auto_resumes: int = 0  #: 1 = it lets go by itself after the cooldown
    reject_window_ns: int = 60_000_000_000  #: in which orders and rejects are counted
    reject_orders_min: int = 10  #: orders in a window from which their share of rejects counts
    rate_burst: int = 10  #: orders that a full token bucket holds
    rate_reserve_ppm: int = 200_000  #: share of the bucket that is kept for exits


def free_limits(scope_count: int) -> np.ndarray:
    """Return rows of LIMITS, one for each scope, that limit nothing."""
    limit_rows = np.zeros(scope_count, LIMITS)
    for name in LIMITS.names or ():
        limit_rows[name] = UNLIMITED
    return limit_rows


def write_limits(segment: Segment, limit_rows: np.ndarray) -> None:
    """Write the limits of every scope, before any process reads them.

    Args:
        segment: The instance.
        limit_rows: (scope count,) LIMITS.
    """
    table = open_table(segment, "limits", LIMITS)
    assert len(limit_rows) == len(table.commits), "one row for each scope"
    # Both copies, so that it does not matter which of them counts.
    table.copies[0::2] = limit_rows
    table.copies[1::2] = limit_rows


def default_terms(
    static_ppm: int = 0,
    trailing_ppm: int = 0,
    atr_ppm: int = 0,
    holding_ns: int = 0,
    take_profit_ppm: int = 0,
    activation_ppm: int = 0,
    breakeven_ppm: int = 0,
) -> np.ndarray:
    """Return the configured stops as STOP_TERMS without a position, those that are 0 left out.

    Args:
        static_ppm: Distance of the static stop; also what an ATR stop has until there is an ATR.
        trailing_ppm: Distance of the trailing stop.
        atr_ppm: Multiplier of the ATR times 10**6.
        holding_ns: Longest holding.
        take_profit_ppm: Profit at which the position is left.
        activation_ppm: Profit from which the trailing stop may fire.
        breakeven_ppm: Profit from which price stops lie at the entry at least.
    """
    wanted = (
        (STATIC, static_ppm), (TRAILING, trailing_ppm), (ATR, atr_ppm), (TIME, holding_ns), (TAKE_PROFIT, take_profit_ppm)
    )  # fmt: skip
    kinds = [kind for kind, amount in wanted if amount > 0]
    terms = np.zeros(len(kinds), STOP_TERMS)
    percents = {STATIC: static_ppm, TRAILING: trailing_ppm, ATR: static_ppm, TIME: 0, TAKE_PROFIT: take_profit_ppm}
    for k, kind in enumerate(kinds):
        terms["kind"][k], terms["watch"][k], terms["percent_ppm"][k] = kind, BID_ASK, percents[kind]
        terms["breakeven_ppm"][k] = breakeven_ppm if kind in (STATIC, TRAILING, ATR) else 0
        terms["activation_ppm"][k] = activation_ppm if kind == TRAILING else 0
        terms["atr_ppm"][k] = atr_ppm if kind == ATR else 0
        terms["series"][k] = DEFAULT_SERIES if kind == ATR else 0
        terms["deadline_ns"][k] = holding_ns if kind == TIME else 0
    return terms
