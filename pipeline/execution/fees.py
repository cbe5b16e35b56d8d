"""What the paper venue takes for a fill: a share of its notional and a fee for each lot, each rounded up to a money unit."""

from typing import NamedTuple

import numpy as np

from shm.jit import njit

PPM = 1_000_000
#: No fee passes it, so that no sum of two can overflow.
FEE_MAX = 1 << 60


class Fees(NamedTuple):
    """The venue's terms, as kernels take them; money units of the account (pipeline.money)."""

    share_ppm: int  #: of the notional, parts per million
    terms: np.ndarray  #: int64 (instruments, 2): money units in a tick of a lot; millionths of a money unit for each lot


def make_fees(value_units: np.ndarray, share_ppm: int = 0, lot_micros: np.ndarray | None = None) -> Fees:
    """Return a venue's terms.

    Args:
        value_units: int64 by instrument: money units in one tick of one lot.
        share_ppm: Share of the notional.
        lot_micros: int64 by instrument: millionths of a money unit for each lot; None = nothing.
    """
    fixed = np.zeros_like(value_units) if lot_micros is None else lot_micros
    return Fees(share_ppm, np.stack([value_units, fixed], axis=1))


@njit
def fee_of(fees, instrument, quantity_lots, price_ticks):
    """Return the fee of one fill in money units, FEE_MAX at most.

    Args:
        fees: Fees.
        instrument: Its index.
        quantity_lots: > 0.
        price_ticks: > 0; abs(quantity * price) < 2**62.
    """
    value_units, lot_micros = fees.terms[instrument, 0], fees.terms[instrument, 1]
    share = share_of(quantity_lots * price_ticks, value_units, fees.share_ppm)
    return min(share + share_of(quantity_lots, lot_micros, 1), FEE_MAX)


@njit
def share_of(count, each, ppm):
    """Return ceil(count * each * ppm / 10**6), FEE_MAX at most; all are >= 0."""
    if count == 0 or each == 0 or ppm == 0:
        return 0
    # Compared by division: the products could pass 2**63.
    if each > FEE_MAX // count:
        return FEE_MAX
    amount = count * each
    if amount // PPM > FEE_MAX // ppm:
        return FEE_MAX
    return amount // PPM * ppm + -(-(amount % PPM * ppm) // PPM)
