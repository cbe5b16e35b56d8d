"""Fees of the paper venue: exact, rounded up, and never beyond what a word holds."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.execution.fees import FEE_MAX, fee_of, make_fees

pytestmark = pytest.mark.jitless


def exact_fee(value_units: int, share_ppm: int, lot_micros: int, lots: int, price: int) -> int:
    """Return the fee by fractions."""
    share = min(math.ceil(Fraction(lots * price * value_units * share_ppm, 10**6)), FEE_MAX)
    return min(share + min(math.ceil(Fraction(lots * lot_micros, 10**6)), FEE_MAX), FEE_MAX)


@given(
    value_units=st.integers(1, 10**9), share_ppm=st.integers(0, 100_000), lot_micros=st.integers(0, 10**13),
    lots=st.integers(1, 2**40), price=st.integers(1, 2**22),
)  # fmt: skip
def test_fee_is_exact_and_rounded_up(value_units: int, share_ppm: int, lot_micros: int, lots: int, price: int) -> None:
    """Whatever the amounts: what fits a word is exact, what does not is held at the most."""
    fees = make_fees(np.array([7, value_units], np.int64), share_ppm, np.array([1, lot_micros], np.int64))
    told, wanted = int(fee_of(fees, 1, lots, price)), exact_fee(value_units, share_ppm, lot_micros, lots, price)
    # Where the notional itself passes the bound, so does its fee by the kernel's rule.
    is_beyond = lots * price * value_units > FEE_MAX or lots * lot_micros > FEE_MAX
    assert told == wanted or (is_beyond and told == FEE_MAX)


@pytest.mark.parametrize(
    ("share_ppm", "lot_micros", "fee"),
    [(0, 0, 0), (500, 0, 5), (501, 0, 6), (0, 300_000, 3), (0, 300_001, 4), (500, 300_000, 8)],
)
def test_fee_of_a_share_and_of_a_lot_add_up(share_ppm: int, lot_micros: int, fee: int) -> None:
    """10 lots at 100 ticks of 10 units: 10,000 units of notional."""
    fees = make_fees(np.array([10], np.int64), share_ppm, np.array([lot_micros], np.int64))
    assert fee == fee_of(fees, 0, 10, 100)
