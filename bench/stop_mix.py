"""Stops as a book would hold them, and the ticks that they watch; what is drawn, and why, is told in bench.stops."""

from typing import NamedTuple

import numpy as np

from bench.prices import Prices
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
    TRADE,
    TRAILING,
)
from pipeline.tables import STOP_TERMS

PPM = 1_000_000
#: 100,000.00 in hundredths: a tick is 0.1 parts per million, so that steps and distances have any size.
FIRST_PRICE_TICKS, SPREAD_TICKS = 10_000_000, 100
#: Start of a bar.
FIRST_EVENT_NS = 1_767_623_400_000_000_000
BAR_NS, ATR_PERIOD = 60_000_000_000, 14
#: One tick in so many is a trade, at the bid.
TRADE_EVERY = 5
#: On a trend the bid gains up to so many ticks with each quote.
TREND_TICKS = 10
#: True range of n steps of a walk in standard deviations of a step, times the root of n: its expected range (Feller 1951).
RANGE_OF_WALK = 1.596

#: What the n-th stop of an instrument is; the first four are what an instrument with four has, or the next four.
KINDS = (TRAILING, STATIC, CHANDELIER, TAKE_PROFIT, TRAILING, STATIC, ATR, TRAILING, STATIC, TAKE_PROFIT)
#: Distances from the price, profits that wake a stop or bring it to its entry, and how far entries lie about the first price.
DISTANCE_PPM, PROFIT_PPM, ENTRY_PPM = (20_000, 100_000), (5_000, 30_000), 10_000


class Case(NamedTuple):
    """How many stops, and what becomes of prices."""

    instruments: int
    stops_each: int
    step_ticks: int  #: of the walk: each tick moves the price by up to so many
    bar_ticks: int  #: ticks of an instrument in a bar
    nearness: float = 1.0  #: 0.1 = all distances are a tenth: many stops fire

    @property
    def stops(self) -> int:
        """How many in all."""
        return self.instruments * self.stops_each

    @property
    def first_atr(self) -> float:
        """Average true range of the walk's bars as it is to be expected, in half ticks."""
        sigma_ticks = self.step_ticks / np.sqrt(3.0)
        return float(2.0 * RANGE_OF_WALK * sigma_ticks * np.sqrt(self.bar_ticks))


def _between(rng: np.random.Generator, bounds: tuple[int, int], count: int, nearness: float) -> np.ndarray:
    """Return parts per million, the small ones as often as the large: even on a scale of logarithms."""
    return np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]), count)) * nearness


def _blank(case: Case) -> np.ndarray:
    """Return STOP_TERMS of stops that have an instrument, a position of their own and the first price as entry."""
    number = np.arange(case.stops)
    terms = np.zeros(case.stops, STOP_TERMS)
    # In turns, as stops come in: those of one instrument lie far apart.
    terms["instrument"] = terms["series"] = number % case.instruments
    terms["position"] = number
    terms["entry_ticks"], terms["entry_ns"] = FIRST_PRICE_TICKS, FIRST_EVENT_NS - 1
    return terms


