"""What the pre-trade check is made of: the list of held positions, the token bucket, bounded amounts, the table of limits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import tables, topology
from pipeline.risk import amounts
from pipeline.risk.amounts import AMOUNT_MAX, PPM, share_found, share_of, worth
from pipeline.risk.held import Held, join, keep, leave, make_held
from pipeline.risk.limits import NOT_SET, UNLIMITED, free_limits, write_limits
from pipeline.risk.rate import NS_PER_SECOND, conforms, next_tat
from shm import rows, segment
from tests.check_world import INSTRUMENTS, SIZES, STRATEGIES

pytestmark = pytest.mark.jitless

ROWS = STRATEGIES * INSTRUMENTS
ANY_AMOUNT = st.integers(-AMOUNT_MAX, AMOUNT_MAX)


def exact_bounded(amount: int) -> int:
    """Return an amount held to its bounds."""
    return min(max(amount, -AMOUNT_MAX), AMOUNT_MAX)


@given(
    lots=st.integers(-(2**61), 2**61),
    price=st.integers(0, 2**42),
    value=st.one_of(st.integers(1, 2**20), st.integers(1, 2**61)),
)
def test_worth_of_any_lots_is_exact_within_bounds(lots: int, price: int, value: int) -> None:
    """Lots × price × value is exact where it fits, and the bound where it does not."""
    assert exact_bounded(lots * price * value) == worth(lots, price, value)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_worth_about_its_bound_is_exact(beyond: int) -> None:
    """One below the bound, at it and one above."""
    assert min(AMOUNT_MAX + beyond, AMOUNT_MAX) == worth(AMOUNT_MAX + beyond, 1, 1)
    assert -min(AMOUNT_MAX + beyond, AMOUNT_MAX) == worth(-AMOUNT_MAX - beyond, 1, 1)


@given(amount=ANY_AMOUNT, share=st.integers(0, amounts.SHARE_PPM_MAX))
def test_share_of_any_amount_is_the_floor(amount: int, share: int) -> None:
    """Whole units, rounded down, as fractions say; of less than nothing there is no share."""
    assert min(max(amount, 0) * share // PPM, AMOUNT_MAX) == share_of(amount, share)


@given(amount=st.integers(0, AMOUNT_MAX), base=ANY_AMOUNT)
def test_share_found_of_any_amount_is_near(amount: int, base: int) -> None:
    """What people read is right in all places that a float has."""
    if base <= 0:
        assert AMOUNT_MAX == share_found(amount, base)
    else:
        exact = min(Fraction(amount * PPM, base), Fraction(AMOUNT_MAX))
        assert abs(share_found(amount, base) - exact) <= 1 + exact / 10**12


@given(
    ahead_ns=st.integers(-(10**9), 10**11),
    rate=st.integers(1, 10**6),
    burst=st.integers(1, 1_000),
    reserve_ppm=st.integers(0, PPM),
)
def test_bucket_of_any_size_conforms_as_fractions_say(ahead_ns: int, rate: int, burst: int, reserve_ppm: int) -> None:
    """An order conforms while the word that it pushes is within what is not kept of the bucket, or where the bucket is full."""
    now_ns = 10**15
    each_ns = NS_PER_SECOND // rate
    usable_ns = max(Fraction(burst * each_ns * (PPM - reserve_ppm), PPM), Fraction(each_ns))
    expected = max(ahead_ns, 0) + each_ns <= usable_ns
    assert expected == conforms(now_ns + ahead_ns, now_ns, rate, burst, reserve_ppm)
    assert now_ns + max(ahead_ns, 0) + each_ns == next_tat(now_ns + ahead_ns, now_ns, rate)


@pytest.mark.parametrize(("burst", "reserve_ppm", "expected"), [(10, 200_000, 8), (10, 0, 10), (1, 900_000, 1), (4, PPM, 1)])
def test_bucket_that_is_full_lets_a_burst_through(burst: int, reserve_ppm: int, expected: int) -> None:
    """At one moment so many orders leave as the bucket holds less its reserve, and one in any case; after 1/rate one more."""
    now_ns, full_ns, sent = 10**15, 0, 0
    while conforms(full_ns, now_ns, 10, burst, reserve_ppm):
        full_ns, sent = next_tat(full_ns, now_ns, 10), sent + 1
    assert expected == sent
    assert not conforms(full_ns, now_ns + NS_PER_SECOND // 10 - 1, 10, burst, reserve_ppm)
    assert conforms(full_ns, now_ns + NS_PER_SECOND // 10, 10, burst, reserve_ppm)


def test_bucket_of_no_orders_refuses_even_when_full() -> None:
    """A rate of 0 lets nothing through."""
    assert not conforms(0, 10**15, 0, 10, 0)


def held_rows(held: Held) -> set[tuple[int, int, int]]:
    """Return (row, strategy, instrument) of what is in the list, whose places must be right."""
    count = int(held.count[0])
    listed = held.rows[:count].tolist()
    assert listed == [row for row in listed if held.places[row] == listed.index(row)]
    assert count == int((held.places >= 0).sum())
    return set(zip(listed, held.books[:count].tolist(), held.instruments[:count].tolist(), strict=True))


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, ROWS - 1)), max_size=40))
def test_held_list_of_any_joins_and_leaves_is_the_set(steps: list[tuple[bool, int]]) -> None:
    """Rows that join and leave in any order, twice too, leave what a set of them would hold."""
    held = make_held(empty_positions(), INSTRUMENTS)
    expected: set[tuple[int, ...]] = set()
    for joins, row in steps:
        (join if joins else leave)(held, row)
        (expected.add if joins else expected.discard)((row, *divmod(row, INSTRUMENTS)))
        assert expected == held_rows(held)


@pytest.mark.parametrize("field", ["quantity_lots", "working_buy_lots", "working_sell_lots"])
def test_held_list_follows_what_is_committed(field: str) -> None:
    """A row is held while anything of it is open or works, in the copy that counts, and a new list finds the same."""
    positions = empty_positions()
    held = make_held(positions, INSTRUMENTS)
    positions.copies[2 * 4 + 1][field] = 3
    keep(held, positions, 4)
    assert set() == held_rows(held)
    positions.commits[4] = 1
    keep(held, positions, 4)
    assert {(4, 1, 1)} == held_rows(held) == held_rows(make_held(positions, INSTRUMENTS))
    positions.commits[4] = 2
    keep(held, positions, 4)
    assert set() == held_rows(held) == held_rows(make_held(positions, INSTRUMENTS))


def empty_positions() -> rows.Table:
    """Return a positions table without positions."""
    return rows.open_table(segment.open_private(topology.regions(SIZES, 64)), "positions", tables.POSITION)


def test_free_limits_of_every_scope_limit_nothing() -> None:
    """Every field of every row is UNLIMITED."""
    limit_rows = free_limits(SIZES.scope_count)
    assert SIZES.scope_count == len(limit_rows)
    assert {UNLIMITED} == {int(limit_rows[name][scope]) for name in tables.LIMIT_NAMES for scope in range(len(limit_rows))}


def test_written_limits_count_whichever_copy_does() -> None:
    """Of a new instance and of one in which limits were changed before."""
    made = segment.open_private(topology.regions(SIZES, 64))
    table = rows.open_table(made, "limits", tables.LIMITS)
    table.commits[1] = 7
    limit_rows = free_limits(SIZES.scope_count)
    limit_rows["max_drawdown"] = np.arange(SIZES.scope_count)
    limit_rows["max_leverage"][2] = NOT_SET
    write_limits(made, limit_rows)
    assert limit_rows.tolist() == rows.snapshot(table).tolist()
