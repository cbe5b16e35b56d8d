"""The stop engine a third time, for recordings of a day: each stop on its own, over the columns of its instrument.

Prices are signed here (a SHORT's are negated), so that both sides read as LONG: best is the largest, a stop fires at or below
its level. All of it is exact: int64 within the bounds that decode holds, Python integers for the ATR.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from pipeline.messages import (
    ATR,
    CHANDELIER,
    LAST,
    LONG,
    MID,
    QUOTE,
    STATIC,
    TAKE_PROFIT,
    TICK,
    TICK_OK,
    TIME,
    TRADE,
    TRAILING,
)
from tests.stop_oracle import StopTerms, Trigger

PPM = 10**6
#: Prices looked at first; most stops fire early. Each further look is four times as wide, up to the last figure.
FIRST_CHUNK, LAST_CHUNK = 2_048, 262_144
#: One part in so many of a unit is nothing (see the oracle's WHOLE_WITHIN).
WHOLE_PARTS = 10**9


def parts_up(prices: np.ndarray, ppm: int) -> np.ndarray:
    """Return so many parts per million of prices >= 0 below 2**43, rounded up: the product stays below 2**63."""
    assert 0 < ppm < PPM
    return -((prices * -ppm) // PPM)


def part_up(price: int, ppm: int) -> int:
    """Return so many parts per million of one price, rounded up."""
    return -(-price * ppm // PPM)


class Bars:
    """The bars of one series, and its ATR at each close.

    Args:
        market: of the ticks.
        instrument, period, bar_ns: of the series.
    Attributes:
        close_seqs: the tick at which each bar closed, int64, ascending.
        period: bars until it is ready.
    """

    def __init__(self, market: Market, instrument: int, period: int, bar_ns: int) -> None:
        self.period = period
        seqs, prices = market.bar_column(instrument)
        #: Units of `prices` in a tick.
        self._unit = 2 if market.atr_source == "mid" else 1
        self._distances: dict[tuple[int, int], list[int]] = {}
        buckets = market.now_ns[seqs] // bar_ns
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        ends_ns = (buckets[starts] + 1) * bar_ns
        close_seqs = np.searchsorted(market.now_ns, ends_ns, "left")
        count = int(np.count_nonzero(close_seqs < len(market.now_ns)))
        self.close_seqs = close_seqs[:count]
        if count == 0:
            self._true_ranges: list[int] = []
            return
        high, low = np.maximum.reduceat(prices, starts), np.minimum.reduceat(prices, starts)
        close = prices[np.append(starts[1:], len(prices)) - 1]
        ranges = high - low
        ranges[1:] = np.maximum(ranges[1:], np.maximum(abs(high[1:] - close[:-1]), abs(low[1:] - close[:-1])))
        self._true_ranges = ranges[:count].tolist()

    @cached_property
    def _averages(self) -> list[tuple[int, int]]:
        """The ATR from the bar on that makes it ready, as numerator and denominator; never reduced, that would cost more."""
        numerator, denominator = sum(self._true_ranges[: self.period]), self.period
        averages = [(numerator, denominator)]
        for true_range in self._true_ranges[self.period :]:
            numerator, denominator = numerator * (self.period - 1) + true_range * denominator, denominator * self.period
            averages.append((numerator, denominator))
        return averages

    def is_ready(self, close: int) -> bool:
        """Tell whether there is an ATR after the bar of this number, from 0."""
        return close >= self.period - 1

    def distance(self, close: int, atr_ppm: int, unit: int) -> int:
        """Return the distance after the bar of this number, in units of a watch, rounded up."""
        distances = self._distances.setdefault((atr_ppm, unit), [])
        while len(distances) <= close - (self.period - 1):
            numerator, denominator = self._averages[len(distances)]
            numerator, denominator = numerator * atr_ppm * unit, denominator * PPM * self._unit
            nearest = (2 * numerator + denominator) // (2 * denominator)
            is_whole = abs(numerator - nearest * denominator) * WHOLE_PARTS <= denominator
            distances.append(nearest if is_whole else -(-numerator // denominator))
        return distances[close - (self.period - 1)]


class Market:
    """The columns of a stream of ticks, each made once.

    Args:
        ticks: TICK array whose "flags" hygiene has set.
        atr_source: "last" or "mid".
    Attributes:
        now_ns: stream time at each tick.
    """

    def __init__(self, ticks: np.ndarray, atr_source: str = "last") -> None:
        assert ticks.dtype == TICK
        self.atr_source = atr_source
        self.now_ns = np.maximum.accumulate(ticks["event_ns"]) if len(ticks) else np.empty(0, np.int64)
        self._ticks = ticks
        self._instruments = np.ascontiguousarray(ticks["instrument"])
        self._kinds = np.where(ticks["flags"] == TICK_OK, ticks["kind"], 0)
        self._columns: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._bars: dict[tuple[int, int, int], Bars] = {}

    def column(self, instrument: int, watch: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the places and the prices, in units of the watch, of the accepted ticks that a stop watches."""
        side = LONG if watch in (LAST, MID) else side
        key = instrument, watch, side
        if key not in self._columns:
            kind = TRADE if watch == LAST else QUOTE
            seqs = np.flatnonzero((self._kinds == kind) & (self._instruments == instrument))
            bid, ask = self._ticks["a"][seqs], self._ticks["b"][seqs]
            self._columns[key] = seqs, bid + ask if watch == MID else bid if side == LONG else ask
        return self._columns[key]

    def bar_column(self, instrument: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the places and prices that make bars: trades in ticks, or mids in half ticks."""
        return self.column(instrument, MID if self.atr_source == "mid" else LAST, LONG)

    def bars(self, terms: StopTerms) -> Bars:
        """Return the series of an ATR stop."""
        key = terms.instrument, terms.atr_period, terms.bar_ns
        if key not in self._bars:
            self._bars[key] = Bars(self, *key)
        return self._bars[key]

    def trigger(self, terms: StopTerms) -> Trigger | None:
        """Return where a stop fires, or None."""
        terms.check()
        start = int(np.searchsorted(self.now_ns, terms.entry_ns, "left"))
        return self._time_trigger(terms, start) if terms.kind == TIME else self._price_trigger(terms, start)

    def _time_trigger(self, terms: StopTerms, start: int) -> Trigger | None:
        seqs, prices = self.column(terms.instrument, terms.watch, terms.side)
        fired = int(np.searchsorted(self.now_ns, terms.entry_ns + terms.holding_ns, "left"))
        if terms.activation_ppm:
            first = int(np.searchsorted(seqs, start))
            woken = first + np.flatnonzero(terms.side * prices[first:] >= _profit(terms, terms.activation_ppm))
            fired = max(fired, int(seqs[woken[0]])) if len(woken) else len(self.now_ns)
        if fired == len(self.now_ns):
            return None
        known = int(np.searchsorted(seqs, fired, "right"))
        return Trigger(terms.stop_id, fired, int(self.now_ns[fired]), int(prices[known - 1]) if known else None, None)

    def _price_trigger(self, terms: StopTerms, start: int) -> Trigger | None:
        all_seqs, all_prices = self.column(terms.instrument, terms.watch, terms.side)
        path = Path(terms, self.bars(terms) if terms.kind in (ATR, CHANDELIER) else None, start)
        place, size = int(np.searchsorted(all_seqs, start)), FIRST_CHUNK
        while place < len(all_seqs):
            seqs, prices = all_seqs[place : place + size], terms.side * all_prices[place : place + size]
            levels, awake_from = path.follow(seqs, prices)
            fires = prices >= levels if terms.kind == TAKE_PROFIT else prices <= levels
            first = awake_from + int(np.argmax(fires[awake_from:])) if awake_from < len(fires) else 0
            if awake_from < len(fires) and fires[first]:
                seq, price, level = int(seqs[first]), int(prices[first]), int(levels[first])
                return Trigger(terms.stop_id, seq, int(self.now_ns[seq]), terms.side * price, terms.side * level)
            place, size = place + size, min(4 * size, LAST_CHUNK)
        return None


class Path:
    """The level of one stop, from chunk to chunk, in signed prices.

    Args:
        terms: of the stop.
        bars: series of an ATR stop.
        start: the tick at which it is armed.
    """

    def __init__(self, terms: StopTerms, bars: Bars | None, start: int) -> None:
        self._terms, self._bars = terms, bars
        self._entry = terms.side * terms.entry
        self._best = self._entry
        self._is_awake, self._is_even = terms.activation_ppm == 0, False
        self._closed, self._provisional = 0, bars is not None
        self._level = self._first_level(start)

    def _first_level(self, start: int) -> int:
        terms, given = self._terms, self._terms.given_level
        if terms.kind == TAKE_PROFIT:
            return _profit(terms, terms.percent_ppm) if given is None else terms.side * given
        if self._bars is None and given is not None:
            return terms.side * given
        if self._bars is None:
            distance = terms.offset or part_up(terms.entry, terms.percent_ppm)
            return self._entry - distance
        self._closed = int(np.searchsorted(self._bars.close_seqs, start, "right"))
        if self._closed and self._bars.is_ready(self._closed - 1):
            self._provisional = False
            return self._entry - self._distance(self._closed - 1)
        return self._entry - part_up(terms.entry, terms.percent_ppm or terms.fallback_ppm)

    def _distance(self, close: int) -> int:
        assert self._bars is not None
        return self._bars.distance(close, self._terms.atr_ppm, self._terms.unit)

    def follow(self, seqs: np.ndarray, prices: np.ndarray) -> tuple[np.ndarray, int]:
        """Follow the watched prices of a chunk.

        Args:
            seqs: places of the ticks, int64, ascending.
            prices: signed, same shape.
        Returns:
            The level at each price, after its update with it, and the first index at which the stop may fire.
        """
        terms = self._terms
        if terms.kind in (STATIC, TAKE_PROFIT):
            levels = np.full(len(prices), self._level)
        else:
            bests = np.maximum(np.maximum.accumulate(prices), self._best)
            levels = self._trail(bests) if terms.kind == TRAILING else self._follow_bars(seqs, bests)
            self._best, self._level = int(bests[-1]), int(levels[-1])
        if terms.breakeven_ppm and terms.kind != TAKE_PROFIT:
            even_from = 0 if self._is_even else _first_at(prices, _profit(terms, terms.breakeven_ppm))
            self._is_even = even_from < len(prices)
            # A floor under what is shown, and none under what is kept: from there on it always is.
            levels = levels.copy()
            levels[even_from:] = np.maximum(levels[even_from:], self._entry)
        awake_from = 0 if self._is_awake else _first_at(prices, _profit(terms, terms.activation_ppm))
        self._is_awake = awake_from < len(prices)
        return levels, awake_from

    def _trail(self, bests: np.ndarray) -> np.ndarray:
        terms = self._terms
        trailed = bests - (parts_up(abs(bests), terms.percent_ppm) if terms.percent_ppm else terms.offset)
        return np.maximum(np.maximum.accumulate(trailed), self._level)

    def _follow_bars(self, seqs: np.ndarray, bests: np.ndarray) -> np.ndarray:
        """Follow an ATR from bar to bar: within one, its distance is the same at each price."""
        bars, is_chandelier = self._bars, self._terms.kind == CHANDELIER
        assert bars is not None
        stop = int(np.searchsorted(bars.close_seqs, seqs[-1], "right"))
        # A close at a tick comes before that tick's price.
        places = np.searchsorted(seqs, bars.close_seqs[self._closed : stop], "left").tolist()
        levels = np.empty(len(seqs), np.int64)
        level, best, begin = self._level, self._best, 0
        for end in [*places, len(seqs)]:
            if begin < end:
                levels[begin:end] = level
                if is_chandelier and not self._provisional:
                    levels[begin:end] = np.maximum(level, bests[begin:end] - self._distance(self._closed - 1))
                level, best, begin = int(levels[end - 1]), int(bests[end - 1]), end
            if self._closed < stop:
                self._closed += 1
                if bars.is_ready(self._closed - 1):
                    reached = (best if is_chandelier else self._entry) - self._distance(self._closed - 1)
                    level = reached if self._provisional else max(level, reached)
                    self._provisional = False
        assert begin == len(seqs)
        return levels


def _profit(terms: StopTerms, ppm: int) -> int:
    """Return the signed price at which the position has won so much."""
    return terms.side * terms.entry + part_up(terms.entry, ppm)


def _first_at(prices: np.ndarray, threshold: int) -> int:
    """Return the first index at or above a threshold; the length where there is none."""
    reached = prices >= threshold
    first = int(np.argmax(reached))
    return first if reached[first] else len(prices)


def triggers(ticks: np.ndarray, terms: Iterable[StopTerms], atr_source: str = "last") -> list[Trigger]:
    """Return every trigger in the order in which they happen; arguments as of `tests.stop_oracle.walk`."""
    market = Market(ticks, atr_source)
    found = [(market.trigger(one), one.kind == TIME) for one in terms]
    fired = [(trigger, is_time) for trigger, is_time in found if trigger is not None]
    return [trigger for trigger, _ in sorted(fired, key=lambda pair: (pair[0].seq, pair[1], pair[0].stop_id))]
