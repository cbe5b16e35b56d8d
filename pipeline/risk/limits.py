"""What the account allows, and the stops that a position gets by itself; as kernels take it."""

from typing import NamedTuple

import numpy as np

from pipeline.messages import ATR, BID_ASK, LAST, STATIC, TAKE_PROFIT, TIME, TRAILING
from pipeline.tables import STOP_TERMS

#: A limit that blocks because nobody set it, and one that was written out as "unlimited".
NOT_SET, UNLIMITED = -2, -1
#: `series` of a configured ATR stop: the first series of its instrument.
DEFAULT_SERIES = (1 << 32) - 1


class Limits(NamedTuple):
    """What the account allows, and the stops that every position gets; per-instrument arrays are int64."""

    order_lots: np.ndarray  #: most lots in one order
    order_tick_lots: np.ndarray  #: most notional in one order
    position_tick_lots: np.ndarray  #: most notional of one position, working orders counted
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
