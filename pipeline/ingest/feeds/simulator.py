"""A simulated market: geometric Brownian motion per instrument, quotes and trades, and scenarios laid over it.

The same settings give the same ticks, byte for byte, on every machine and however the stream is cut into chunks: see
`draws` for how. The path S of an instrument follows dS = S sigma dW, stepped from one of its quotes to the next as
S ← S (1 + sigma √Δt z), z standard normal, which has no drift. Volatility is annual; a year is 252 sessions of 6.5 hours, and
the simulated market trades without a pause. What is quoted is S times the scenario's level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.errors import ConfigurationError
from pipeline.ingest.feeds import scenarios
from pipeline.ingest.feeds.draws import WORD, derive_key, draw_word, exponential, normal, unit
from pipeline.messages import (
    ASK,
    ASK_SIZE,
    BID,
    BID_SIZE,
    CONDITIONS,
    PRICE,
    PRICE_TICKS_LIMIT,
    QUOTE,
    SIZE,
    TICK,
    TRADE,
    TRADE_ID,
)
from shm.jit import njit

if TYPE_CHECKING:
    from pipeline.instruments import Instruments

YEAR_SECONDS = 252 * 6.5 * 3600
SECOND_NS = 1_000_000_000

# The words of one tick: counter = tick index * LANE_COUNT + lane.
LANE_COUNT = 5
ARRIVAL, CHOICE, MOVE, SPREAD, SIZES = 0, 1, 2, 3, 4
SCENARIO_SIZE_LANE = 6  # of the key's own key, which no tick uses

# One tick in five is a trade. CHOICE: the high half picks the instrument, the low bits kind and side.
TRADE_ONE_IN = 5
HALF, HALF_MASK = WORD(32), WORD(0xFFFF_FFFF)
KIND_MASK, SIDE_SHIFT = WORD(0xFFFF), WORD(16)
KIND_STEPS = 1 << 16

# Sizes: 2**(number of ones among 8 bits) * (1..2), a binomial exponent: near enough to log-normal, in integers. 1..511 lots,
# median about 23.
SIZE_BITS, SIZE_FRACTION_BITS = 8, 6
SIZE_MASK, SIZE_FRACTION_MASK = WORD(0xFF), WORD(0x3F)
ASK_SIZE_SHIFT, SIZE_FRACTION_SHIFT, ONE = WORD(16), WORD(8), WORD(1)

# No path leaves these bounds, and no step more than halves or adds a half: a price stays one whatever the volatility.
PATH_TICKS_MIN, PATH_TICKS_MAX = 1.0, float(PRICE_TICKS_LIMIT >> 1)
STEP_MAX = 0.5

SEEK_CHUNK_TICKS = 16_384

# What a setting may be: the sums and products of the kernels stay far from the ends of int64 and float64.
SEED_LIMIT = 1 << 63
RATE_MIN, RATE_MAX = 0.001, 1e9
VOLATILITY_MAX = 1_000.0
TIME_LIMIT_NS = 1 << 62


class MarketState(NamedTuple):
    """What changes from tick to tick. Arrays of one element each per instrument, but for the clock."""

    clock: np.ndarray  # int64: index of the next tick, trading time since the start (ns)
    path_ticks: np.ndarray  # float64: S, in ticks
    moved_ns: np.ndarray  # int64: trading time of the last step of S
    anchor_ticks: np.ndarray  # float64: S where the scenario began, 0 = not yet
    bid_ticks: np.ndarray  # int64: the standing quote, 0 = none yet
    ask_ticks: np.ndarray  # int64


class MarketLaw(NamedTuple):
    """What never changes."""

    key: int  # of the generator
    start_ns: int  # event time of the stream's start, UTC
    interval_ns: float  # mean time between ticks
    volatility: np.ndarray  # float64 per instrument: sigma per square root of a nanosecond
    spread_min: float  # of the price
    spread_range: float
    scenario: int
    scenario_start_ns: int  # trading time since the stream's start
    selected: np.ndarray  # bool per instrument
    gap_level: float


@dataclass(frozen=True)
class SimulatorSettings:
    """What a simulated stream depends on, beside its instruments and their start prices."""

    scenario: str = "normal"
    seed: int = 1  #: 0..2**63-1
    rate: float = 1000.0  #: ticks per second, all instruments together
    start_ns: int = 1_767_623_400_000_000_000  #: event time of the start, UTC: 2026-01-05T14:30:00Z
    volatility: float | np.ndarray = 0.30  #: annual fraction, one for all or one per instrument
    spread_bps_min: float = 1.0
    spread_bps_max: float = 5.0
    scenario_start_ns: int = 5 * SECOND_NS  #: since the stream's start
    scenario_mask: np.ndarray | None = None  #: bool per instrument, None = all


@njit
def draw_size(word):
    """Draw a size (lots, 1..511) from a word's 14 low bits."""
    exponent = 0
    bits = word & SIZE_MASK
    while bits != WORD(0):
        exponent += 1
        bits = bits & (bits - ONE)
    fraction = np.int64((word >> SIZE_FRACTION_SHIFT) & SIZE_FRACTION_MASK)
    return ((fraction + (1 << SIZE_FRACTION_BITS)) << exponent) >> SIZE_FRACTION_BITS


