"""The account's books: what fills and orders mean for the totals of the account, of a strategy and of an instrument.

Every kernel here stages only: the totals change in the transaction that changes the position, so that they are the sum of the
positions whatever dies. Money is in money units of the account (pipeline.money): a fill realises its tick-lots times the money
units in one tick-lot of its instrument, which is whole, so that every total is exact.
"""

from typing import NamedTuple

import numpy as np

from pipeline.risk.limits import Limits
from pipeline.risk.positions import CLOSED, FLIPPED, OPENED, unrealised_tick_lots
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
from shm.jit import njit, njit_inline
from shm.rows import Table, current, edit
from shm.transaction import Transaction, stage, staged

#: No amount of money passes it: what would is held there, so that no sum of two can overflow.
MONEY_LIMIT = 1 << 61
SECOND_NS = 1_000_000_000


class Account(NamedTuple):
    """What booking touches. The fields have the names of RiskState's, which serves as well."""

    transaction: Transaction
    scopes: Scopes
    positions: Table
    limit_rows: Table  #: LIMITS by scope
    limits: Limits  #: value_units, reject_window_ns
    words: np.ndarray  #: topology.RISK_* words
    words_base: int


@njit_inline
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


@njit_inline
def held_within_limit(money):
    """Return an amount, or the limit of money that it passes."""
    return min(max(money, -MONEY_LIMIT), MONEY_LIMIT)


@njit
def money_of(tick_lots, value_units):
    """Return the money units that tick-lots are worth.

    Args:
        tick_lots: Any.
        value_units: Money units in one tick-lot, > 0.
    """
    # Compared by division: the product could pass 2**63.
    if abs(tick_lots) > MONEY_LIMIT // value_units:
        return MONEY_LIMIT if tick_lots > 0 else -MONEY_LIMIT
    return tick_lots * value_units


@njit
def scope_word(account, scope, word):
    """Return a word of a scope as this transaction leaves it."""
    at = scope * SCOPE_WORDS + word
    return staged(account.transaction, account.scopes.base + at, load_relaxed(account.scopes.words, at))


@njit
def set_scope_word(account, scope, word, value):
    """Stage a word of a scope."""
    stage(account.transaction, account.scopes.base + scope * SCOPE_WORDS + word, value)


@njit
def add_to_scope(account, scope, word, amount):
    """Stage that a word of a scope grows, within the limit of money.

    Returns:
        What it will be.
    """
    value = held_within_limit(scope_word(account, scope, word) + held_within_limit(amount))
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

    A trade is all that happens from flat to flat, or to the other side. The fill that flips pays its fee for the trade that it ends.
    """
    value_units = account.limits.value_units[row % account.scopes.instruments]
    position = account.positions.copies[edit(account.transaction, account.positions, row)]
    fees_before = position["fee_units"]
    fees = held_within_limit(fees_before + held_within_limit(fee_units))
    position["fee_units"] = fees
    outcome = np.int64(0)
    if change == CLOSED or change == FLIPPED:
        traded = position["realised_tick_lots"] - position["opened_realised_tick_lots"]
        outcome = money_of(traded, value_units) - (fees - position["opened_fee_units"])
    if change == OPENED or change == FLIPPED:
        position["opened_realised_tick_lots"] = position["realised_tick_lots"]
        position["opened_fee_units"] = fees_before if change == OPENED else fees
    realised = money_of(realised_tick_lots, value_units)
    for kind in range(KINDS):
        scope = scope_of_row(account.scopes, row, kind)
        if realised != 0:
            add_to_scope(account, scope, SCOPE_REALISED, realised)
        if fee_units != 0:
            add_to_scope(account, scope, SCOPE_FEES, fee_units)
        if outcome < 0:
            losses = add_to_scope(account, scope, SCOPE_LOSSES, 1)
            limit_row = account.limit_rows.copies[current(account.limit_rows, scope)]
            if losses == limit_row["max_consecutive_losses"]:
                ask_for_review(account)
        elif outcome > 0:
            set_scope_word(account, scope, SCOPE_LOSSES, 0)


@njit
def book_executed(account, row):
    """Count an order of a strategy that is filled. Call it beside book_fill where the order, no exit of a stop, has nothing left."""
    for kind in range(KINDS):
        add_to_scope(account, scope_of_row(account.scopes, row, kind), SCOPE_EXECUTIONS, 1)


@njit
def book_order(account, row):
    """Count an order of a strategy. Call it in the transaction that publishes the order."""
    for kind in range(KINDS):
        scope = scope_of_row(account.scopes, row, kind)
        trades = add_to_scope(account, scope, SCOPE_TRADES, 1)
        if trades == account.limit_rows.copies[current(account.limit_rows, scope)]["max_trades_per_day"]:
            ask_for_review(account)
        count_order(account, scope)
        push_rate(account, scope)


@njit
def book_exit(account, row):
    """Take the exit of a stop out of the order rate's bucket. Call it in the transaction that publishes the exit, each time."""
    for kind in range(KINDS):
        push_rate(account, scope_of_row(account.scopes, row, kind))


