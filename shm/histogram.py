"""Log-linear latency histogram in shared memory: one writer, cumulative, never reset.

Each power of two of nanoseconds is cut into 32 equal buckets, so a bucket is at most 3.2% wide (the scheme of HdrHistogram, by
Gil Tene). Values below 32 ns have a bucket each; values past 2^42 ns (73 minutes) count in the last one.

    words (int64)   0  largest value seen
                    1  sum of the values
                    8  counts of the buckets
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shm.atomics import highest_bit, load_relaxed, store_relaxed
from shm.jit import njit_inline
from shm.layout import Region
from shm.segment import Segment

PRECISION_BITS = 5
SUB_BUCKETS = 1 << PRECISION_BITS
EXPONENT_MAX = 42
BUCKET_COUNT = (EXPONENT_MAX - PRECISION_BITS + 1) * SUB_BUCKETS
LARGEST, SUM, COUNTS = 0, 1, 8
WORD_COUNT = COUNTS + BUCKET_COUNT


class Quantiles(NamedTuple):
    """A histogram in short; nanoseconds, each quantile the upper bound of its bucket, at most `max`."""

    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on it
    p50: int
    p90: int
    p99: int
    p999: int
    max: int

    def as_dict(self) -> dict[str, int]:
        """Return it with the names that summaries use."""
        return {"count": self.count, "p50": self.p50, "p90": self.p90, "p99": self.p99, "p99.9": self.p999, "max": self.max}


def region(name: str) -> Region:
    """Return the region of a histogram."""
    return Region(f"{name}.histogram", np.dtype(np.int64), WORD_COUNT)


def open_histogram(segment: Segment, name: str) -> np.ndarray:
    """Return the words of the histogram of this name in a mapped instance."""
    return segment.array(f"{name}.histogram")


@njit_inline
def bucket_of(value_ns):
    """Return the bucket of a value in nanoseconds; negative values count as 0."""
    if value_ns < SUB_BUCKETS:
        return max(value_ns, 0)
    exponent = highest_bit(value_ns)
    if exponent >= EXPONENT_MAX:
        return BUCKET_COUNT - 1
    shift = exponent - PRECISION_BITS
    return (shift + 1) * SUB_BUCKETS + ((value_ns >> shift) & (SUB_BUCKETS - 1))


@njit_inline
def record(words, value_ns):
    """Count one value in nanoseconds."""
    at = COUNTS + bucket_of(value_ns)
    store_relaxed(words, at, load_relaxed(words, at) + 1)
    store_relaxed(words, SUM, load_relaxed(words, SUM) + max(value_ns, 0))
    if value_ns > load_relaxed(words, LARGEST):
        store_relaxed(words, LARGEST, value_ns)


def bucket_bounds_ns() -> np.ndarray:
    """Return the upper bound of each bucket, inclusive, in nanoseconds; shape (BUCKET_COUNT,), int64."""
    shift, sub = np.divmod(np.arange(BUCKET_COUNT, dtype=np.int64), SUB_BUCKETS)
    shift = np.maximum(shift - 1, 0)
    linear = np.arange(BUCKET_COUNT) < SUB_BUCKETS
    return np.where(linear, sub, ((SUB_BUCKETS + sub + 1) << shift) - 1)


def quantile(words: np.ndarray, fractions: Sequence[float]) -> list[int]:
    """Return the values in nanoseconds below which these fractions of all lie; 0 where nothing was recorded."""
    counts = words[COUNTS:].copy()
    total = int(counts.sum())
    if total == 0:
        return [0] * len(fractions)
    ranks = [max(1, -(-int(fraction * total * 1_000_000) // 1_000_000)) for fraction in fractions]
    places = np.searchsorted(np.cumsum(counts), ranks)
    return [min(int(bound), int(words[LARGEST])) for bound in bucket_bounds_ns()[places]]


def summary(words: np.ndarray) -> Quantiles:
    """Return count, p50, p90, p99, p99.9 and max."""
    p50, p90, p99, p999 = quantile(words, (0.5, 0.9, 0.99, 0.999))
    return Quantiles(int(words[COUNTS:].sum()), p50, p90, p99, p999, int(words[LARGEST]))
