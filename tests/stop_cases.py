"""Stops and ticks to try the stop engine with: hypothesis strategies for small cases, and random stops for a real recording.

Rejected ticks carry tempting prices: whoever uses one fires every stop there is. Nothing here is out of what the engine takes:
prices below 2**42 ticks, percents from 1 to 990,000 ppm, whole seconds for bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import numpy as np

from pipeline.instruments import Instruments
from pipeline.messages import (
    ATR,
    BID_ASK,
    CHANDELIER,
    LAST,
    LONG,
    MID,
    NON_FINITE,
    PRICE_TICKS_LIMIT,
    QUOTE,
    SHORT,
    STATIC,
    STATUS,
    TAKE_PROFIT,
    TICK,
    TICK_BAD_TIME,
    TICK_CROSSED,
    TICK_NON_FINITE,
    TICK_NOT_POSITIVE,
    TICK_OK,
    TICK_OLD_SEQUENCE,
    TICK_OUT_OF_BOUNDS,
    TICK_QUARANTINED,
    TICK_STALE,
    TICK_UNKNOWN_INSTRUMENT,
    TICK_UNKNOWN_KIND,
    TIME,
    TIMER,
    TRADE,
    TRAILING,
)
from tests.atr_oracle import ATR_SOURCES
from tests.stop_oracle import StopTerms
from tests.stop_twin_numpy import Market

KINDS = (STATIC, TRAILING, ATR, CHANDELIER, TIME, TAKE_PROFIT)
WATCHES = (BID_ASK, LAST, MID)
#: Kinds that get activation and breakeven here.
MODIFIED_KINDS = (STATIC, TRAILING, ATR, CHANDELIER)
SECOND, MS = 10**9, 10**6
PPM, PPM_MAX = 10**6, 990_000
#: The configured default_stop_percent, which a file of stops does not name.
FALLBACK_PPM = 20_000
#: Stream time at which paths begin: the start of a bar of any length here.
START_NS = 1_700_000_000 * SECOND

# ── Small cases ──────────────────────────────────────────────────────────────────────────────────────────────────────────

REJECTED = "rejected"
EVENTS = (QUOTE, TRADE, QUOTE, TRADE, QUOTE, TIMER, STATUS, REJECTED)
REASONS = (
    TICK_CROSSED, TICK_NON_FINITE, TICK_NOT_POSITIVE, TICK_OUT_OF_BOUNDS, TICK_UNKNOWN_INSTRUMENT, TICK_UNKNOWN_KIND,
    TICK_BAD_TIME, TICK_QUARANTINED, TICK_OLD_SEQUENCE, TICK_STALE,
)  # fmt: skip
#: Times from stream time to a tick's own, one row for a path: none, usual, gaps over bars, backwards. With the first, ticks
#: come at the very ends of bars.
ELAPSED_NS = (
    (0, 250 * MS, 500 * MS, SECOND, 2 * SECOND, 6 * SECOND, -250 * MS, -2 * SECOND),
    (0, 1, 40 * MS, 999 * MS, 1_500 * MS, 10 * SECOND, -1, -300 * MS),
)
FIRST_PRICES = (1_000, 20, 100_000, 2**31 + 7, 2**41)
#: Largest steps of a path. Small enough that float64 knows a multiple of an ATR to 1e-9.
STEPS_MAX = (3, 40, 3_000)
BARS_NS = (SECOND, 2 * SECOND, 5 * SECOND)
MULTIPLIERS_PPM = (1_000_000, 500_000, 2_500_000, 333_333, 1, 10_000_000)
BETWEEN = (Fraction(0), Fraction(1, 2), Fraction(1, 4), Fraction(-1, 3), Fraction(1, 10**6))


@dataclass(frozen=True)
class StopCase:
    """One example: ticks with their flags set, how many instruments there are, stops, and what bars are made of."""

    ticks: np.ndarray
    instrument_count: int
    terms: list[StopTerms]
    atr_source: str


@st.composite
def paths(draw: st.DrawFn, instrument_count: int = 1, tick_count_max: int = 60) -> np.ndarray:
    """Draw a stream of ticks of all kinds, accepted and rejected, as hygiene hands it on."""
    prices = [draw(st.sampled_from(FIRST_PRICES)) for _ in range(instrument_count)]
    step_max, elapsed = draw(st.sampled_from(STEPS_MAX)), draw(st.sampled_from(ELAPSED_NS))
    now_ns = event_ns = START_NS
    # A byte for each choice of a tick: one draw instead of five, and hypothesis draws bytes evenly.
    choices: tuple[Sequence[Any], ...] = (EVENTS, range(instrument_count), elapsed, range(4), REASONS)
    move = st.tuples(st.binary(min_size=len(choices), max_size=len(choices)), st.integers(-step_max, step_max))
    # Without a least size most lists would be short, and few series ready.
    size_min = min(draw(st.sampled_from((1, 12, 40))), tick_count_max)
    rows = []
    for code, step in draw(st.lists(move, min_size=size_min, max_size=tick_count_max)):
        chosen: list[Any] = [choice[byte % len(choice)] for choice, byte in zip(choices, code, strict=True)]
        event, instrument, elapsed_ns, gap, reason = chosen
        if event != REJECTED or reason != TICK_BAD_TIME:
            # A tick without a time of its own carries the last good one.
            event_ns = now_ns + elapsed_ns
            now_ns = max(now_ns, event_ns)
        if event == REJECTED:
            kind, owner, a, b = rejected(reason, instrument, prices[instrument], step, instrument_count)
            rows.append((event_ns, 0, 0, owner, kind, reason, 0, a, b, 100, 100))
        elif event in (TIMER, STATUS):
            rows.append((event_ns, 0, 0, 0, event, TICK_OK, 0, 0, 0, 0, 0))
        else:
            price = prices[instrument] = min(max(prices[instrument] + step, 1), PRICE_TICKS_LIMIT - 4)
            second = price + gap if event == QUOTE else 100
            rows.append((event_ns, 0, 0, instrument, event, TICK_OK, 0, price, second, 100, 100))
    return np.array(rows, TICK)


def rejected(reason: int, instrument: int, price: int, step: int, instrument_count: int) -> tuple[int, int, int, int]:
    """Return kind, instrument, a and b of a tick that was rejected for this reason."""
    low, high = max(price // 2, 1), min(2 * price, PRICE_TICKS_LIMIT - 1)
    tempting_trade = low if step < 0 else high
    quote, trade = (QUOTE, instrument, low, high), (TRADE, instrument, tempting_trade, 100)
    bad_prices = {
        TICK_CROSSED: (QUOTE, instrument, high, low),
        TICK_NON_FINITE: (QUOTE, instrument, NON_FINITE, high),
        TICK_NOT_POSITIVE: (TRADE, instrument, 0, 100) if step < 0 else (QUOTE, instrument, -price, high),
        TICK_OUT_OF_BOUNDS: (TRADE, instrument, PRICE_TICKS_LIMIT, 100),
        TICK_UNKNOWN_INSTRUMENT: (QUOTE, instrument_count + instrument, low, high),
        TICK_UNKNOWN_KIND: (9, instrument, low, high),
        TICK_STALE: trade,
    }
    return bad_prices.get(reason, quote if step % 2 else trade)


def prices_of(ticks: np.ndarray, instrument: int) -> list[int]:
    """Return the accepted prices of an instrument, in ticks, in order; something where there are none."""
    found: list[int] = []
    for kind, a, b in ticks[(ticks["flags"] == TICK_OK) & (ticks["instrument"] == instrument)][["kind", "a", "b"]].tolist():
        found += [a, b] if kind == QUOTE else [a] if kind == TRADE else []
    return found or [1_000]


def aimed_entry(side: int, level: int, ppm: int) -> int:
    """Return an entry price whose level at this percent is about the given one."""
    return min(max(level * PPM // (PPM - side * ppm), 1), PRICE_TICKS_LIMIT - 1)


@st.composite
def stops(draw: st.DrawFn, ticks: np.ndarray, instrument_count: int, stop_id: int) -> StopTerms:
    """Draw a stop of any kind, near the prices of a path and armed before, in or after it."""
    instrument = draw(st.integers(0, instrument_count - 1))
    kind, side, watch = draw(st.sampled_from(KINDS)), draw(st.sampled_from((LONG, SHORT))), draw(st.sampled_from(WATCHES))
    price = st.sampled_from(prices_of(ticks, instrument))
    now_ns = np.maximum.accumulate(ticks["event_ns"])
    # Early more often than late, so that there is a path to go.
    place = draw(st.integers(0, draw(st.sampled_from((0, len(ticks) // 2, len(ticks) - 1)))))
    entry_ns = int(now_ns[place]) + draw(st.sampled_from((0, -60 * SECOND, -1, 1, 0, -SECOND, 60 * SECOND)))
    percent_ppm = draw(st.one_of(st.sampled_from((20_000, 1, 1_000, PPM_MAX)), st.integers(1, PPM_MAX)))
    entry = draw(price) + draw(st.integers(-3, 3))
    if draw(st.booleans()):
        entry = aimed_entry(-side if kind == TAKE_PROFIT else side, draw(price), percent_ppm)
    entry = min(max(entry, 1), PRICE_TICKS_LIMIT - 1)
    one = StopTerms(stop_id, instrument, kind, side, watch, entry, entry_ns)
    if kind == TIME:
        deadline_ns = int(now_ns[draw(st.integers(0, len(ticks) - 1))]) + draw(st.sampled_from((0, 1, SECOND)))
        return replace(one, holding_ns=max(deadline_ns - entry_ns, 1))
    if kind in MODIFIED_KINDS:
        one = draw(modified(one, price))
    if kind in (ATR, CHANDELIER):
        one = replace(one, percent_ppm=draw(st.sampled_from((0, percent_ppm, 0))), fallback_ppm=FALLBACK_PPM)
        one = replace(one, atr_period=draw(st.integers(1, 4)), bar_ns=draw(st.sampled_from(BARS_NS)))
        return replace(one, atr_ppm=draw(st.sampled_from(MULTIPLIERS_PPM)))
    if kind != TRAILING and draw(st.booleans()):
        return replace(one, price=max(draw(price) + draw(st.sampled_from(BETWEEN)), Fraction(1, 4)))
    if kind == TRAILING and draw(st.booleans()):
        one = replace(one, price=max(draw(price) - side * 3 + draw(st.sampled_from(BETWEEN)), Fraction(1, 4)))
    if kind == TRAILING and draw(st.booleans()):
        halves = draw(st.integers(1, 120))
        return replace(one, offset_ticks=Fraction(halves, 2) if watch == MID else halves)
    return replace(one, percent_ppm=percent_ppm)


@st.composite
def modified(draw: st.DrawFn, one: StopTerms, price: st.SearchStrategy[int]) -> StopTerms:
    """Draw activation and breakeven of a stop, at profits that prices of the path make."""
    for name in draw(st.sampled_from(((), ("activation_ppm",), ("breakeven_ppm",), ("activation_ppm", "breakeven_ppm")))):
        goal = draw(price)
        if one.side * (goal - one.entry_ticks) < 0:
            one, goal = replace(one, entry_ticks=goal), one.entry_ticks
        profit_ppm = min(abs(goal - one.entry_ticks) * PPM // one.entry_ticks, PPM_MAX)
        one = replace(one, activation_ppm=profit_ppm) if name == "activation_ppm" else replace(one, breakeven_ppm=profit_ppm)
    return one


@st.composite
def cases(draw: st.DrawFn, stop_count_max: int = 10, tick_count_max: int = 60) -> StopCase:
    """Draw a path over one to three instruments, and stops on it."""
    instrument_count = draw(st.integers(1, 3))
    ticks = draw(paths(instrument_count, tick_count_max))
    ids = range(1, draw(st.integers(1, stop_count_max)) + 1)
    terms = [draw(stops(ticks, instrument_count, stop_id)) for stop_id in ids]
    return StopCase(ticks, instrument_count, terms, draw(st.sampled_from(ATR_SOURCES)))


# ── Stops of a real recording ────────────────────────────────────────────────────────────────────────────────────────────

#: Of the stops whose distance can be chosen by what the market does later, so many get one that it reaches.
FIRING_SHARE = 0.65
#: Within min_stop_percent and max_stop_percent as shipped, 0.1% and 20%.
DISTANCE_PPM_MIN, DISTANCE_PPM_MAX = 1_000, 190_000
RECORDING_MULTIPLIERS_PPM = (500_000, 1_000_000, 2_500_000, 4_000_000, 8_000_000, 20_000_000, 50_000_000)
RECORDING_PERIODS = (2, 5, 14)
RECORDING_BARS_NS = (5 * SECOND, 15 * SECOND, 60 * SECOND, 300 * SECOND)


@dataclass(frozen=True)
class Moment:
    """A moment at which a position could be opened: the price then, and how far the price goes either way until the end."""

    seq: int
    price: int
    loss: int
    profit: int


class Moments:
    """The moments of a recording, drawn at random.

    Args:
        ticks: TICK array whose "flags" hygiene has set.
        rng: seeded.
    """

    def __init__(self, ticks: np.ndarray, rng: np.random.Generator) -> None:
        self.market, self._rng = Market(ticks), rng
        self._extremes: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}

    def draw(self, instrument: int, watch: int, side: int) -> Moment | None:
        """Draw one from the first nine tenths of the prices of a watch, in ticks; None where it has no prices."""
        seqs, prices = self.market.column(instrument, watch, side)
        if len(seqs) == 0:
            return None
        if (instrument, watch, side) not in self._extremes:
            later = prices[::-1]
            ends = np.minimum.accumulate(later)[::-1], np.maximum.accumulate(later)[::-1]
            self._extremes[instrument, watch, side] = ends if side == LONG else ends[::-1]
        worst, best = self._extremes[instrument, watch, side]
        unit = 2 if watch == MID else 1
        place = int(self._rng.integers(0, max(len(seqs) * 9 // 10, 1)))
        price = int(prices[place]) // unit
        loss, profit = (abs(int(ends[place]) // unit - price) for ends in (worst, best))
        return Moment(int(seqs[place]), price, loss, profit)


def random_stops(ticks: np.ndarray, instruments: Instruments, count: int, seed: int) -> list[StopTerms]:
    """Return stops of all kinds in turn, both sides, all watches and modifiers, entered near the market at their time.

    They are as tools/backtest.py takes them with the shipped settings: distances within min_stop_percent and max_stop_percent
    on the losing side, whole seconds, prices that decimals can write.

    Args:
        ticks: TICK array of a recording whose "flags" hygiene has set.
        instruments: its table.
        count: how many.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    moments = Moments(ticks, rng)
    last_ns = int(moments.market.now_ns[-1])
    found: list[StopTerms] = []
    # A draw without prices of its watch is one in vain; an instrument without any has no stops.
    for _ in range(20 * count):
        if len(found) == count:
            break
        kind, side = KINDS[len(found) % len(KINDS)], LONG if rng.random() < 0.5 else SHORT
        instrument, watch = int(rng.integers(0, len(instruments))), int(rng.choice(WATCHES))
        moment = moments.draw(instrument, watch, side)
        if moment is not None:
            entry_ns = int(moments.market.now_ns[moment.seq]) + int(rng.choice((0, 0, 1, -1, 250 * MS)))
            entry = max(moment.price + int(rng.integers(-2, 3)), 1)
            one = StopTerms(len(found) + 1, instrument, kind, side, watch, entry, entry_ns)
            found.append(_with_distance(one, moment, last_ns - entry_ns, rng))
    return found


