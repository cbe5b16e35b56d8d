"""Counters: added at once or with a transaction, read by name."""

import pytest

from shm import counters
from shm.layout import CACHE_LINE
from shm.transaction import commit, open_transaction, region
from tests.shm.conftest import MakeSegment

pytestmark = pytest.mark.jitless

NAMES = ("received", "accepted", "depth")


def test_counters_added_and_put_are_read_by_name(make_segment: MakeSegment) -> None:
    """Counters add, gauges are set, and each has its own cache line."""
    segment = make_segment([counters.region("w", len(NAMES))])
    bank = counters.open_counters(segment, "w")
    for amount in (2, 40):
        counters.add(bank, 0, amount)
    for value in (9, 7):
        counters.put(bank, 2, value)
    assert {"received": 42, "accepted": 0, "depth": 7} == counters.snapshot(bank, NAMES)
    assert CACHE_LINE == 8 * counters.STRIDE
    assert counters.snapshot(bank, NAMES) == counters.snapshot(counters.open_counters(segment, "w"), NAMES)


def test_stage_add_counts_with_the_commit_and_sums_within_it(make_segment: MakeSegment) -> None:
    """Two adds to one counter in one transaction both count, once it commits."""
    segment = make_segment([counters.region("w", len(NAMES)), region("w")])
    bank, transaction = counters.open_counters(segment, "w"), open_transaction(segment, "w")
    counters.add(bank, 1, 100)
    for amount in (1, 5):
        counters.stage_add(transaction, bank, 1, amount)
    assert 100 == counters.snapshot(bank, NAMES)["accepted"]
    assert 1 == commit(transaction)
    assert 106 == counters.snapshot(bank, NAMES)["accepted"]


def test_stage_add_of_a_transaction_that_died_counts_nothing(make_segment: MakeSegment) -> None:
    """The next process starts from what was committed."""
    segment = make_segment([counters.region("w", len(NAMES)), region("w")])
    bank = counters.open_counters(segment, "w")
    counters.stage_add(open_transaction(segment, "w"), bank, 0, 5)
    transaction = open_transaction(segment, "w")
    counters.stage_add(transaction, bank, 0, 1)
    commit(transaction)
    assert 1 == counters.snapshot(bank, NAMES)["received"]
