"""Slow, obvious twin of the ATR series: Wilder's average true range in exact fractions, one price after the other."""

from __future__ import annotations

import math
from fractions import Fraction

from pipeline.messages import QUOTE, TRADE

PPM = 10**6
#: A distance this near to a whole number of units is that number: float64 and fractions then round alike.
WHOLE_WITHIN = Fraction(1, 10**9)
#: What bars are made of: trade prices or mids.
ATR_SOURCES = ("last", "mid")


def bar_price(kind: int, a: int, b: int, atr_source: str) -> Fraction | None:
    """Return the price in ticks that an accepted tick brings into bars, or None."""
    if atr_source == "last":
        return Fraction(a) if kind == TRADE else None
    return Fraction(a + b, 2) if kind == QUOTE else None


def atr_distance(atr: Fraction, atr_ppm: int, unit: int) -> int:
    """Return a multiple of the ATR in whole units, rounded up.

    Args:
        atr: in ticks.
        atr_ppm: multiplier times 10**6.
        unit: units in one tick.
    """
    distance = atr * Fraction(atr_ppm, PPM) * unit
    return round(distance) if abs(distance - round(distance)) <= WHOLE_WITHIN else math.ceil(distance)


class AtrSeries:
    """Wilder's average true range (New Concepts in Technical Trading Systems, 1978) of bars in stream time, exact.

    Attributes:
        bars: how many have closed.
        atr: in ticks, None until `period` bars have closed.
    """

    def __init__(self, period: int, bar_ns: int) -> None:
        self.period, self.bar_ns = period, bar_ns
        self.bars = 0
        self.atr: Fraction | None = None
        self._prices: list[Fraction] = []  # of the bar that is open
        self._bucket = 0
        self._close: Fraction | None = None
        self._first_ranges: list[Fraction] = []

    def close(self, now_ns: int) -> bool:
        """Close the open bar if its end is reached, and tell whether one closed."""
        if not self._prices or now_ns < (self._bucket + 1) * self.bar_ns:
            return False
        high, low, last = max(self._prices), min(self._prices), self._prices[-1]
        true_range = high - low
        if self._close is not None:
            true_range = max(true_range, abs(high - self._close), abs(low - self._close))
        self._prices, self._close = [], last
        self.bars += 1
        if self.atr is not None:
            self.atr = (self.atr * (self.period - 1) + true_range) / self.period
        else:
            self._first_ranges.append(true_range)
            if self.bars == self.period:
                self.atr = sum(self._first_ranges, Fraction(0)) / self.period
        assert self.atr is None or self.atr >= 0, "a range is not negative"
        return True

    def add(self, now_ns: int, price: Fraction) -> None:
        """Take a price, in ticks, into the bar of this time; `close` was called with it before."""
        assert not self._prices or self._bucket == now_ns // self.bar_ns
        self._bucket = now_ns // self.bar_ns
        self._prices.append(price)

    def state(self) -> tuple[Fraction, int, Fraction, list[Fraction]]:
        """Return the ATR (0 = none yet), how many bars have closed, the sum of the first ranges, and the open prices."""
        return self.atr or Fraction(0), self.bars, sum(self._first_ranges, Fraction(0)), self._prices
