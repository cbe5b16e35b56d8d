"""One order under check, and what the checks say of it: whether a value keeps to the limits of all three scopes."""

from typing import NamedTuple

import numpy as np

from pipeline.messages import BUY, LIMIT
from pipeline.risk.amounts import AMOUNT_MAX, share_found, share_of
from pipeline.risk.guard import FOUND_LIMIT, FOUND_LIMIT_ID, FOUND_SCOPE, FOUND_VALUE, instrument_scope, strategy_scope
from pipeline.risk.limits import UNLIMITED
from pipeline.risk.positions import left_to_exit
from pipeline.topology import ACCOUNT
from shm.jit import njit_inline
from shm.rows import current


class Proposal(NamedTuple):
    """An order that may be sent, as numbers; its form has been checked."""

    scopes: tuple[int, int, int]  #: the account's, its strategy's, its instrument's
    limits: tuple[int, int, int]  #: the copies of their rows in the table of limits that count
    strategy: int
    instrument: int
    row: int  #: in the positions table
    position: int  #: the copy of that row that counts
    side: int  #: BUY, SELL
    lots: int  #: > 0
    limit_ticks: int  #: 0 = a market order
    price_ticks: int  #: at which it counts: its limit, else the touch of its side, else the last; 0 = none is known
    reduces: bool  #: it only makes its position smaller, all that works in that direction counted


@njit_inline
def propose(guard, strategy, instrument, request):
    """Return the Proposal of a REQUEST whose form is right."""
    scopes = (np.int64(ACCOUNT), strategy_scope(strategy), instrument_scope(guard, instrument))
    rows = guard.limit_rows
    limits = (current(rows, scopes[0]), current(rows, scopes[1]), current(rows, scopes[2]))
    row = strategy * guard.marks.shape[0] + instrument
    copy = current(guard.positions, row)
    position, mark = guard.positions.copies[copy], guard.marks[instrument]
    side, lots, limit_ticks = request["side"], request["quantity_lots"], np.int64(0)
    price = mark["ask_ticks"] if side == BUY else mark["bid_ticks"]
    if price == 0:
        price = mark["last_ticks"]
    if request["order_type"] == LIMIT:
        limit_ticks = request["price_ticks"]
        # With no price at all its limit alone would say what everything is worth.
        known = price != 0 or mark["bid_ticks"] != 0 or mark["ask_ticks"] != 0
        price = limit_ticks if known else np.int64(0)
    open_lots = position["quantity_lots"]
    reduces = open_lots != 0 and (open_lots > 0) != (side > 0) and lots <= left_to_exit(position)
    return Proposal(scopes, limits, strategy, instrument, row, copy, side, lots, limit_ticks, price, reduces)


@njit_inline
def find(guard, value, limit, scope, limit_id):
    """Leave in `guard.found` what an order is refused for."""
    guard.found[FOUND_VALUE] = value
    guard.found[FOUND_LIMIT] = limit
    guard.found[FOUND_SCOPE] = scope
    guard.found[FOUND_LIMIT_ID] = limit_id


@njit_inline
def at_most(guard, order, limit_id, values):
    """Tell whether a value keeps to an upper limit, else leave in `guard.found` the first scope whose limit it passes.

    What comes to AMOUNT_MAX passes every limit, so that it can be counted with at all.

    Args:
        guard: Guard.
        order: Proposal.
        limit_id: Place in LIMITS.
        values: (account's, strategy's, instrument's) int64, in the unit of the limit.
    """
    for k in range(3):
        limit, value = guard.limit_rows.words[order.limits[k], limit_id], values[k]
        if value >= AMOUNT_MAX or (limit != UNLIMITED and value > limit):
            find(guard, value, limit if limit != UNLIMITED else AMOUNT_MAX - 1, order.scopes[k], limit_id)
            return False
    return True


@njit_inline
def at_least(guard, order, limit_id, value):
    """Tell whether a value keeps to a lower limit of all scopes, as `at_most` does to an upper one."""
    for k in range(3):
        limit = guard.limit_rows.words[order.limits[k], limit_id]
        if limit != UNLIMITED and value < limit:
            find(guard, value, limit, order.scopes[k], limit_id)
            return False
    return True


@njit_inline
def at_most_share(guard, order, limit_id, values, base):
    """Tell whether values keep to shares of a base, as `at_most`; found are shares in parts per million.

    Args:
        guard: Guard.
        order: Proposal.
        limit_id: Place in LIMITS, of a limit in parts per million.
        values: (account's, strategy's, instrument's) int64 >= 0.
        base: int64; where it is not above 0 every value above 0 passes the limit.
    """
    for k in range(3):
        limit = guard.limit_rows.words[order.limits[k], limit_id]
        if limit != UNLIMITED and values[k] > share_of(base, limit):
            # Rounding, in floats and of the share to whole units, must not make it look as if it had kept to the limit.
            find(guard, max(share_found(values[k], base), limit + 1), limit, order.scopes[k], limit_id)
            return False
    return True
