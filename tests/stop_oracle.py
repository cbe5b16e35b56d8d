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
    SHORT,
    STATIC,
    TAKE_PROFIT,
    TICK,
    TICK_OK,
    TIME,
    TRAILING,
)
from tests.atr_oracle import ATR_SOURCES, AtrSeries, atr_distance, bar_price
from tests.stop_formulas import has_fallen_to, has_risen_to, loss_level, profit_price, tighter, watched_prices


@dataclass(frozen=True)
class StopTerms:
    """What one stop is; 0 (or None) where a term is not given. It guards a position of its own.

    Attributes:
        entry_ticks: E, in ticks whatever the watch.
        price: static: the level; trailing: a first level; take_profit: the target. In ticks, and may lie between them.
        offset_ticks: trailing distance in ticks; with a mid watch it may be a multiple of half a tick.
        atr_ppm: multiplier of the ATR times 10**6.
        holding_ns: time stops: longest holding, from held_ns.
        held_ns: since when the position is held; 0 where that is entry_ns, the time from which the stop watches.
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
    held_ns: int = 0
    fallback_ppm: int = 0

    @property
    def deadline_ns(self) -> int:
        """When a time stop is due."""
        return (self.held_ns or self.entry_ns) + self.holding_ns

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
        self.armed = True
        self._begin()
        self.follow_atr()

    def move(self, terms: StopTerms) -> None:
        """Go on with another price, percent or offset: the best price stays, and what it has earned."""
        terms.check()
        self.terms = terms
        if self.armed and (self.provisional or terms.kind not in (ATR, CHANDELIER)):
            self._begin()
        if self.at_even:
            self._tighten(terms.entry)

    def _begin(self) -> None:
        """Take the level that the terms give without an ATR."""
        terms = self.terms
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
        return self.armed and self.awake and self.terms.kind == TIME and now_ns >= self.terms.deadline_ns

    def _trailed(self) -> int:
        terms = self.terms
        if terms.percent_ppm:
            return loss_level(terms.side, self.best, terms.percent_ppm)
        return self.best - terms.side * terms.offset

    def _tighten(self, level: int) -> None:
        assert self.level is not None
        self.level = tighter(self.terms.side, self.level, level)


class Walk:
    """All stops on their way through a stream of ticks.

    Attributes:
        stops: by stop id.
        live: those of them that have not fired or been dropped, in order of their ids.
        triggers: in the order in which they happened.
        now_ns: stream time: the latest event time so far, of accepted and rejected ticks.
    """

    def __init__(self, terms: Iterable[StopTerms], atr_source: str = "last") -> None:
        assert atr_source in ATR_SOURCES
        self.atr_source = atr_source
        self.series: dict[tuple[int, int, int], AtrSeries] = {}
        self.stops: dict[int, Stop] = {}
        self.live: list[Stop] = []
        self.triggers: list[Trigger] = []
        self.now_ns = 0
        self._marks: dict[int, dict[tuple[int, int], int]] = {}
        for one in sorted(terms, key=lambda one: one.stop_id):
            self.add(one)

    def begin_series(self, instrument: int, period: int, bar_ns: int) -> AtrSeries:
        """Return the series of this shape, which starts now where there is none."""
        return self.series.setdefault((instrument, period, bar_ns), AtrSeries(period, bar_ns))

    def add(self, terms: StopTerms) -> Stop:
        """Let a stop join, with a larger id than any before it: between two ticks, or before all."""
        assert terms.stop_id > max(self.stops, default=0), "a stop has an id of its own"
        has_series = terms.kind in (ATR, CHANDELIER)
        series = self.begin_series(terms.instrument, terms.atr_period, terms.bar_ns) if has_series else None
        stop = self.stops[terms.stop_id] = Stop(terms, series)
        self.live.append(stop)
        if self.now_ns >= terms.entry_ns > 0:
            stop.arm()
        return stop

    def drop(self, stop_id: int) -> None:
        """Let a stop leave."""
        self.live = [stop for stop in self.live if stop.terms.stop_id != stop_id]

    def pass_time(self, now_ns: int) -> None:
        """Let time go on: bars that ended close, and stops whose entry time has come are armed."""
        assert now_ns >= self.now_ns, "time ran back"
        self.now_ns = now_ns
        closed = [series for series in self.series.values() if series.close(now_ns)]
        for stop in self.live:
            if not stop.armed and now_ns >= stop.terms.entry_ns:
                stop.arm()
            elif stop.armed and stop.series in closed:
                stop.follow_atr()

    def price_of(self, instrument: int, watch: int, side: int) -> int | None:
        """Return the last price of an instrument that stops of this watch and side follow, None where none is known."""
        return self._marks.get(instrument, {}).get((watch, side))

    def mark(self, terms: StopTerms) -> int | None:
        """Return the last price that a stop follows, None where none is known."""
        return self.price_of(terms.instrument, terms.watch, terms.side)

    def see(self, tick: tuple[int, ...]) -> list[tuple[Stop, int]]:
        """Take one TICK, as the tuple of its fields: time, bars, arming, then prices. The same tick again changes nothing.

        Returns:
            The stops that its price crosses, in order of their ids, each with its watched price.
        """
        event_ns, _, _, instrument, kind, flags, _, a, b, _, _ = tick
        levels = [(stop, stop.level, stop.provisional) for stop in self.live]
        self.pass_time(max(self.now_ns, event_ns))
        prices = watched_prices(kind, a, b) if flags == TICK_OK else {}
        crossed = []
        if prices:
            self._enter_bars(instrument, bar_price(kind, a, b, self.atr_source))
            self._marks.setdefault(instrument, {}).update(prices)
        for stop in self.live:
            price = prices.get((stop.terms.watch, stop.terms.side))
            if stop.armed and stop.terms.instrument == instrument and price is not None and stop.take(price):
                crossed.append((stop, price))
        for stop, level, provisional in levels:
            assert_not_loosened(stop, level, provisional)
        return crossed

    def due(self) -> list[Stop]:
        """Return the time stops whose deadline has come, in order of their ids."""
        return [stop for stop in self.live if stop.is_due(self.now_ns)]

    def take(self, seq: int, tick: tuple[int, ...]) -> None:
        """Take one TICK, and fire what it crosses and then what is due."""
        for stop, price in self.see(tick):
            self._fire(stop, seq, price)
        for stop in self.due():
            self._fire(stop, seq, self.mark(stop.terms))

    def _enter_bars(self, instrument: int, price: Fraction | None) -> None:
        for (owner, _, _), series in self.series.items():
            if owner == instrument and price is not None:
                series.add(self.now_ns, price)

    def _fire(self, stop: Stop, seq: int, price: int | None) -> None:
        stop.trigger = Trigger(stop.terms.stop_id, seq, self.now_ns, price, stop.level)
        self.triggers.append(stop.trigger)
        self.drop(stop.terms.stop_id)


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
