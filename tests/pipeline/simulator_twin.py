"""The simulator's slow, obvious twin: plain Python integers, the C library's log, the standard library's normal inverse.

It shares no code with the kernels. Where the kernels are exact to far less than a tick and a nanosecond, both write the same
numbers; a tick is a tuple (event_ns, venue_seq, instrument, kind, a, b, c, d).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

QUOTE, TRADE = 1, 2
WORD_COUNT = 2**64
SECOND_NS = 10**9
YEAR_SECONDS = 252 * 6.5 * 3600
NIGHT_NS = 17 * 3600 * SECOND_NS + 1800 * SECOND_NS

# Scenario: (seconds since its start, level) to interpolate, and (until second, volatility factor).
LEVELS = {
    "normal": [(0, 1.0)],
    "flash-crash": [(0, 1.0), (1, 0.9), (7, 0.95)],
    "rally": [(0, 1.0), (60, 1.08)],
    "consolidation": [(0, 1.0)],
}
VOLATILITY_FACTORS: dict[str, Sequence[tuple[float, float]]] = {
    "normal": [],
    "flash-crash": [(1, 4.0), (7, 2.0)],
    "rally": [(60, 1.5)],
    "consolidation": [(math.inf, 0.25)],
    "gap": [(30, 2.0)],
}
REVERSION_PER_S = {"consolidation": 0.5}


def mix(key: int, counter: int) -> int:
    """SplitMix64's output for state key + counter * gamma."""
    z = (key + counter * 0x9E3779B97F4A7C15) % WORD_COUNT
    z = (z ^ z // 2**30) * 0xBF58476D1CE4E5B9 % WORD_COUNT
    z = (z ^ z // 2**27) * 0x94D049BB133111EB % WORD_COUNT
    return z ^ z // 2**31


def uniform(word: int) -> float:
    """The word's 52 high bits as a number strictly between 0 and 1."""
    return (word // 2**12 + 0.5) / 2**52


def size(word: int) -> int:
    """Lots: two to the number of ones in the low byte, times one and a number of 64ths."""
    ones = bin(word % 256).count("1")
    return 2**ones * (64 + word // 256 % 64) // 64


def interpolate(points: Sequence[tuple[float, float]], x: float) -> float:
    """Straight lines between the points, flat after the last."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x < x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


@dataclass
class Market:
    """Plain settings, the same for all instruments."""

    start_prices: list[int]
    scenario: str
    seed: int
    rate: float
    start_ns: int
    volatility: float
    spread_bps: tuple[float, float]
    scenario_start_ns: int

    def gap_level(self) -> float:
        """Opening price over closing price of the gap: 3% to 6%, down for odd seeds."""
        key = mix(self.seed, 1) // 2
        percent = 3 + mix(mix(key, 1) // 2, 6) % 30_001 / 10_000
        return 1 - percent / 100 if self.seed % 2 else 1 + percent / 100

    def overlay(self, elapsed_ns: int) -> tuple[float, float, float]:
        """Level, volatility factor, reversion per second."""
        if elapsed_ns < 0:
            return 1.0, 1.0, 0.0
        seconds = elapsed_ns / SECOND_NS
        level = self.gap_level() if self.scenario == "gap" else interpolate(LEVELS[self.scenario], seconds)
        factor = next((factor for until, factor in VOLATILITY_FACTORS[self.scenario] if seconds < until), 1.0)
        return level, factor, REVERSION_PER_S.get(self.scenario, 0.0)

    def ticks(self) -> Iterator[tuple[int, ...]]:
        """Every tick of the stream, for ever."""
        key = mix(self.seed, 1) // 2
        count = len(self.start_prices)
        path = [float(price) for price in self.start_prices]
        moved_ns, anchor, quote = [0] * count, [0.0] * count, [(0, 0)] * count
        now_ns, index = 0, 0
        while True:
            arrival, choice, move, spread, sizes = (mix(key, 5 * index + lane) for lane in range(5))
            now_ns += math.floor(-math.log(uniform(arrival)) * SECOND_NS / self.rate + 0.5)
            elapsed_ns = now_ns - self.scenario_start_ns
            event_ns = self.start_ns + now_ns + (NIGHT_NS if self.scenario == "gap" and elapsed_ns >= 0 else 0)
            i = choice // 2**32 * count // 2**32
            index += 1
            if choice % 2**16 * 5 < 2**16 and quote[i] != (0, 0):
                yield event_ns, index, i, TRADE, quote[i][choice // 2**16 % 2], size(sizes), index, 0
                continue
            level, factor, reversion = self.overlay(elapsed_ns)
            seconds = (now_ns - moved_ns[i]) / SECOND_NS
            deviation = self.volatility * factor * math.sqrt(seconds / YEAR_SECONDS)
            if reversion and not anchor[i]:
                anchor[i] = path[i]
            pull = (anchor[i] - path[i]) * min(1.0, reversion * seconds)
            path[i] = path[i] * (1 + deviation * NormalDist().inv_cdf(uniform(move))) + pull
            moved_ns[i] = now_ns
            low, high = self.spread_bps
            half = path[i] * level * (low + (high - low) * uniform(spread)) / 20_000
            bid = max(1, math.floor(path[i] * level - half + 0.5))
            quote[i] = bid, max(bid + 1, math.floor(path[i] * level + half + 0.5))
            yield event_ns, index, i, QUOTE, *quote[i], size(sizes), size(sizes // 2**16)
