"""The account's books: what fills and orders mean for the totals of the account, of a strategy and of an instrument.

Every kernel here stages only: the totals change in the transaction that changes the position, so that they are the sum of the
positions whatever dies. Money is in money units of the account (pipeline.money): a fill realises its tick-lots times the money
units in one tick-lot of its instrument, which is whole, so that every total is exact.
"""

from typing import NamedTuple

import numpy as np

from pipeline.risk.amounts import bounded, worth
from pipeline.risk.limits import Limits
from pipeline.risk.positions import CLOSED, FLIPPED, OPENED, unrealised_tick_lots
from pipeline.risk.rate import next_tat
from pipeline.risk.scopes import KINDS, Scopes, has_row, scope_of_row
from pipeline.tables import (
    SCOPE_EXECUTIONS,
    SCOPE_FEES,
    SCOPE_LOSSES,
    SCOPE_ORDERS,
    SCOPE_RATE_NS,
    SCOPE_REALISED,
    SCOPE_REJECTS,
    SCOPE_TRADES,
    SCOPE_WINDOW_NS,
    SCOPE_WORDS,
)
from pipeline.topology import ACCOUNT, RISK_NOW_NS, RISK_REVIEW_NS
from shm.atomics import load_relaxed
from shm.jit import njit, njit_inner, njit_merged
from shm.rows import Table, current, edit
from shm.transaction import Transaction, stage, staged

#: Of a position's scopes, the first ones: the account and its strategy. Instruments have no limits of losses, trades, rejects.
JUDGED = 2


class Account(NamedTuple):
    """What booking touches. The fields have the names of RiskState's, which serves as well."""

    transaction: Transaction
    scopes: Scopes
    positions: Table
    limit_rows: Table  #: LIMITS by scope
    limits: Limits  #: value_units, reject_window_ns
    words: np.ndarray  #: topology.RISK_* words
    words_base: int


@njit_merged
def account_of(state):
    """Return the part of RiskState that booking touches: each kernel here then compiles for few arrays."""
    return Account(
        state.transaction,
        state.scopes,
        state.positions,
        state.limit_rows,
        state.limits,
        state.words,
        state.words_base,
    )


@njit_inner
def scope_word(account, scope, word):
    """Return a word of a scope as this transaction leaves it."""
    at = scope * SCOPE_WORDS + word
    return staged(account.transaction, account.scopes.base + at, load_relaxed(account.scopes.words, at))


@njit_inner
def set_scope_word(account, scope, word, value):
    """Stage a word of a scope."""
    stage(account.transaction, account.scopes.base + scope * SCOPE_WORDS + word, value)


@njit_inner
def add_to_scope(account, scope, word, amount):
    """Stage that a word of a scope grows, within what amounts are held to.

    Returns:
        What it will be.
    """
    value = bounded(scope_word(account, scope, word) + bounded(amount))
    set_scope_word(account, scope, word, value)
    return value


@njit
def book_fill(account, row, change, realised_tick_lots, fee_units):
    """Book one fill. Call it after positions.apply_fill, in the same transaction, once for each fill that counts.

    Args:
        account: Account.
        row: Row in the positions table.
        change: What apply_fill returned.
        realised_tick_lots: By how much `realised_tick_lots` of the row has grown by this fill.
        fee_units: Its fee, in money units; a rebate is negative.

    A trade is all that happens from flat to flat, or to the other side. The fill that flips pays its fee for the trade it ends.
    """
    value_units = account.limits.value_units[row % account.scopes.instruments]
    position = account.positions.copies[edit(account.transaction, account.positions, row)]
    fees_before = position["fee_units"]
    fees = bounded(fees_before + bounded(fee_units))
    position["fee_units"] = fees
    outcome = np.int64(0)
    if change == CLOSED or change == FLIPPED:
        traded = position["realised_tick_lots"] - position["opened_realised_tick_lots"]
        outcome = worth(traded, 1, value_units) - (fees - position["opened_fee_units"])
    if change == OPENED or change == FLIPPED:
        position["opened_realised_tick_lots"] = position["realised_tick_lots"]
        position["opened_fee_units"] = fees_before if change == OPENED else fees
    realised = worth(realised_tick_lots, 1, value_units)
    for kind in range(KINDS):
        scope = scope_of_row(account.scopes, row, kind)
        if realised != 0:
            add_to_scope(account, scope, SCOPE_REALISED, realised)
        if fee_units != 0:
            add_to_scope(account, scope, SCOPE_FEES, fee_units)
    if outcome != 0:
        count_outcome(account, row, outcome)