@njit
def move_quote(state, law, i, now_ns):
    """Step the path of instrument i to trading time now_ns and set its standing quote.

    Args:
        state: MarketState, written in place.
        law: MarketLaw.
        i: instrument index.
        now_ns: trading time since the stream's start.
    Returns:
        Nothing; afterwards 0 < bid < ask.
    """
    scenario = law.scenario if law.selected[i] else scenarios.NORMAL
    level, volatility_factor, reversion_per_s = scenarios.overlay(scenario, now_ns - law.scenario_start_ns, law.gap_level)
    counter = state.clock[0] * LANE_COUNT
    elapsed_ns = float(now_ns - state.moved_ns[i])
    path = state.path_ticks[i]
    step = law.volatility[i] * volatility_factor * math.sqrt(elapsed_ns) * normal(draw_word(law.key, counter + MOVE))
    pull = 0.0
    if reversion_per_s > 0.0:
        if state.anchor_ticks[i] == 0.0:
            state.anchor_ticks[i] = path
        pull = (state.anchor_ticks[i] - path) * min(reversion_per_s * elapsed_ns / SECOND_NS, 1.0)
    path = path + path * min(max(step, -STEP_MAX), STEP_MAX) + pull
    path = min(max(path, PATH_TICKS_MIN), PATH_TICKS_MAX)
    state.path_ticks[i] = path
    state.moved_ns[i] = now_ns

    mid = path * level
    spread = law.spread_min + law.spread_range * unit(draw_word(law.key, counter + SPREAD))
    half = mid * spread * 0.5
    bid = max(np.int64(mid - half + 0.5), 1)
    state.bid_ticks[i] = bid
    state.ask_ticks[i] = max(np.int64(mid + half + 0.5), bid + 1)


@njit
def write_ticks(state, law, chunk):
    """Write the next len(chunk) ticks of the market.

    Args:
        state: MarketState, moved on.
        law: MarketLaw.
        chunk: array of TICK, every field written.
    Returns:
        The number of ticks: always len(chunk).
    """
    instrument_count = len(state.path_ticks)
    for n in range(len(chunk)):
        index = state.clock[0]
        counter = index * LANE_COUNT
        now_ns = state.clock[1] + np.int64(law.interval_ns * exponential(draw_word(law.key, counter + ARRIVAL)) + 0.5)
        state.clock[1] = now_ns
        event_ns = law.start_ns + now_ns + scenarios.closed_ns(law.scenario, now_ns - law.scenario_start_ns)

        choice = draw_word(law.key, counter + CHOICE)
        i = (np.int64(choice >> HALF) * instrument_count) >> 32
        trades = np.int64(choice & KIND_MASK) * TRADE_ONE_IN < KIND_STEPS and state.bid_ticks[i] > 0
        sizes = draw_word(law.key, counter + SIZES)

        tick = chunk[n]
        tick["event_ns"] = event_ns
        tick["recv_ns"] = event_ns
        tick["venue_seq"] = index + 1
        tick["instrument"] = i
        tick["flags"] = 0
        tick["venue"] = 0
        if trades:
            tick["kind"] = TRADE
            at_ask = ((choice >> SIDE_SHIFT) & ONE) == ONE
            tick[PRICE] = state.ask_ticks[i] if at_ask else state.bid_ticks[i]
            tick[SIZE] = draw_size(sizes)
            tick[TRADE_ID] = index + 1
            tick[CONDITIONS] = 0
        else:
            move_quote(state, law, i, now_ns)
            tick["kind"] = QUOTE
            tick[BID] = state.bid_ticks[i]
            tick[ASK] = state.ask_ticks[i]
            tick[BID_SIZE] = draw_size(sizes)
            tick[ASK_SIZE] = draw_size(sizes >> ASK_SIZE_SHIFT)
        state.clock[0] = index + 1
    return len(chunk)


def _require(valid: bool, what: str, where: str, remedy: str) -> None:
    """Raise a ConfigurationError unless the setting is valid."""
    if not valid:
        raise ConfigurationError(what, where, remedy)


def _checked_volatility(settings: SimulatorSettings, count: int) -> np.ndarray:
    """Return the annual volatility of each instrument (float64), or raise."""
    volatility = np.asarray(settings.volatility, dtype=np.float64)
    _require(volatility.shape in ((), (count,)), f"volatility has shape {volatility.shape}", "simulator", f"give 1 or {count}")
    valid = bool(np.all((volatility >= 0.0) & (volatility <= VOLATILITY_MAX)))
    _require(valid, f"volatility {settings.volatility}", "simulator", "give annual fractions from 0 to 1000")
    return np.broadcast_to(volatility, (count,))


def _checked_mask(settings: SimulatorSettings, count: int) -> np.ndarray:
    """Return which instruments the scenario selects (bool per instrument), or raise."""
    if settings.scenario_mask is None:
        return np.ones(count, dtype=np.bool_)
    mask = np.array(settings.scenario_mask, dtype=np.bool_)
    _require(mask.shape == (count,), f"scenario mask of shape {mask.shape}", "simulator", f"give {count} flags")
    return mask


