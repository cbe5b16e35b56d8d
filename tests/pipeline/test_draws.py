"""The draws behind the simulator: known words of the generator, and the two laws against the standard library's."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from pipeline.ingest.feeds.draws import WORD, derive_key, draw_word, exponential, natural_log, normal, unit

# The words at the ends, at each power of two, and some in between.
WORDS = [
    0,
    (1 << 64) - 1,
    *(1 << k for k in range(64)),
    *np.random.default_rng(8).integers(0, 1 << 64, 5_000, np.uint64).tolist(),
]


def test_words_of_seed_zero_are_those_of_splitmix64():
    """The first outputs of SplitMix64 from state zero, as its reference implementation prints them."""
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert expected == [int(draw_word(0, counter)) for counter in (1, 2, 3)]


def test_keys_of_all_seeds_are_not_negative():
    """A key stays within 63 bits, so that it passes through the kernels as an int64."""
    keys = [int(derive_key(seed)) for seed in [*range(1_000), (1 << 63) - 1]]
    assert min(keys) >= 0
    assert len(keys) == len(set(keys))


def test_unit_never_meets_its_ends():
    """Zero and one are no draws: the logarithm and the inverse normal have no value there."""
    units = [unit(WORD(word)) for word in WORDS]
    assert 0.5**53 == min(units)
    assert 1.0 - 0.5**53 == max(units)


@pytest.mark.parametrize("word", WORDS[:66])
def test_logarithm_at_the_ends_matches_the_library(word):
    """Where most of the bits cancel the series is still right to 1e-13."""
    value = unit(WORD(word))
    assert math.log(value) == pytest.approx(natural_log(value), abs=1e-13)


def test_exponential_and_normal_match_the_library():
    """Both laws invert their distribution: the logarithm to 1e-13, the normal to the 2e-7 that AS 241 promises."""
    for word in WORDS:
        probability = unit(WORD(word))
        assert -math.log(probability) == pytest.approx(exponential(WORD(word)), abs=1e-13)
        assert NormalDist().inv_cdf(probability) == pytest.approx(normal(WORD(word)), rel=2e-7, abs=1e-9)
