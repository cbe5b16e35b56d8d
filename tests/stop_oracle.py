"""Slow, obvious twin of the stop engine: DESIGN section 7 in plain Python, tick by tick, with integers and fractions only.

It shares nothing with the kernels but the records of pipeline/messages.py. `triggers` gives every trigger of any stops on any
ticks; `walk` gives also where each stop stood at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipeline.messages import (
    ATR,
    BID_ASK,
    CHANDELIER,
    LAST,
    LONG,
    MID,
    QUOTE,
    SHORT,
    STATIC,
    TAKE_PROFIT,
    TICK,
    TICK_OK,
    TIME,
    TRADE,
    TRAILING,
)
from tests.atr_oracle import ATR_SOURCES, AtrSeries, atr_distance, bar_price

PPM = 10**6


@dataclass(frozen=True)
class StopTerms:
    """What one stop is; 0 (or None) where a term is not given. It guards a position of its own.

    Attributes:
        entry_ticks: E, in ticks whatever the watch.
        price: static: the level; trailing: a first level; take_profit: the target. In ticks, and may lie between them.
        offset_ticks: trailing distance in ticks; with a mid watch it may be a multiple of half a tick.
        atr_ppm: multiplier of the ATR times 10**6.
        holding_ns: time stops: longest holding, from entry_ns.
        fallback_ppm: the configured percent of an ATR stop whose series is not ready, where it has no percent of its own.
    """

    stop_id: int
    instrument: int
    kind: int
    side: int
    watch: int
    entry_ticks: int
    entry_ns: int
    price: Fraction | int | None = None
    percent_ppm: int = 0
    offset_ticks: Fraction | int = 0
    activation_ppm: int = 0
    breakeven_ppm: int = 0
    atr_ppm: int = 0
    atr_period: int = 0
    bar_ns: int = 0
    holding_ns: int = 0
    fallback_ppm: int = 0

    @property
    def unit(self) -> int:
        """Units of the watch in one tick: a mid counts in half ticks."""
        return 2 if self.watch == MID else 1

    @property
    def entry(self) -> int:
        """E in units of the watch."""
        return self.entry_ticks * self.unit

    @property
    def offset(self) -> int:
        """The trailing offset in units of the watch."""
        units = Fraction(self.offset_ticks) * self.unit
        assert units.denominator == 1, "an offset is a whole number of units"
        return int(units)

    @property
    def given_level(self) -> int | None:
        """The given price in units of the watch: away from the profit for a stop, towards it for a target, never in between."""
        if self.price is None:
            return None
        units = Fraction(self.price) * self.unit
        downwards = (self.side == LONG) != (self.kind == TAKE_PROFIT)
        return math.floor(units) if downwards else math.ceil(units)

    @property
    def first_ppm(self) -> int:
        """Percent of an ATR stop until its series is ready."""
        return self.percent_ppm or self.fallback_ppm

    def check(self) -> None:
        """Assert that the terms make one stop."""
        assert self.side in (LONG, SHORT) and self.watch in (BID_ASK, LAST, MID)
        assert self.entry_ticks > 0
        assert self.price is None or self.kind in (STATIC, TRAILING, TAKE_PROFIT), "only these have a price of their own"
        if self.kind in (STATIC, TAKE_PROFIT):
            assert (self.price is None) != (self.percent_ppm == 0), "a price or a percent"
        elif self.kind == TRAILING:
            assert (self.offset == 0) != (self.percent_ppm == 0), "a percent or an offset"
        elif self.kind in (ATR, CHANDELIER):
            assert min(self.atr_ppm, self.atr_period, self.bar_ns, self.first_ppm) > 0
        else:
            assert self.kind == TIME and self.holding_ns > 0


@dataclass(frozen=True, order=True)
class Trigger:
    """A stop fired.

    Attributes:
        seq: place of the tick in the stream.
        trigger_ns: stream time at that tick.
        price: watched price in units of the watch; None where none is known.
        level: the stop's level, or the target of a take_profit, in units of the watch; None of a time stop.
    """

    stop_id: int
    seq: int
    trigger_ns: int
    price: int | None
    level: int | None


def share(price: int, ppm: int) -> int:
    """Return so many parts per million of a price, rounded up."""
    return math.ceil(Fraction(price * ppm, PPM))


def loss_level(side: int, price: int, ppm: int) -> int:
    """Return what lies so far on the losing side of a price: 2% below 100.00 is 98.00."""
    return price - share(price, ppm) if side == LONG else price + share(price, ppm)


def profit_price(side: int, price: int, ppm: int) -> int:
    """Return what lies so far on the winning side of a price."""
    return price + share(price, ppm) if side == LONG else price - share(price, ppm)


def tighter(side: int, one: int, other: int) -> int:
    """Return the level that loses less."""
    return max(one, other) if side == LONG else min(one, other)


def has_fallen_to(side: int, price: int, level: int) -> bool:
    """Tell whether a price is at a level or on its losing side."""
    return price <= level if side == LONG else price >= level


def has_risen_to(side: int, price: int, target: int) -> bool:
    """Tell whether a price is at a target or on its winning side."""
    return price >= target if side == LONG else price <= target


class Stop:
    """One stop on its way through the ticks.

    Attributes:
        armed: its position is held.
        awake: it may fire.
        at_even: the profit of its breakeven was reached.
        best: X, the best watched price since it was armed, and E at first.
        level: None of a time stop, and before it is armed.
        provisional: the level is the fallback of an ATR stop whose series is not ready.
        trigger: how it fired.
    """

    def __init__(self, terms: StopTerms, series: AtrSeries | None) -> None:
        terms.check()
        self.terms, self.series = terms, series
        self.armed, self.awake, self.at_even = False, terms.activation_ppm == 0, False
        self.best = terms.entry
        self.level: int | None = None
        self.provisional = False
        self.trigger: Trigger | None = None

    def arm(self) -> None:
        """Take the first level."""
        terms = self.terms
        self.armed = True
        if terms.kind == STATIC:
            given = terms.given_level
            self.level = loss_level(terms.side, terms.entry, terms.percent_ppm) if given is None else given
        elif terms.kind == TAKE_PROFIT:
            given = terms.given_level
            self.level = profit_price(terms.side, terms.entry, terms.percent_ppm) if given is None else given
        elif terms.kind == TRAILING:
            self.level = self._trailed() if terms.given_level is None else terms.given_level
            self._tighten(self._trailed())
        elif terms.kind in (ATR, CHANDELIER):
            self.level, self.provisional = loss_level(terms.side, terms.entry, terms.first_ppm), True
            self.follow_atr()

    def follow_atr(self) -> None:
        """Move the level where the ATR puts it: at arming, when a bar has closed, and a chandelier's with each price."""
        if self.series is None or self.series.atr is None:
            return
        terms = self.terms
        distance = atr_distance(self.series.atr, terms.atr_ppm, terms.unit)
        level = (terms.entry if terms.kind == ATR else self.best) - terms.side * distance
        if self.provisional:
            # The one time that a level may loosen; never beyond the entry price, once that was earned.
            self.level, self.provisional = tighter(terms.side, level, terms.entry) if self.at_even else level, False
        else:
            self._tighten(level)

    def take(self, price: int) -> bool:
        """Update the stop with a watched price, then tell whether that fires it. A time stop only wakes."""
        terms = self.terms
        self.best = max(self.best, price) if terms.side == LONG else min(self.best, price)
        if terms.kind == TRAILING:
            self._tighten(self._trailed())
        elif terms.kind == CHANDELIER:
            self.follow_atr()
        if terms.activation_ppm:
            self.awake |= has_risen_to(terms.side, price, profit_price(terms.side, terms.entry, terms.activation_ppm))
        if terms.breakeven_ppm and terms.kind not in (TAKE_PROFIT, TIME):
            self.at_even |= has_risen_to(terms.side, price, profit_price(terms.side, terms.entry, terms.breakeven_ppm))
            if self.at_even:
                self._tighten(terms.entry)
        if self.level is None or not self.awake:
            return False
        has_fired = has_risen_to if terms.kind == TAKE_PROFIT else has_fallen_to
        return has_fired(terms.side, price, self.level)

    def is_due(self, now_ns: int) -> bool:
        """Tell whether a time stop's deadline has come."""
        return self.armed and self.awake and self.terms.kind == TIME and now_ns >= self.terms.entry_ns + self.terms.holding_ns

    def _trailed(self) -> int:
        terms = self.terms
        if terms.percent_ppm:
            return loss_level(terms.side, self.best, terms.percent_ppm)
        return self.best - terms.side * terms.offset

    def _tighten(self, level: int) -> None:
        assert self.level is not None
        self.level = tighter(self.terms.side, self.level, level)