@njit
def book_refused(account, strategy):
    """Count an order that was refused before it left. Call it in the transaction that consumes the request.

    Args:
        account: Account.
        strategy: Whose; the instrument may be unknown, so only the account and the strategy count it.
    """
    for scope in (ACCOUNT, 1 + strategy):
        count_order(account, scope)
        add_to_scope(account, scope, SCOPE_REJECTS, 1)


@njit
def count_reject(account, row):
    """Count an order of a strategy that the venue rejected. Call it in the transaction that consumes the report, no exit of a stop."""
    for kind in range(KINDS):
        scope = scope_of_row(account.scopes, row, kind)
        begin_window(account, scope)
        add_to_scope(account, scope, SCOPE_REJECTS, 1)


@njit
def count_order(account, scope):
    """Stage one more order in the window in which rejects are counted."""
    begin_window(account, scope)
    add_to_scope(account, scope, SCOPE_ORDERS, 1)


@njit
def begin_window(account, scope):
    """Stage a new window of orders and rejects where the last has ended."""
    now_ns = account.words[RISK_NOW_NS]
    if now_ns >= scope_word(account, scope, SCOPE_WINDOW_NS):
        set_scope_word(account, scope, SCOPE_WINDOW_NS, now_ns + account.limits.reject_window_ns)
        set_scope_word(account, scope, SCOPE_ORDERS, 0)
        set_scope_word(account, scope, SCOPE_REJECTS, 0)


@njit
def push_rate(account, scope):
    """Stage one token less in the bucket of a scope's order rate, where it has one."""
    limit = account.limit_rows.copies[current(account.limit_rows, scope)]["max_orders_per_second"]
    if limit > 0:
        full_ns = max(scope_word(account, scope, SCOPE_RATE_NS), account.words[RISK_NOW_NS])
        set_scope_word(account, scope, SCOPE_RATE_NS, full_ns + SECOND_NS // limit)


@njit
def ask_for_review(account):
    """Stage that the breaker looks before the next request or tick: a count has come to its limit, and no further order may leave."""
    stage(account.transaction, account.words_base + RISK_REVIEW_NS, 0)


@njit
def closed_profit(scopes, scope):
    """Return what a scope has realised less its fees, in money units, as committed."""
    at = scope * SCOPE_WORDS
    return held_within_limit(scopes.words[at + SCOPE_REALISED] - scopes.words[at + SCOPE_FEES])


@njit
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
            profit = held_within_limit(profit + open_profit(account, marks, row))
    return profit


@njit
def open_profit(account, marks, row):
    """Return what the open quantity of a position is worth more than it cost, in money units; 0 without a mark."""
    instrument = row % account.scopes.instruments
    position = account.positions.copies[current(account.positions, row)]
    return money_of(unrealised_tick_lots(position, marks[instrument]), account.limits.value_units[instrument])