def _with_distance(one: StopTerms, moment: Moment, left_ns: int, rng: np.random.Generator) -> StopTerms:
    """Give a stop its distance, and the modifiers of its kind."""
    if one.kind in MODIFIED_KINDS:
        reachable = [int(moment.profit * rng.uniform(0.05, 1.0) * PPM / one.entry_ticks) for _ in range(2)]
        activation_ppm, breakeven_ppm = (min(ppm, PPM_MAX) if rng.random() < 0.3 else 0 for ppm in reachable)
        one = replace(one, activation_ppm=activation_ppm, breakeven_ppm=breakeven_ppm)
    if one.kind == TIME:
        return replace(one, holding_ns=max(int(left_ns * rng.uniform(0, 1.6)) // SECOND, 1) * SECOND)
    reach = moment.profit if one.kind == TAKE_PROFIT else moment.loss
    if one.kind == TRAILING:
        reach = moment.profit + moment.loss
    wish = reach * (rng.uniform(0.05, 1.0) if rng.random() < FIRING_SHARE else rng.uniform(1.05, 2.0)) + 1
    ppm = min(max(int(wish * PPM / one.entry_ticks), DISTANCE_PPM_MIN), DISTANCE_PPM_MAX)
    if one.kind in (ATR, CHANDELIER):
        multiplier, period, bar_ns = (
            int(rng.choice(values)) for values in (RECORDING_MULTIPLIERS_PPM, RECORDING_PERIODS, RECORDING_BARS_NS)
        )
        own_ppm = ppm if rng.random() < 0.5 else 0
        one = replace(one, percent_ppm=own_ppm, fallback_ppm=FALLBACK_PPM)
        return replace(one, atr_ppm=multiplier, atr_period=period, bar_ns=bar_ns)
    distance = one.entry_ticks * ppm // PPM + 2
    between = Fraction(int(rng.integers(1, 4)), 4) if rng.random() < 0.3 else 0
    if one.kind == TRAILING:
        if rng.random() < 0.3:
            # Now tighter than what is trailed from the start, and now wider.
            nearest, farthest = (one.entry_ticks * bound // PPM for bound in (DISTANCE_PPM_MIN, DISTANCE_PPM_MAX))
            first = min(max(int(distance * rng.uniform(0.4, 1.5)), nearest + 2), farthest)
            one = replace(one, price=one.entry_ticks - one.side * (first - between))
        return replace(one, offset_ticks=distance) if rng.random() < 0.5 else replace(one, percent_ppm=ppm)
    if rng.random() < 0.5:
        return replace(one, percent_ppm=ppm)
    away = -one.side if one.kind == STATIC else one.side
    return replace(one, price=one.entry_ticks + away * (distance + between))
