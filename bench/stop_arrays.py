"""The same stops as numpy arrays, some for each instrument. Exact; prices are signed as in bench.stop_objects.

Stops that follow trades have arrays of their own, so that a tick looks only at those that it can move.
"""

from collections.abc import Iterable

import numpy as np

from bench.stop_mix import PPM, Case
from bench.stop_objects import NEVER, AtrSeries, TickTuple
from pipeline.messages import ATR, CHANDELIER, LAST, LONG, MID, QUOTE, STATIC, TAKE_PROFIT, TRAILING


class StopArrays:
    """Stops of one instrument that the same kind of tick moves, as arrays; prices are signed."""

    def __init__(self, ids: np.ndarray, terms: np.ndarray, series: AtrSeries) -> None:
        kind, self.side, self.watch = terms["kind"], terms["side"].astype(np.int64), terms["watch"]
        self.ids, self.is_alive = ids, np.ones(len(ids), np.bool_)
        #: Which of bid, minus ask, mid, minus mid (or price, minus price) each one follows.
        self.follows = 2 * (self.watch == MID) + (self.side != LONG)
        self.entry = self.side * terms["entry_ticks"]
        self.best = self.entry.copy()
        is_percent = (kind == TRAILING) & (terms["offset_ticks"] == 0)
        self.percent_ppm = np.where(is_percent, terms["percent_ppm"], 0).astype(np.int64)
        self.distance = np.where(is_percent, 0, np.where(kind == TRAILING, terms["offset_ticks"], NEVER))
        given, share = self.side * terms["price_ticks"], self.share(terms["percent_ppm"])
        self.level = np.where(kind == STATIC, np.where(given != 0, given, self.entry - share), -NEVER)
        self.target = np.where(kind == TAKE_PROFIT, self.entry + share, NEVER)
        self.is_awake = terms["activation_ppm"] == 0
        self.wakes_at = self.entry + self.share(terms["activation_ppm"])
        self.even_at = np.where(terms["breakeven_ppm"] > 0, self.entry + self.share(terms["breakeven_ppm"]), NEVER)
        self.atr_ppm = terms["atr_ppm"].astype(np.int64)
        self.trailing_atr, self.fixed_atr = np.flatnonzero(kind == CHANDELIER), np.flatnonzero(kind == ATR)
        self.close_bar(series)

    def share(self, ppm: np.ndarray) -> np.ndarray:
        """Return parts per million of the best prices, rounded up."""
        return -(-np.abs(self.best) * ppm.astype(np.int64) // PPM)

    def close_bar(self, series: AtrSeries) -> None:
        """Move what depends on the average true range."""
        for k in self.trailing_atr:
            self.distance[k] = series.distance(int(self.atr_ppm[k]), int(self.watch[k]))
        for k in self.fixed_atr:
            below = self.entry[k] - series.distance(int(self.atr_ppm[k]), int(self.watch[k]))
            self.level[k] = max(self.level[k], below)
        # A chandelier's level moves at once, as that of any that trails.
        self.trail()

    def trail(self) -> None:
        """Raise the levels to their distance from the best prices."""
        np.maximum(self.level, self.best - self.distance - self.share(self.percent_ppm), out=self.level)

    def update(self, shown: list[int]) -> np.ndarray:
        """Move with a price, and return the places of the stops that it fires."""
        price = np.array(shown)[self.follows]
        if (price > self.best).any():
            np.maximum(self.best, price, out=self.best)
            self.trail()
            np.maximum(self.level, self.entry, out=self.level, where=self.best >= self.even_at)
            self.is_awake |= self.best >= self.wakes_at
        fires = ((price <= self.level) | (price >= self.target)) & self.is_awake & self.is_alive
        hit = np.flatnonzero(fires)
        self.is_alive[hit] = False
        return hit


class NumpyManager:
    """A dict of instruments, arrays of their stops each; arguments as of StopManager."""

    def __init__(self, case: Case, terms: np.ndarray) -> None:
        self.series = {instrument: AtrSeries(case.first_atr) for instrument in range(case.instruments)}
        self.stops: dict[int, tuple[StopArrays, StopArrays]] = {}
        for instrument, series in self.series.items():
            # Stop n is of instrument n modulo their number.
            own = np.arange(instrument, case.stops, case.instruments)
            is_trade = terms["watch"][own] == LAST
            quoted, traded = own[~is_trade], own[is_trade]
            self.stops[instrument] = (
                StopArrays(quoted + 1, terms[quoted], series),
                StopArrays(traded + 1, terms[traded], series),
            )

    def take(self, ticks: Iterable[TickTuple]) -> list[tuple[int, int, int]]:
        """Take ticks; see StopManager.take."""
        fired = []
        for place, (now_ns, instrument, kind, first, second) in enumerate(ticks):
            series, (quoted, traded) = self.series[instrument], self.stops[instrument]
            if now_ns >= series.end_ns:
                series.close_bar()
                quoted.close_bar(series)
                traded.close_bar(series)
            if kind == QUOTE:
                moved, shown = quoted, [first, -second, first + second, -first - second]
            else:
                series.enter(now_ns, 2 * first)
                moved, shown = traded, [first, -first]
            if len(moved.ids) == 0:
                continue
            for k in moved.update(shown):
                level = moved.level[k] if moved.target[k] == NEVER else moved.target[k]
                fired.append((place, int(moved.ids[k]), int(moved.side[k] * level)))
        return fired