def law_of(settings: SimulatorSettings, count: int) -> MarketLaw:
    """Check the settings and turn them into what the kernels read.

    Args:
        settings: what was asked for.
        count: number of instruments.
    Returns:
        The law of this market.
    Raises:
        ConfigurationError: the first setting that is no good.
    """
    s = settings
    names = ", ".join(scenarios.SCENARIO_NAMES)
    _require(s.scenario in scenarios.SCENARIO_NAMES, f"unknown scenario {s.scenario!r}", "simulator", f"choose one of {names}")
    _require(0 <= s.seed < SEED_LIMIT, f"seed {s.seed}", "simulator", "give an integer from 0 to 2**63 - 1")
    _require(RATE_MIN <= s.rate <= RATE_MAX, f"rate {s.rate}", "simulator", "give 0.001 to 1e9 ticks per second")
    _require(0 <= s.start_ns < TIME_LIMIT_NS, f"start time {s.start_ns} ns", "simulator", "give a time from 1970 to 2116")
    spread = f"spread of {s.spread_bps_min} to {s.spread_bps_max} bps"
    _require(0.0 <= s.spread_bps_min <= s.spread_bps_max <= 1_000.0, spread, "simulator", "give 0 <= min <= max <= 1000")
    late = f"scenario start after {s.scenario_start_ns} ns"
    _require(0 <= s.scenario_start_ns < TIME_LIMIT_NS, late, "simulator", "give a time >= 0 since the start of the stream")
    key = int(derive_key(s.seed))
    return MarketLaw(
        key=key,
        start_ns=int(s.start_ns),
        interval_ns=SECOND_NS / float(s.rate),
        volatility=_checked_volatility(s, count) / math.sqrt(YEAR_SECONDS * SECOND_NS),
        spread_min=s.spread_bps_min / 10_000,
        spread_range=(s.spread_bps_max - s.spread_bps_min) / 10_000,
        scenario=scenarios.SCENARIO_NAMES.index(s.scenario),
        scenario_start_ns=int(s.scenario_start_ns),
        selected=_checked_mask(s, count),
        gap_level=scenarios.gap_level_of(s.seed, int(draw_word(derive_key(key), SCENARIO_SIZE_LANE))),
    )


class Simulator:
    """A Feed without an end. See `feed.Feed` for the meaning of its methods."""

    def __init__(
        self, instruments: Instruments, start_prices_ticks: np.ndarray, settings: SimulatorSettings, live: bool = True
    ) -> None:
        """Set up the market at its start.

        Args:
            instruments: the table that the ticks index.
            start_prices_ticks: int64 per instrument, above 0.
            settings: what the stream depends on.
            live: True where it is paced like a market, False where ingest takes it as fast as it can.
        Raises:
            ConfigurationError: no instruments, a start price out of bounds, or a setting that is no good.
        """
        prices = np.array(start_prices_ticks, dtype=np.int64)
        _require(len(instruments) > 0, "no instruments", "simulator", "list at least one under [[instruments]]")
        _require(prices.shape == (len(instruments),), f"{prices.size} start prices", "simulator", "give one per instrument")
        limit = int(PATH_TICKS_MAX)
        valid = bool(np.all((prices > 0) & (prices < limit)))
        _require(valid, "a start price out of bounds", "simulator", f"give 0 < price < {limit} ticks")
        self.instruments = instruments
        self.live = live
        # Its ticks are numbered over all instruments together.
        self.numbered = False
        self._start_prices_ticks = prices
        self._law = law_of(settings, len(prices))
        self._state = self._start_state()

    @property
    def position(self) -> int:
        """Ticks handed out since the start; also the `venue_seq` of the latest."""
        return int(self._state.clock[0])

    def seek(self, position: int) -> None:
        """Go on after `position` ticks: the stream is made again up to there, some 100 ns a tick."""
        assert position >= 0, "a position counts ticks"
        if position < self.position:
            self._state = self._start_state()
        scratch = np.empty(SEEK_CHUNK_TICKS, dtype=TICK)
        while self.position < position:
            write_ticks(self._state, self._law, scratch[: position - self.position])

    def fill(self, chunk: np.ndarray) -> int:
        """Fill the whole chunk with the next ticks."""
        return int(write_ticks(self._state, self._law, chunk))

    def close(self) -> None:
        """Do nothing: a simulator holds nothing but memory."""

    def _start_state(self) -> MarketState:
        """Return the market before its first tick."""
        count = len(self._start_prices_ticks)
        return MarketState(
            clock=np.zeros(2, dtype=np.int64),
            path_ticks=self._start_prices_ticks.astype(np.float64),
            moved_ns=np.zeros(count, dtype=np.int64),
            anchor_ticks=np.zeros(count, dtype=np.float64),
            bid_ticks=np.zeros(count, dtype=np.int64),
            ask_ticks=np.zeros(count, dtype=np.int64),
        )
