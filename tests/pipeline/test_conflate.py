"""What conflation keeps of a backlog: no stop that the whole backlog crosses goes without a crossing in what is kept."""

import numpy as np
import pytest

from pipeline.ingest.conflate import KEPT, NONE, PICK_COUNT, choose, is_product_less
from pipeline.messages import PRICE_TICKS_LIMIT
from tests.oracle import LONG, SHORT, TRAILING, crossings
from tests.rig import quotes

pytestmark = pytest.mark.jitless


def kept_of(ticks: np.ndarray, instruments: int = 1) -> list[int]:
    """Return which ticks of a backlog are kept."""
    keep = np.zeros(len(ticks), np.uint8)
    picks = np.full((instruments, PICK_COUNT), NONE, np.int64)
    count = choose(ticks, 0, len(ticks), keep, picks)
    assert (picks == NONE).all(), "the scratch is not clean for the next backlog"
    assert count == (keep == KEPT).sum()
    return list(np.flatnonzero(keep == KEPT))


def test_conflation_of_fall_from_new_high_keeps_it() -> None:
    """A fall that crosses a trailing stop, neither to the lowest nor to the latest price, is kept with the high before it."""
    bids = [9_900, 10_500, 10_450, 10_300, 10_460, 10_470]
    assert {1, 3} <= set(kept_of(quotes((0, bid, bid + 2) for bid in bids)))


@pytest.mark.parametrize("side", [LONG, SHORT])
@pytest.mark.parametrize("seed", range(40))
def test_conflation_of_random_walk_crosses_trailing_stop_as_the_whole_does(side: int, seed: int) -> None:
    """Whatever its distance, a trailing stop is crossed by what is kept exactly if the whole backlog crosses it."""
    rng = np.random.default_rng(seed)
    bids = 10_000 + np.cumsum(rng.integers(-60, 61, 60))
    ticks = quotes((0, int(bid), int(bid) + 2) for bid in bids)
    kept = kept_of(ticks)
    for ppm in (1_000, 5_000, 10_000, 20_000):
        whole = list(crossings(TRAILING, side, 10_000, 0, ppm, list(enumerate(ticks)), 0))
        left = list(crossings(TRAILING, side, 10_000, 0, ppm, [(k, ticks[k]) for k in kept], 0))
        assert bool(whole) == bool(left), f"{ppm} ppm"


def test_product_comparison_of_random_prices_is_exact() -> None:
    """Products of up to 84 bits compare as exact integers do, next to each other and equal ones too."""
    rng = np.random.default_rng(1)
    for _ in range(500):
        a, b, c = (int(rng.integers(1, PRICE_TICKS_LIMIT)) for _ in range(3))
        for d in (max(1, min(a * b // c + int(rng.integers(-1, 2)), PRICE_TICKS_LIMIT - 1)), b):
            assert (a * b < c * d) == is_product_less(a, b, c, d)
            assert not is_product_less(a, d, d, a)