def watched_prices(kind: int, a: int, b: int) -> dict[tuple[int, int], int]:
    """Return what an accepted tick shows, by watch and side, in units of the watch."""
    if kind == QUOTE:
        return {(BID_ASK, LONG): a, (BID_ASK, SHORT): b, (MID, LONG): a + b, (MID, SHORT): a + b}
    return {(LAST, LONG): a, (LAST, SHORT): a} if kind == TRADE else {}


class Walk:
    """All stops on their way through a stream of ticks.

    Attributes:
        stops: by stop id.
        triggers: in the order in which they happened.
        now_ns: stream time: the latest event time so far, of accepted and rejected ticks.
    """

    def __init__(self, terms: Iterable[StopTerms], atr_source: str = "last") -> None:
        assert atr_source in ATR_SOURCES
        self.atr_source = atr_source
        self.series: dict[tuple[int, int, int], AtrSeries] = {}
        self.stops: dict[int, Stop] = {}
        self.triggers: list[Trigger] = []
        self.now_ns = 0
        self._live: list[Stop] = []
        self._marks: dict[int, dict[tuple[int, int], int]] = {}
        for one in sorted(terms, key=lambda one: one.stop_id):
            assert one.stop_id not in self.stops, "a stop has an id of its own"
            series = None
            if one.kind in (ATR, CHANDELIER):
                key = one.instrument, one.atr_period, one.bar_ns
                series = self.series.setdefault(key, AtrSeries(one.atr_period, one.bar_ns))
            self.stops[one.stop_id] = Stop(one, series)
        self._live = list(self.stops.values())

    def take(self, seq: int, tick: tuple[int, ...]) -> None:
        """Take one TICK, as the tuple of its fields: time, bars, arming, then prices, then deadlines."""
        event_ns, _, _, instrument, kind, flags, _, a, b, _, _ = tick
        self.now_ns = max(self.now_ns, event_ns)
        closed = [series for series in self.series.values() if series.close(self.now_ns)]
        levels = [(stop, stop.level, stop.provisional) for stop in self._live]
        for stop in self._live:
            if not stop.armed and self.now_ns >= stop.terms.entry_ns:
                stop.arm()
            elif stop.armed and stop.series in closed:
                stop.follow_atr()
        prices = watched_prices(kind, a, b) if flags == TICK_OK else {}
        if prices:
            self._enter_bars(instrument, bar_price(kind, a, b, self.atr_source))
            self._marks.setdefault(instrument, {}).update(prices)
        for stop in self._live:
            price = prices.get((stop.terms.watch, stop.terms.side))
            if stop.armed and stop.terms.instrument == instrument and price is not None and stop.take(price):
                self._fire(stop, seq, price)
        for stop in self._live:
            if stop.is_due(self.now_ns):
                marks = self._marks.get(stop.terms.instrument, {})
                self._fire(stop, seq, marks.get((stop.terms.watch, stop.terms.side)))
        for stop, level, provisional in levels:
            assert_not_loosened(stop, level, provisional)
        if self.triggers and self.triggers[-1].seq == seq:
            self._live = [stop for stop in self._live if stop.trigger is None]

    def _enter_bars(self, instrument: int, price: Fraction | None) -> None:
        for (owner, _, _), series in self.series.items():
            if owner == instrument and price is not None:
                series.add(self.now_ns, price)

    def _fire(self, stop: Stop, seq: int, price: int | None) -> None:
        stop.trigger = Trigger(stop.terms.stop_id, seq, self.now_ns, price, stop.level)
        self.triggers.append(stop.trigger)


