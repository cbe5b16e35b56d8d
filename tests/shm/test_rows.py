"""Rows of two copies: what an edit starts from, when it counts, what readers see."""

import numpy as np
import pytest

from shm import rows
from shm.segment import Segment
from shm.transaction import Transaction, commit, open_transaction, region
from tests.shm.conftest import MakeSegment
from tests.shm.records import ROW

pytestmark = pytest.mark.jitless

ROW_COUNT = 3


@pytest.fixture
def segment(make_segment: MakeSegment) -> Segment:
    """Return a segment with a table of three rows and a log."""
    return make_segment([*rows.regions("t", ROW, ROW_COUNT), region("w")])


def open_both(segment: Segment) -> tuple[Transaction, rows.Table]:
    """Open the log and the table, as their writer does."""
    return open_transaction(segment, "w"), rows.open_table(segment, "t", ROW)


def firsts(table: rows.Table) -> list[int]:
    """Return the first word of each row, as other processes see it."""
    return rows.snapshot(table)["word0"].tolist()


def test_edit_before_the_commit_is_seen_by_nobody(segment: Segment) -> None:
    """The spare copy is the writer's alone; the commit flips it in."""
    transaction, table = open_both(segment)
    copy = rows.edit(transaction, table, 1)
    table.copies[copy]["word0"] = 5
    assert [0, 0, 0] == firsts(table)
    assert (copy ^ 1, copy) == (rows.current(table, 1), rows.latest(transaction, table, 1))
    commit(transaction)
    assert [0, 5, 0] == firsts(table)
    assert (copy, copy) == (rows.current(table, 1), rows.latest(transaction, table, 1))


def test_edit_starts_from_the_row_as_it_is(segment: Segment) -> None:
    """Every word that an edit leaves alone is kept, commit after commit."""
    transaction, table = open_both(segment)
    for number in range(16):
        copy = rows.edit(transaction, table, 2)
        table.words[copy, number] = number + 1
        commit(transaction)
    assert [list(range(1, 17))] == rows.snapshot(table)[2:].view(np.int64).reshape(1, 16).tolist()
    assert 16 == table.commits[2]


def test_edit_twice_in_one_transaction_returns_the_same_copy(segment: Segment) -> None:
    """The second edit sees what the first wrote, and the row counts once."""
    transaction, table = open_both(segment)
    copy = rows.edit(transaction, table, 0)
    table.words[copy, 0] = 5
    again = rows.edit(transaction, table, 0)
    table.words[again, 1] = int(table.words[again, 0]) + 1
    assert (copy, 1) == (again, commit(transaction))
    assert (5, 6) == rows.snapshot(table)[0].item()[:2]
    assert 1 == table.commits[0]


def test_edit_of_several_rows_commits_them_together(segment: Segment) -> None:
    """One transaction, one moment."""
    transaction, table = open_both(segment)
    for row in range(ROW_COUNT):
        table.words[rows.edit(transaction, table, row), 0] = row + 1
    assert (ROW_COUNT, [1, 2, 3]) == (commit(transaction), firsts(table))


def test_edit_after_a_kill_starts_from_the_committed_row(segment: Segment) -> None:
    """What the dead process wrote into the spare copy is gone."""
    transaction, table = open_both(segment)
    table.words[rows.edit(transaction, table, 0), :] = 1
    commit(transaction)
    table.words[rows.edit(transaction, table, 0), :] = -1
    transaction, table = open_both(segment)
    copy = rows.edit(transaction, table, 0)
    assert [1] * 16 == table.words[copy].tolist()
    commit(transaction)
    assert [1, 0, 0] == firsts(table)


def test_read_returns_the_version_that_it_copied(segment: Segment) -> None:
    """The version tells a reader whether anything changed since."""
    transaction, table = open_both(segment)
    output = np.zeros(16, np.int64)
    versions = []
    for _ in range(3):
        versions.append(int(rows.read(table, 0, output)))
        rows.edit(transaction, table, 0)
        commit(transaction)
    assert [0, 1, 2] == versions
