"""The same stops as a dict of plain Python objects: exact, and a level is worked out only at a new best price.

Prices are signed, a SHORT stop's negated: best is the largest, and a stop fires at or below its level.
"""

from collections.abc import Iterable

import numpy as np

from bench.stop_mix import ATR_PERIOD, BAR_NS, FIRST_PRICE_TICKS, PPM, Case
from pipeline.messages import BID_ASK, CHANDELIER, LAST, LONG, MID, QUOTE, STATIC, TAKE_PROFIT, TRAILING

NEVER = 1 << 62
#: Event time, instrument, kind, and the two prices of a tick.
TickTuple = tuple[int, int, int, int, int]


def share_of(price: int, ppm: int) -> int:
    """Return parts per million of a price, rounded up."""
    return -(-abs(price) * ppm // PPM)


class AtrSeries:
    """Average true range of one instrument's trades, in half ticks, ready from the start."""

    def __init__(self, first_atr: float) -> None:
        self.atr, self.previous = first_atr, 2 * FIRST_PRICE_TICKS
        self.end_ns = NEVER
        self.high = self.low = self.close = 0

    def enter(self, now_ns: int, price: int) -> None:
        """Let a price enter the open bar."""
        if self.end_ns == NEVER:
            self.end_ns = (now_ns // BAR_NS + 1) * BAR_NS
            self.high = self.low = price
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price

    def close_bar(self) -> None:
        """Let the open bar enter the average."""
        true_range = max(self.high - self.low, abs(self.high - self.previous), abs(self.low - self.previous))
        self.atr = (self.atr * (ATR_PERIOD - 1) + true_range) / ATR_PERIOD
        self.previous, self.end_ns = self.close, NEVER

    def distance(self, atr_ppm: int, watch: int) -> int:
        """Return a multiple of it in units of a watch, rounded up; nearly whole counts as whole."""
        exact = atr_ppm * self.atr / PPM / (1 if watch == MID else 2)
        nearest = int(exact + 0.5)
        return nearest if abs(exact - nearest) <= 1e-9 * max(1.0, exact) else int(exact) + 1


class PlainStop:
    """A static stop or a target, and what all kinds share."""

    def __init__(self, stop_id: int, terms: np.void) -> None:
        self.stop_id, self.side, self.watch = stop_id, int(terms["side"]), int(terms["watch"])
        self.entry = self.best = self.side * int(terms["entry_ticks"])
        self.level, self.target = -NEVER, NEVER
        activation, breakeven = int(terms["activation_ppm"]), int(terms["breakeven_ppm"])
        self.is_awake, self.wakes_at = activation == 0, self.entry + share_of(self.entry, activation)
        self.even_at = self.entry + share_of(self.entry, breakeven) if breakeven else NEVER

    def update(self, price: int) -> bool:
        """Move with a price, and tell whether it fires the stop."""
        price *= self.side
        if price > self.best:
            self.best = price
            self.follow()
            if price >= self.even_at:
                self.level = max(self.level, self.entry)
            if price >= self.wakes_at:
                self.is_awake = True
        return self.is_awake and (price <= self.level or price >= self.target)

    def follow(self) -> None:
        """Move the level with a new best price."""

    def close_bar(self, series: AtrSeries) -> None:
        """Move the level with a new average true range."""


class StaticStop(PlainStop):
    """Stays where it is set."""

    def __init__(self, stop_id: int, terms: np.void) -> None:
        super().__init__(stop_id, terms)
        given = self.side * int(terms["price_ticks"])
        self.level = given or self.entry - share_of(self.entry, int(terms["percent_ppm"]))


class TakeProfit(PlainStop):
    """Fires at its target."""

    def __init__(self, stop_id: int, terms: np.void) -> None:
        super().__init__(stop_id, terms)
        self.target = self.entry + share_of(self.entry, int(terms["percent_ppm"]))


class PercentStop(PlainStop):
    """Trails by a percentage."""

    def __init__(self, stop_id: int, terms: np.void) -> None:
        super().__init__(stop_id, terms)
        self.percent_ppm = int(terms["percent_ppm"])
        self.follow()

    def follow(self) -> None:
        """Keep the distance."""
        self.level = max(self.level, self.best - share_of(self.best, self.percent_ppm))


class OffsetStop(PlainStop):
    """Trails by a fixed distance; by multiples of an average true range it is a chandelier."""

    def __init__(self, stop_id: int, terms: np.void, distance: int) -> None:
        super().__init__(stop_id, terms)
        self.distance, self.atr_ppm = distance, int(terms["atr_ppm"])
        self.follow()

    def follow(self) -> None:
        """Keep the distance."""
        self.level = max(self.level, self.best - self.distance)

    def close_bar(self, series: AtrSeries) -> None:
        """Take the new distance."""
        if self.atr_ppm > 0:
            self.distance = series.distance(self.atr_ppm, self.watch)
            self.follow()


class AtrStop(PlainStop):
    """Lies below its entry by multiples of an average true range, as near as that ever was."""

    def __init__(self, stop_id: int, terms: np.void, distance: int) -> None:
        super().__init__(stop_id, terms)
        self.atr_ppm, self.level = int(terms["atr_ppm"]), self.entry - distance

    def close_bar(self, series: AtrSeries) -> None:
        """Tighten, if the new distance does."""
        self.level = max(self.level, self.entry - series.distance(self.atr_ppm, self.watch))


def plain_stop(stop_id: int, terms: np.void, series: AtrSeries) -> PlainStop:
    """Return the object of a stop."""
    kind = int(terms["kind"])
    if kind == STATIC:
        return StaticStop(stop_id, terms)
    if kind == TAKE_PROFIT:
        return TakeProfit(stop_id, terms)
    if kind == TRAILING and terms["offset_ticks"] == 0:
        return PercentStop(stop_id, terms)
    if kind == TRAILING:
        return OffsetStop(stop_id, terms, int(terms["offset_ticks"]))
    distance = series.distance(int(terms["atr_ppm"]), int(terms["watch"]))
    return OffsetStop(stop_id, terms, distance) if kind == CHANDELIER else AtrStop(stop_id, terms, distance)


class StopManager:
    """A dict of instruments, a list of objects each: what a plain Python program has.

    Args:
        case: The case.
        terms: Its stops; the n-th has the id n + 1.
    """

    def __init__(self, case: Case, terms: np.ndarray) -> None:
        self.series = {instrument: AtrSeries(case.first_atr) for instrument in range(case.instruments)}
        self.stops: dict[int, list[PlainStop]] = {instrument: [] for instrument in range(case.instruments)}
        for number, instrument in enumerate(terms["instrument"].tolist()):
            self.stops[instrument].append(plain_stop(number + 1, terms[number], self.series[instrument]))

    def take(self, ticks: Iterable[TickTuple]) -> list[tuple[int, int, int]]:
        """Take ticks, and return (place of the tick, stop id, level) of each stop that fires, which is forgotten."""
        fired = []
        for place, (now_ns, instrument, kind, first, second) in enumerate(ticks):
            series = self.series[instrument]
            if now_ns >= series.end_ns:
                series.close_bar()
                for stop in self.stops[instrument]:
                    stop.close_bar(series)
            if kind == QUOTE:
                hit = self.on_quote(instrument, first, second)
            else:
                series.enter(now_ns, 2 * first)
                hit = self.on_trade(instrument, first)
            for stop in hit:
                fired.append((place, stop.stop_id, stop.side * (stop.level if stop.target == NEVER else stop.target)))
                self.stops[instrument].remove(stop)
        return fired

    def on_quote(self, instrument: int, bid: int, ask: int) -> list[PlainStop]:
        """Return the stops that a quote fires."""
        hit = []
        for stop in self.stops[instrument]:
            if stop.watch == BID_ASK:
                if stop.update(bid if stop.side == LONG else ask):
                    hit.append(stop)
            elif stop.watch == MID and stop.update(bid + ask):
                hit.append(stop)
        return hit

    def on_trade(self, instrument: int, price: int) -> list[PlainStop]:
        """Return the stops that a trade fires."""
        return [stop for stop in self.stops[instrument] if stop.watch == LAST and stop.update(price)]
