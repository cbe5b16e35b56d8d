"""What conflation keeps of a backlog: no stop that the whole backlog fires goes unfired by what is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.conflate import KEPT, LINK_WORDS, NONE, TRACK_COUNT, TRACK_WORDS, choose
from pipeline.messages import LONG, QUOTE, SHORT, STATUS, TICK, TICK_CROSSED, TICK_OK, TRADE
from tests.conflated import assert_enough_kept
from tests.rig import quotes

pytestmark = pytest.mark.jitless


def kept_of(ticks: np.ndarray, instruments: int = 1) -> np.ndarray:
    """Return whether each tick of a backlog is kept."""
    keep = np.zeros(len(ticks), np.uint8)
    tracks = np.full((instruments, TRACK_COUNT, TRACK_WORDS), NONE, np.int64)
    links = np.full((TRACK_COUNT, len(ticks), LINK_WORDS), 1 << 40, np.int64)
    count = choose(ticks, 0, len(ticks), keep, tracks, links)
    assert (tracks == NONE).all(), "the scratch is not clean for the next backlog"
    assert count == (keep == KEPT).sum()
    return keep == KEPT


@dataclass
class Stop:
    """A stop that is armed before the backlog: the slow twin, for any series of prices. None = it has no such term."""

    side: int
    entry: int
    level: int | None = None
    percent_ppm: int | None = None
    offset: int | None = None
    activation: int | None = None
    breakeven: int | None = None
    target: int | None = None

    def fires(self, prices: Sequence[int]) -> bool:
        """Tell whether any of these prices in turn fires it. A SHORT stop is a LONG one of negative prices."""
        side, best, awake = self.side, self.side * self.entry, self.activation is None
        for price in (side * price for price in prices):
            best = max(best, price)
            awake = awake or price >= side * self.activation  # type: ignore[operator]
            levels = [] if self.level is None else [side * self.level]
            if self.percent_ppm is not None:
                levels.append(best + -abs(best) * self.percent_ppm // 10**6)
            if self.offset is not None:
                levels.append(best - self.offset)
            if self.breakeven is not None and best >= side * self.breakeven:
                levels.append(side * self.entry)
            if awake and levels and price <= max(levels):
                return True
            if awake and self.target is not None and price >= side * self.target:
                return True
        return False


def random_stop(rng: np.random.Generator, entry: int) -> Stop:
    """Return a stop with random terms; its level lies behind its entry, and what it waits for before it."""
    side = int(rng.choice([LONG, SHORT]))

    def maybe(value: int) -> int | None:
        return value if rng.random() < 0.5 else None

    near = [int(rng.integers(0, 250)) for _ in range(4)]
    return Stop(
        side, entry, maybe(entry - side * near[0]), maybe(int(rng.integers(1, 20_000))), maybe(int(rng.integers(1, 250))),
        maybe(entry + side * near[1]), maybe(entry + side * near[2]), maybe(entry + side * near[3]),
    )  # fmt: skip


def test_conflation_of_fall_from_new_high_keeps_it() -> None:
    """A fall that crosses a trailing stop, neither to the lowest nor to the latest price, is kept with the high before it."""
    bids = [9_900, 10_500, 10_450, 10_300, 10_460, 10_470]
    assert {1, 3} <= set(np.flatnonzero(kept_of(quotes((0, bid, bid + 2) for bid in bids))))


def test_conflation_of_two_turns_keeps_the_later_though_it_is_smaller() -> None:
    """A fall from the higher high is kept beside a deeper one from a lower high: only that one wakes some stop."""
    bids = [10_000, 10_400, 9_000, 10_800, 10_600, 10_790, 10_795, 10_799]
    assert {1, 2, 3, 4} <= set(np.flatnonzero(kept_of(quotes((0, bid, bid + 2) for bid in bids))))


@pytest.mark.parametrize("step", [1, -1, 0])
def test_conflation_of_steady_prices_keeps_the_ends(step: int) -> None:
    """What only rises, only falls or stands keeps its first and its last tick."""
    ticks = quotes((0, 10_000 + step * k, 10_002 + step * k) for k in range(50))
    assert [0, 49] == list(np.flatnonzero(kept_of(ticks)))


def random_backlog(rng: np.random.Generator, count: int, instruments: int) -> np.ndarray:
    """Return quotes and trades whose bid, ask and trade price walk each on its own, and some rejected ticks between them."""
    ticks = np.zeros(count, TICK)
    walks = 10_000 + np.cumsum(rng.integers(-60, 61, (count, 3)), axis=0)
    for k in range(count):
        bid, ask, last = (int(price) for price in walks[k])
        kind = int(rng.choice([QUOTE, QUOTE, QUOTE, TRADE, TRADE, STATUS]))
        prices = (min(bid, ask), max(bid, ask)) if kind == QUOTE else (last, 5)
        flags = TICK_OK if rng.random() < 0.9 else TICK_CROSSED
        ticks[k] = (1, 0, k + 1, rng.integers(instruments), kind, flags, 0, *prices, 1, 1)
    return ticks


@pytest.mark.parametrize("seed", range(40))
def test_conflation_of_random_backlog_keeps_all_turns(seed: int) -> None:
    """Of each series of each instrument the lowest, the highest, the latest and every turn is kept, and nothing rejected."""
    rng = np.random.default_rng(seed)
    ticks = random_backlog(rng, 80, 2)
    kept = kept_of(ticks, 2)
    assert not kept[ticks["flags"] != TICK_OK].any()
    assert kept[(ticks["flags"] == TICK_OK) & (ticks["kind"] == STATUS)].all()
    for instrument in range(2):
        mine = (ticks["flags"] == TICK_OK) & (ticks["instrument"] == instrument)
        assert_enough_kept(ticks[mine], kept[mine], f"instrument {instrument}")


SERIES: list[tuple[str, int, int, Callable[[np.void], int]]] = [
    ("bid", QUOTE, LONG, lambda tick: int(tick["a"])),
    ("ask", QUOTE, SHORT, lambda tick: int(tick["b"])),
    ("mid", QUOTE, 0, lambda tick: int(tick["a"]) + int(tick["b"])),
    ("last", TRADE, 0, lambda tick: int(tick["a"])),
]


@pytest.mark.parametrize(("name", "kind", "only_side", "price_of"), SERIES, ids=[series[0] for series in SERIES])
@pytest.mark.parametrize("seed", range(30))
def test_conflation_of_random_backlog_fires_every_stop_that_the_whole_does(
    name: str, kind: int, only_side: int, price_of: Callable[[np.void], int], seed: int
) -> None:
    """Whatever its level, distance, activation, break-even and target, what is kept fires a stop exactly if the whole does."""
    rng = np.random.default_rng([seed, kind, only_side + 1])
    ticks = random_backlog(rng, 100, 1)
    ticks = ticks[ticks["flags"] == TICK_OK]
    kept = kept_of(ticks)
    whole = [price_of(tick) for tick in ticks if tick["kind"] == kind]
    left = [price_of(tick) for tick, is_kept in zip(ticks, kept, strict=True) if tick["kind"] == kind and is_kept]
    fired = 0
    for _ in range(200):
        stop = random_stop(rng, whole[0])
        if only_side not in (0, stop.side):
            continue
        assert stop.fires(whole) == stop.fires(left), f"{name}: {stop}"
        fired += stop.fires(whole)
    assert fired > 0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 3), st.integers(1, 9), st.integers(1, 9))
def test_conflation_of_small_prices_fires_every_trailing_stop(
    prices: list[int], offset: int, entry: int, wakes_at: int
) -> None:
    """Equal prices, ends and turns of all small shapes keep what a trailing stop with an activation needs, on both sides."""
    ticks = np.zeros(len(prices), TICK)
    for k, price in enumerate(prices):
        ticks[k] = (1, 0, k + 1, 0, TRADE, TICK_OK, 0, price, 1, 0, 0)
    left = [int(price) for price in ticks["a"][kept_of(ticks)]]
    for side in (LONG, SHORT):
        stop = Stop(side, entry, offset=offset + 1, activation=wakes_at)
        assert stop.fires(prices) == stop.fires(left)
