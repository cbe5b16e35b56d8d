"""One order under check, and what the checks say of it: whether a value keeps to the limits of all three scopes."""

from typing import NamedTuple

import numpy as np

from pipeline.messages import BUY, LIMIT
from pipeline.risk.amounts import AMOUNT_MAX, PPM, share_found, share_of
from pipeline.risk.guard import FOUND_LIMIT, FOUND_LIMIT_ID, FOUND_SCOPE, FOUND_VALUE, instrument_scope, strategy_scope
from pipeline.risk.limits import UNLIMITED
from pipeline.risk.positions import left_to_exit
from pipeline.topology import ACCOUNT, RISK_NOW_NS
from shm.jit import njit_inline, njit_inner, njit_merged
from shm.rows import current

#: A comparison of shares in floats is off by less than this.
NEARLY = 1 - 1e-12


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


@njit_merged
def propose(guard, strategy, instrument, request):
    """Return the Proposal of a REQUEST whose form is right."""
    scopes = (np.int64(ACCOUNT), strategy_scope(strategy), instrument_scope(guard, instrument))
    rows = guard.limit_rows
    limits = (current(rows, scopes[0]), current(rows, scopes[1]), current(rows, scopes[2]))
    row = strategy * guard.marks.shape[0] + instrument
    copy = current(guard.positions, row)
    position, mark = guard.positions.copies[copy], guard.marks[instrument]
    side, lots = request["side"], request["quantity_lots"]
    # Whether it is a limit order is as good as chance: no branch on it.
    is_limit = np.int64(request["order_type"] == LIMIT)
    limit_ticks = is_limit * request["price_ticks"]
    price = mark["ask_ticks"] if side == BUY else mark["bid_ticks"]
    if price == 0:
        price = mark["last_ticks"]
    # With no price at all its limit alone would say what everything is worth.
    known = np.int64((price | mark["bid_ticks"] | mark["ask_ticks"]) != 0)
    price = known * limit_ticks + (1 - is_limit) * price
    open_lots = position["quantity_lots"]
    reduces = open_lots != 0 and (open_lots > 0) != (side > 0) and lots <= left_to_exit(position)
    return Proposal(scopes, limits, strategy, instrument, row, copy, side, lots, limit_ticks, price, reduces)


@njit_merged
def reference_half_ticks(guard, mark):
    """Return the price that an order is held against, in half ticks: the last trade, else the mid, else the side that is known.

    A trade older than the stale age counts only where there is no quote.
    """
    bid, ask, last = mark["bid_ticks"], mark["ask_ticks"], mark["last_ticks"]
    if last > 0 and guard.words[RISK_NOW_NS] - mark["trade_ns"] <= guard.limits.stale_ns:
        return 2 * last
    if bid > 0 and ask > 0:
        return bid + ask
    return 2 * max(bid, ask) if bid > 0 or ask > 0 else 2 * last


@njit_merged
def find(guard, value, limit, scope, limit_id):
    """Leave in `guard.found` what an order is refused for."""
    guard.found[FOUND_VALUE] = value
    guard.found[FOUND_LIMIT] = limit
    guard.found[FOUND_SCOPE] = scope
    guard.found[FOUND_LIMIT_ID] = limit_id


@njit_merged
def at_most(guard, order, limit_id, values, plain):
    """Tell whether a value keeps to an upper limit, else leave in `guard.found` the first scope whose limit it passes.

    What comes to AMOUNT_MAX passes every limit, so that it can be counted with at all. There is no branch for each scope: most
    orders pass, and what is looked at for all three at once is looked at faster.

    Args:
        guard: Guard.
        order: Proposal.
        limit_id: Place in LIMITS.
        values: (account's, strategy's, instrument's) int64 >= 0, in the unit of the limit.
        plain: Whether they are known to be below AMOUNT_MAX.
    """
    words = guard.limit_rows.words
    beyond = False
    for k in range(3):
        # Without its sign UNLIMITED is the largest number there is.
        beyond |= np.uint64(values[k]) > np.uint64(words[order.limits[k], limit_id])
        beyond |= not plain and values[k] >= AMOUNT_MAX
    if beyond:
        find_upper(guard.found, words, order.limits, order.scopes, limit_id, values)
    return not beyond


@njit_inline
def upper(limit):
    """Return the largest value within an upper limit, which may be UNLIMITED."""
    return min(limit, AMOUNT_MAX - 1) if limit != UNLIMITED else AMOUNT_MAX - 1


@njit_inner
def find_upper(found, words, copies, scopes, limit_id, values):
    """Leave in `found` the first scope whose upper limit is passed."""
    for k in range(2, -1, -1):
        limit = upper(words[copies[k], limit_id])
        if values[k] > limit:
            found[FOUND_VALUE] = values[k]
            found[FOUND_LIMIT] = limit
            found[FOUND_SCOPE] = scopes[k]
            found[FOUND_LIMIT_ID] = limit_id


@njit_merged
def at_least(guard, order, limit_id, value):
    """Tell whether a value keeps to a lower limit of all scopes, as `at_most` does to an upper one."""
    words, limits = guard.limit_rows.words, order.limits
    # UNLIMITED is below every value.
    least = max(words[limits[0], limit_id], words[limits[1], limit_id], words[limits[2], limit_id])
    if value >= least:
        return True
    for k in range(2, -1, -1):
        limit = words[limits[k], limit_id]
        if value < limit:
            find(guard, value, limit, order.scopes[k], limit_id)
    return False


@njit_merged
def at_most_share(guard, order, limit_id, values, base):
    """Tell whether values keep to shares of a base, as `at_most`; found are shares in parts per million.

    Args:
        guard: Guard.
        order: Proposal.
        limit_id: Place in LIMITS, of a limit in parts per million.
        values: (account's, strategy's, instrument's) int64 >= 0; below 0 they keep to any share.
        base: int64; where it is not above 0 every value above 0 passes the limit.
    """
    words = guard.limit_rows.words
    near = False
    for k in range(3):
        limit = words[order.limits[k], limit_id]
        # Floats cannot wrap. They err by far less than NEARLY, and where they leave a doubt integers decide.
        near |= (limit != UNLIMITED) & (np.float64(values[k]) * PPM > np.float64(limit) * np.float64(base) * NEARLY)
    return find_share(guard.found, words, order.limits, order.scopes, limit_id, values, base) if near else True


@njit_inner
def find_share(found, words, copies, scopes, limit_id, values, base):
    """Tell whether values keep to shares of a base, exactly, else leave in `found` the first scope whose they do not."""
    keeps = True
    for k in range(2, -1, -1):
        limit = words[copies[k], limit_id]
        if limit != UNLIMITED and values[k] > share_of(base, limit):
            keeps = False
            # Rounding, in floats and of the share to whole units, must not make it look as if it had kept to the limit.
            found[FOUND_VALUE] = max(share_found(values[k], base), limit + 1)
            found[FOUND_LIMIT] = limit
            found[FOUND_SCOPE] = scopes[k]
            found[FOUND_LIMIT_ID] = limit_id
    return keeps
