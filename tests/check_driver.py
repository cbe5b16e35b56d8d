"""The check over many orders in one call: a kernel with a guard takes longer to call from Python than to run."""

from __future__ import annotations

import numpy as np

from pipeline.messages import (
    REASON_NONE,
    REJECT_MIN_QUANTITY,
    REJECT_NO_LIMIT,
    REJECT_NOTIONAL,
    REJECT_POSITION_LIMIT,
    REJECT_QUANTITY,
    REJECT_VOLATILITY,
)
from pipeline.risk.checks import check_order
from pipeline.risk.guard import Guard
from pipeline.tables import LIMIT_NAMES
from shm.jit import njit
from tests.check_twin import Verdict

#: Reasons after which what is found names a limit.
OF_LIMITS = {REJECT_NO_LIMIT, REJECT_QUANTITY, REJECT_NOTIONAL, REJECT_POSITION_LIMIT}
OF_LIMITS |= set(range(REJECT_MIN_QUANTITY, REJECT_VOLATILITY + 1))


@njit
def check_each(guard, orders, requests, reasons, founds):
    """Check every request as if it were the only one.

    Args:
        guard: Guard.
        orders: int64 (n, 3): reason of the calendar, strategy, instrument.
        requests: (n,) REQUEST.
        reasons: int64 (n,), filled.
        founds: int64 (n, 4), filled.
    """
    for k in range(requests.shape[0]):
        reasons[k] = check_order(guard, orders[k, 0], orders[k, 1], orders[k, 2], requests[k])
        for word in range(4):
            founds[k, word] = guard.found[word]


def verdicts(guard: Guard, orders: np.ndarray, requests: np.ndarray) -> list[Verdict]:
    """Return what the check says of each request, as the twin says it."""
    reasons, founds = np.zeros(len(requests), np.int64), np.zeros((len(requests), 4), np.int64)
    check_each(guard, orders, requests, reasons, founds)
    return [as_verdict(reason, found) for reason, found in zip(reasons.tolist(), founds.tolist(), strict=True)]


def as_verdict(reason: int, found: list[int]) -> Verdict:
    """Return a reason and what was found in the words of the twin."""
    value, limit, scope, limit_id = found
    # A quantity that is none, or beyond all bounds, is refused before any limit is looked at.
    of_limit = reason in OF_LIMITS and found != [0, 0, 0, 0]
    return reason, value, limit, scope, LIMIT_NAMES[limit_id] if of_limit else ""


def verdict(guard: Guard, request: np.ndarray, strategy: int = 0, instrument: int = 0, calendar: int = REASON_NONE) -> Verdict:
    """Return what the check says of one order."""
    return verdicts(guard, np.array([[calendar, strategy, instrument]], np.int64), request)[0]
