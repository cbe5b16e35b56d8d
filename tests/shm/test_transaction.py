"""Several words changed as one: what is staged, what commits, what is refused."""

import numpy as np
import pytest

from shm.layout import Region
from shm.segment import Segment
from shm.transaction import (
    COUNT,
    OVERFLOW,
    PAIRS,
    PAIRS_MAX,
    commit,
    open_transaction,
    redo,
    region,
    space,
    stage,
    staged,
)
from tests.shm.conftest import MakeSegment

pytestmark = pytest.mark.jitless


@pytest.fixture
def segment(make_segment: MakeSegment) -> Segment:
    """Return a segment with a log and a region of words to change."""
    return make_segment([region("w"), Region("words", np.dtype(np.int64), PAIRS_MAX + 1)])


def test_commit_of_nothing_changes_nothing(segment: Segment) -> None:
    """An empty transaction is no transaction."""
    transaction = open_transaction(segment, "w")
    before = segment.memory.copy()
    assert 0 == commit(transaction)
    assert before.tolist() == segment.memory.tolist()


def test_stage_before_the_commit_changes_no_word(segment: Segment) -> None:
    """Staged values are known to the transaction alone."""
    transaction, base = open_transaction(segment, "w"), segment.base("words")
    stage(transaction, base, 7)
    assert (0, 7, -1) == (int(segment.memory[base]), staged(transaction, base, -1), staged(transaction, base + 1, -1))
    assert 1 == commit(transaction)
    assert 7 == segment.memory[base]


def test_stage_of_one_word_twice_keeps_the_last_value(segment: Segment) -> None:
    """The same word takes one pair, however often it is staged."""
    transaction, base = open_transaction(segment, "w"), segment.base("words")
    for value in (3, -4, 5):
        stage(transaction, base + 2, value)
    assert (PAIRS_MAX - 1, 1) == (space(transaction), commit(transaction))
    assert 5 == segment.memory[base + 2]


def test_commit_leaves_the_next_transaction_empty(segment: Segment) -> None:
    """What was committed is not applied again with the next."""
    transaction, base = open_transaction(segment, "w"), segment.base("words")
    stage(transaction, base, 1)
    commit(transaction)
    segment.memory[base] = 99
    stage(transaction, base + 1, 2)
    assert (1, PAIRS_MAX) == (commit(transaction), space(transaction))
    assert [99, 2] == segment.memory[base : base + 2].tolist()


def test_commit_of_as_many_words_as_fit_changes_all(segment: Segment) -> None:
    """The log holds PAIRS_MAX pairs, the last one included."""
    transaction, base = open_transaction(segment, "w"), segment.base("words")
    for place in range(PAIRS_MAX):
        stage(transaction, base + place, place + 1)
    assert (0, PAIRS_MAX) == (space(transaction), commit(transaction))
    assert [*range(1, PAIRS_MAX + 1), 0] == segment.array("words").tolist()


def test_commit_of_more_words_than_fit_is_refused_and_changes_nothing(segment: Segment) -> None:
    """Half a transaction would be worse than none; a second commit is refused as well."""
    transaction, base = open_transaction(segment, "w"), segment.base("words")
    for place in range(PAIRS_MAX + 1):
        stage(transaction, base + place, 1)
    stage(transaction, base, 2)
    assert [OVERFLOW, OVERFLOW] == [commit(transaction), commit(transaction)]
    assert (0, 0) == (int(segment.array("words").sum()), int(segment.array("w.log")[COUNT]))
    assert 0 == redo(open_transaction(segment, "w"))


def test_open_transaction_with_a_valid_log_redoes_it(segment: Segment) -> None:
    """A log whose count is stored has happened, whatever of it was applied."""
    base, log = segment.base("words"), segment.array("w.log")
    log[PAIRS : PAIRS + 4] = [base, 5, base + 1, 6]
    log[COUNT] = 2
    segment.memory[base] = 5
    open_transaction(segment, "w")
    assert ([5, 6], 0) == (segment.memory[base : base + 2].tolist(), int(log[COUNT]))


def test_open_transaction_with_pairs_but_no_count_forgets_them(segment: Segment) -> None:
    """Pairs below a count of nothing never happened."""
    base = segment.base("words")
    stage(open_transaction(segment, "w"), base, 5)
    transaction = open_transaction(segment, "w")
    assert (0, 0, PAIRS_MAX) == (commit(transaction), int(segment.memory[base]), space(transaction))