def draw_mix(case: Case, rng: np.random.Generator) -> np.ndarray:
    """Return the stops of the walk as STOP_TERMS, complete but for their ids; MID ones in half ticks."""
    terms, count, near = _blank(case), case.stops, case.nearness
    number = np.arange(count)
    place = (number // case.instruments + case.stops_each * (number % case.instruments)) % len(KINDS)
    kind, side = np.array(KINDS)[place], rng.choice([LONG, SHORT], count)
    watch = rng.choice([BID_ASK, LAST, MID], count, p=[0.6, 0.2, 0.2])
    unit = np.where(watch == MID, 2, 1)
    away = near * rng.uniform(-ENTRY_PPM, ENTRY_PPM, count) / PPM
    entry = np.rint(FIRST_PRICE_TICKS * (1 + away)).astype(np.int64) * unit
    percent = _between(rng, DISTANCE_PPM, count, near)
    distance = np.rint(percent * FIRST_PRICE_TICKS / PPM).astype(np.int64) * unit
    is_even, is_other = rng.random(count) < 0.2, rng.random(count) < 0.5
    terms["kind"], terms["side"], terms["watch"], terms["entry_ticks"] = kind, side, watch, entry
    has_offset = (kind == TRAILING) & is_other
    has_price = (kind == STATIC) & is_other
    terms["offset_ticks"] = np.where(has_offset, distance, 0)
    terms["price_ticks"] = np.where(has_price, entry - side * distance, 0)
    terms["percent_ppm"] = np.where(has_offset | has_price, 0, percent)
    is_atr = (kind == ATR) | (kind == CHANDELIER)
    terms["atr_ppm"] = np.where(is_atr, 2.0 * percent * FIRST_PRICE_TICKS / case.first_atr, 0)
    terms["breakeven_ppm"] = np.where((kind != TAKE_PROFIT) & is_even, _between(rng, PROFIT_PPM, count, near), 0)
    wakes = (kind == TRAILING) & (rng.random(count) < 0.25)
    terms["activation_ppm"] = np.where(wakes, _between(rng, PROFIT_PPM, count, near), 0)
    return terms


def draw_trailing(case: Case, rng: np.random.Generator) -> np.ndarray:
    """Return the stops of the trend as STOP_TERMS: trailing, half by percent and half by offset, a quarter by the mid."""
    terms, count = _blank(case), case.stops
    percent = _between(rng, DISTANCE_PPM, count, case.nearness)
    has_offset = rng.random(count) < 0.5
    watch = rng.choice([BID_ASK, MID], count, p=[0.75, 0.25])
    unit = np.where(watch == MID, 2, 1)
    terms["kind"], terms["watch"], terms["side"] = TRAILING, watch, sides_of_trend(case)[terms["instrument"]]
    terms["entry_ticks"] *= unit
    terms["percent_ppm"] = np.where(has_offset, 0, percent)
    terms["offset_ticks"] = np.where(has_offset, np.rint(percent * FIRST_PRICE_TICKS / PPM).astype(np.int64) * unit, 0)
    return terms


def sides_of_trend(case: Case) -> np.ndarray:
    """Return which side gains in each instrument: every other one falls."""
    return np.where(np.arange(case.instruments) % 2 == 0, LONG, SHORT)


class Stream:
    """The ticks of a case, piece by piece: all of them accepted, of instruments at random.

    Args:
        case: The case.
        trends: Every tick a gain of its instrument's side instead of a walk.
        rng: What is drawn from.
    """

    def __init__(self, case: Case, trends: bool, rng: np.random.Generator) -> None:
        self.case, self.trends, self.rng = case, trends, rng
        self.sides = sides_of_trend(case)
        self.prices = Prices(case.instruments, FIRST_PRICE_TICKS)
        self.tick_ns = BAR_NS // (case.bar_ticks * case.instruments)
        self.event_ns = FIRST_EVENT_NS

    def next_ticks(self, count: int) -> np.ndarray:
        """Return the next ticks as a TICK array; their receipt is left open."""
        case, rng = self.case, self.rng
        instruments = rng.integers(0, case.instruments, count, dtype=np.uint16)
        if self.trends:
            steps = rng.integers(1, TREND_TICKS + 1, count) * self.sides[instruments]
            is_trade = np.zeros(count, np.bool_)
        else:
            steps = rng.integers(-case.step_ticks, case.step_ticks + 1, count)
            is_trade = rng.integers(0, TRADE_EVERY, count) == 0
        bids = self.prices.move(instruments, steps)
        ticks = np.zeros(count, TICK)
        ticks["event_ns"] = self.event_ns + self.tick_ns * np.arange(count)
        ticks["instrument"], ticks["kind"] = instruments, np.where(is_trade, TRADE, QUOTE)
        ticks["a"], ticks["b"] = bids, np.where(is_trade, 1, bids + SPREAD_TICKS)
        self.event_ns += self.tick_ns * count
        return ticks
