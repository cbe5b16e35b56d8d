"""Exact arithmetic of money and quantities in int64, within bounds: what is too much counts as AMOUNT_MAX, and never wraps.

|amount| <= 2**61, so that the sum of any three of them, and the difference of two, still fits a word.
"""

import numpy as np

from shm.jit import njit_inline

#: What money and quantities are held to. No limit is above it, and nothing may be ordered that comes to so much.
AMOUNT_MAX = 1 << 61
#: As a float it is exact; a product below it in float64, rounded thrice, is below 2**63 as an integer.
_PRODUCT_MAX = float(1 << 62)
PPM = 1_000_000
#: Shares above that, a million to one, count as that.
SHARE_PPM_MAX = 1 << 40


@njit_inline
def bounded(amount):
    """Return an amount held to AMOUNT_MAX on either side of 0."""
    return min(max(amount, -AMOUNT_MAX), AMOUNT_MAX)


@njit_inline
def worth(lots, price_ticks, value_units):
    """Return lots × price × value, exact below AMOUNT_MAX, else that; the sign is that of the lots.

    Args:
        lots: abs < 2**62.
        price_ticks: >= 0.
        value_units: Units in one tick of one lot, > 0. Quantities have a price of 1.
    """
    # In floats first, which cannot wrap: a division would say the same, and take ten times as long.
    if np.float64(abs(lots)) * np.float64(price_ticks) * np.float64(value_units) >= _PRODUCT_MAX:
        return AMOUNT_MAX if lots > 0 else -AMOUNT_MAX
    return bounded(lots * price_ticks * value_units)


@njit_inline
def share_of(amount, share_ppm):
    """Return floor(amount × share / 10**6), AMOUNT_MAX at most; 0 of a negative amount.

    Args:
        amount: abs <= AMOUNT_MAX.
        share_ppm: >= 0; above SHARE_PPM_MAX it counts as that.
    """
    if amount <= 0:
        return 0
    share = min(share_ppm, SHARE_PPM_MAX)
    millions, rest = amount // PPM, amount % PPM
    if np.float64(millions) * np.float64(share) >= _PRODUCT_MAX:
        return AMOUNT_MAX
    # rest × share < 2**20 × 2**40.
    return bounded(millions * share + rest * share // PPM)


@njit_inline
def share_found(amount, base):
    """Return amount / base in parts per million, rounded up, for people: from a float; AMOUNT_MAX where base is not above 0."""
    if base <= 0:
        return AMOUNT_MAX
    share = np.ceil(np.float64(amount) * PPM / np.float64(base))
    return np.int64(share) if share < AMOUNT_MAX else AMOUNT_MAX
