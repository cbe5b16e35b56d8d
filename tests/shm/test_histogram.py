"""The histogram: every value in one bucket, every bucket narrow, quantiles near those of the raw data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm import histogram
from shm.histogram import BUCKET_COUNT, COUNTS, EXPONENT_MAX, SUB_BUCKETS, WORD_COUNT, bucket_bounds_ns, bucket_of
from tests.shm.conftest import MakeSegment

pytestmark = pytest.mark.jitless

INT64_MAX = 2**63 - 1
#: A bucket's width is a 32nd of its power of two.
WIDTH = 0.032
FRACTIONS = (0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0)


def recorded(values: list[int]) -> np.ndarray:
    """Return the words of a histogram of these values."""
    words = np.zeros(WORD_COUNT, np.int64)
    for value in values:
        histogram.record(words, value)
    return words


def test_bucket_bounds_follow_each_other_without_gap_or_overlap() -> None:
    """The upper bound of each bucket lies in it, and the next value in the next bucket."""
    bounds = bucket_bounds_ns()
    assert BUCKET_COUNT == len(bounds)
    assert 2**EXPONENT_MAX - 1 == bounds[-1]
    places = list(range(BUCKET_COUNT))
    assert places == [bucket_of(int(bound)) for bound in bounds]
    assert places[1:] == [bucket_of(int(bound) + 1) for bound in bounds[:-1]]
    assert 0 == bucket_of(0)


def test_bucket_bounds_are_narrow() -> None:
    """From the 32nd on no bucket is wider than 3.2% of where it starts; below, each value has its own."""
    bounds = bucket_bounds_ns()
    widths = np.diff(bounds)
    assert list(range(SUB_BUCKETS)) == bounds[:SUB_BUCKETS].tolist()
    assert float((widths / (bounds[:-1] + 1))[SUB_BUCKETS:].max()) <= WIDTH


@given(st.integers(0, INT64_MAX))
def test_bucket_of_any_value_is_the_first_whose_bound_reaches_it(value: int) -> None:
    """Nothing at or above 0 is left out; what is past the last bound counts in the last bucket."""
    expected = min(int(np.searchsorted(bucket_bounds_ns(), value)), BUCKET_COUNT - 1)
    assert expected == bucket_of(value)


@given(st.integers(-(2**63), -1))
def test_bucket_of_a_negative_value_is_the_first(value: int) -> None:
    """A clock that stepped back counts as no time."""
    assert 0 == bucket_of(value)


@given(st.lists(st.one_of(st.integers(0, 100), st.integers(0, 10**6), st.integers(0, 2**42 - 1)), min_size=1, max_size=200))
def test_quantile_of_any_data_is_within_a_bucket_of_the_raw_one(values: list[int]) -> None:
    """Never below the true quantile, and above it by at most a bucket's width."""
    estimates = histogram.quantile(recorded(values), FRACTIONS)
    for fraction, estimate in zip(FRACTIONS, estimates, strict=True):
        exact = int(np.percentile(values, 100 * fraction, method="inverted_cdf"))
        assert exact <= estimate <= exact * (1 + WIDTH)


def test_quantile_of_a_million_log_normal_latencies_is_within_a_bucket() -> None:
    """A large sample of the usual shape, seeded."""
    values = np.random.default_rng(20260105).lognormal(8, 2, 1_000_000).astype(np.int64)
    words = np.zeros(WORD_COUNT, np.int64)
    places, counts = np.unique(np.minimum(np.searchsorted(bucket_bounds_ns(), values), BUCKET_COUNT - 1), return_counts=True)
    words[COUNTS + places] = counts
    words[histogram.LARGEST] = values.max()
    exact = np.percentile(values, [100 * fraction for fraction in FRACTIONS], method="inverted_cdf")
    np.testing.assert_allclose(histogram.quantile(words, FRACTIONS), exact, rtol=WIDTH)


def test_record_keeps_count_sum_and_largest() -> None:
    """A negative value counts as 0, one past the range as itself in sum and maximum."""
    words = recorded([5, -3, 2**50, 7])
    assert (4, 2**50 + 12, 2**50) == (int(words[COUNTS:].sum()), int(words[histogram.SUM]), int(words[histogram.LARGEST]))
    assert 1 == words[-1]


def test_summary_of_nothing_is_zero() -> None:
    """No data is no error."""
    expected = {"count": 0, "p50": 0, "p90": 0, "p99": 0, "p99.9": 0, "max": 0}
    assert expected == histogram.summary(recorded([])).as_dict()


def test_summary_of_one_value_is_that_value() -> None:
    """A quantile never exceeds the largest value seen."""
    assert (1, 1000, 1000, 1000, 1000, 1000) == histogram.summary(recorded([1000]))


def test_open_histogram_in_a_segment_survives_its_writer(make_segment: MakeSegment) -> None:
    """The words lie in the file."""
    segment = make_segment([histogram.region("h")])
    histogram.record(histogram.open_histogram(segment, "h"), 64)
    assert 1 == histogram.summary(histogram.open_histogram(segment, "h")).count