@njit_inner
def count_outcome(account, row, outcome):
    """Stage one more loss in a row, or the end of the row, by what a trade has brought in money units."""
    for kind in range(JUDGED):
        scope = scope_of_row(account.scopes, row, kind)
        if outcome > 0:
            set_scope_word(account, scope, SCOPE_LOSSES, 0)
            continue
        losses = add_to_scope(account, scope, SCOPE_LOSSES, 1)
        if losses == account.limit_rows.copies[current(account.limit_rows, scope)]["max_consecutive_losses"]:
            ask_for_review(account)


@njit
def book_executed(account, row):
    """Count an order of a strategy that is filled. Call it beside book_fill where nothing is left of one that is no exit."""
    for kind in range(JUDGED):
        add_to_scope(account, scope_of_row(account.scopes, row, kind), SCOPE_EXECUTIONS, 1)


@njit
def book_order(account, row):
    """Count an order of a strategy. Call it in the transaction that publishes the order."""
    for kind in range(JUDGED):
        scope = scope_of_row(account.scopes, row, kind)
        trades = add_to_scope(account, scope, SCOPE_TRADES, 1)
        if trades == account.limit_rows.copies[current(account.limit_rows, scope)]["max_trades_per_day"]:
            ask_for_review(account)
        count_order(account, scope)
    book_exit(account, row)


@njit
def book_exit(account, row):
    """Count an exit of a stop in the order rate, and nowhere else. Call it in the transaction that publishes the exit."""
    for kind in range(KINDS):
        push_rate(account, scope_of_row(account.scopes, row, kind))


@njit
def book_refused(account, strategy):
    """Count an order that was refused before it left. Call it in the transaction that consumes the request.

    Args:
        account: Account.
        strategy: Whose.
    """
    for scope in (ACCOUNT, 1 + strategy):
        count_order(account, scope)
        add_to_scope(account, scope, SCOPE_REJECTS, 1)


@njit
def count_reject(account, row):
    """Count an order that the venue rejected, no exit. Call it in the transaction that consumes the report."""
    for kind in range(JUDGED):
        scope = scope_of_row(account.scopes, row, kind)
        begin_window(account, scope)
        add_to_scope(account, scope, SCOPE_REJECTS, 1)


@njit_inner
def count_order(account, scope):
    """Stage one more order in the window in which rejects are counted."""
    begin_window(account, scope)
    add_to_scope(account, scope, SCOPE_ORDERS, 1)


@njit_inner
def begin_window(account, scope):
    """Stage a new window of orders and rejects where the last has ended."""
    now_ns = account.words[RISK_NOW_NS]
    if now_ns >= scope_word(account, scope, SCOPE_WINDOW_NS):
        set_scope_word(account, scope, SCOPE_WINDOW_NS, now_ns + account.limits.reject_window_ns)
        set_scope_word(account, scope, SCOPE_ORDERS, 0)
        set_scope_word(account, scope, SCOPE_REJECTS, 0)


@njit_inner
def push_rate(account, scope):
    """Stage one token less in the bucket of a scope's order rate, where it has one."""
    limit = account.limit_rows.copies[current(account.limit_rows, scope)]["max_orders_per_second"]
    if limit > 0:
        full_ns = scope_word(account, scope, SCOPE_RATE_NS)
        set_scope_word(account, scope, SCOPE_RATE_NS, next_tat(full_ns, account.words[RISK_NOW_NS], limit))


@njit_inner
def ask_for_review(account):
    """Stage that the breaker looks before the next request or tick: a count is at its limit, and no further order may leave."""
    stage(account.transaction, account.words_base + RISK_REVIEW_NS, 0)


@njit_inner
def closed_profit(scopes, scope):
    """Return what a scope has realised less its fees, in money units, as committed."""
    at = scope * SCOPE_WORDS
    return bounded(scopes.words[at + SCOPE_REALISED] - scopes.words[at + SCOPE_FEES])


@njit_inner
def profit_of(account, marks, held, scope):
    """Return the P&L of one scope in money units, as committed: realised less fees, and what is open at its marks.

    Args:
        account: Account.
        marks: MARK per instrument.
        held: Rows that are held (risk.held).
        scope: Any scope.
    """
    profit = closed_profit(account.scopes, scope)
    for k in range(held.count[0]):
        row = np.int64(held.rows[k])
        if has_row(account.scopes, scope, row):
            profit = bounded(profit + open_profit(account, marks, row))
    return profit


@njit_inner
def open_profit(account, marks, row):
    """Return what the open quantity of a position is worth more than it cost, in money units; 0 without a mark."""
    instrument = row % account.scopes.instruments
    position = account.positions.copies[current(account.positions, row)]
    return worth(unrealised_tick_lots(position, marks[instrument]), 1, account.limits.value_units[instrument])