def assert_not_loosened(stop: Stop, level: int | None, provisional: bool) -> None:
    """A level only tightens, but for the first ATR level in place of a provisional one; a target stays."""
    if level is None or (provisional and not stop.provisional):
        return
    assert stop.level is not None
    assert stop.level == tighter(stop.terms.side, level, stop.level), f"{stop.terms} loosened from {level} to {stop.level}"
    assert stop.terms.kind != TAKE_PROFIT or stop.level == level, "a target moved"


def walk(ticks: np.ndarray, terms: Iterable[StopTerms], atr_source: str = "last") -> Walk:
    """Walk all stops through all ticks.

    Args:
        ticks: TICK array whose "flags" hygiene has set.
        terms: the stops, each with an id of its own.
        atr_source: "last" or "mid".
    """
    assert ticks.dtype == TICK
    result = Walk(terms, atr_source)
    for seq, tick in enumerate(ticks.tolist()):
        result.take(seq, tick)
    return result


def triggers(ticks: np.ndarray, terms: Iterable[StopTerms], atr_source: str = "last") -> list[Trigger]:
    """Return every trigger in the order in which they happen; arguments as of `walk`."""
    return walk(ticks, terms, atr_source).triggers


def differences(expected: Iterable[Trigger], actual: Iterable[Trigger]) -> list[str]:
    """Return a line for each stop that fired in one list and not, or otherwise, in the other; each fires once in either."""
    lists = list(expected), list(actual)
    wanted, found = ({one.stop_id: one for one in each} for each in lists)
    assert [len(wanted), len(found)] == [len(each) for each in lists], "a stop fired twice"
    ids = sorted(wanted.keys() | found.keys())
    return [f"stop {i}: expected {wanted.get(i)}, got {found.get(i)}" for i in ids if wanted.get(i) != found.get(i)]
