"""The account from outside: every amount of every scope against the same sums written out in decimals."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.account_view import NOTHING, AccountReader, AccountState, Totals, fold, scope_names, unrealised_tick_lots
from pipeline.messages import ACTIVE, BY_DRAWDOWN, HALTED, REDUCING
from pipeline.risk.limits import NOT_SET, UNLIMITED, free_limits, write_limits
from pipeline.tables import (
    MARK,
    POSITION,
    SCOPE_COOLDOWN_NS,
    SCOPE_DAY_PNL,
    SCOPE_PEAK,
    SCOPE_REASON,
    SCOPE_RESTRICTED,
    SCOPE_SINCE_NS,
    SCOPE_STATE,
    SCOPE_WEEK_PNL,
    SCOPE_WORDS,
)
from tests.pipeline.sidecar_instance import INSTRUMENTS, MONEY, SIZES, Instance, made_instance

pytestmark = pytest.mark.jitless

#: Money in one tick of one lot: 0.01 USD, 0.0001 USDT, 1.25 USD.
TICK_LOTS = (Decimal("0.01"), Decimal("0.0001"), Decimal("1.25"))
COUNT = len(INSTRUMENTS)


def row_of(**fields: int) -> np.void:
    """Return a POSITION."""
    row = np.zeros(1, POSITION)[0]
    for name, value in fields.items():
        row[name] = value
    return row


def mark_of(bid: int = 0, ask: int = 0, last: int = 0) -> np.void:
    """Return a MARK with these prices in ticks."""
    mark = np.zeros(1, MARK)[0]
    mark["bid_ticks"], mark["ask_ticks"], mark["last_ticks"] = bid, ask, last
    return mark


def as_money(totals: Totals) -> tuple[Decimal, ...]:
    """Return the amounts of some totals as decimals."""
    return tuple(MONEY.decimal(units) for units in totals[:5])


def told_by_hand(rows: np.ndarray, marks: np.ndarray, chosen: list[int]) -> tuple[Decimal, ...]:
    """Return realised, fees, unrealised, gross and net of some rows in decimals, from the definitions."""
    realised = fees = unrealised = gross = all_bought = all_sold = Decimal(0)
    for index in chosen:
        row, mark, worth = rows[index], marks[index % COUNT], TICK_LOTS[index % COUNT]
        quantity = int(row["quantity_lots"])
        bid, ask, last = int(mark["bid_ticks"]), int(mark["ask_ticks"]), int(mark["last_ticks"])
        leave_at = {True: bid, False: ask}[quantity > 0] or last
        exposure_at = ask or last or bid
        realised += int(row["realised_tick_lots"]) * worth
        fees += int(row["fee_units"]) * Decimal("0.000001")
        if quantity and leave_at:
            unrealised += (quantity * leave_at - int(row["cost_tick_lots"])) * worth
        bought, sold = quantity + int(row["working_buy_lots"]), quantity - int(row["working_sell_lots"])
        gross += max(abs(bought), abs(sold)) * exposure_at * worth
        all_bought += bought * exposure_at * worth
        all_sold += sold * exposure_at * worth
    return realised, fees, unrealised, gross, max(abs(all_bought), abs(all_sold))


LOTS, TICKS = st.integers(-(1 << 20), 1 << 20), st.integers(0, 1 << 22)
ROW = st.tuples(
    LOTS, st.integers(-(1 << 45), 1 << 45), st.integers(-(1 << 45), 1 << 45), st.integers(0, 1 << 20), st.integers(0, 1 << 20),
    st.integers(-(1 << 40), 1 << 40), st.integers(0, 3),
)  # fmt: skip
FIELDS = (
    "quantity_lots", "cost_tick_lots", "realised_tick_lots", "working_buy_lots", "working_sell_lots", "fee_units", "fill_count",
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.lists(ROW, min_size=2 * COUNT, max_size=2 * COUNT),
    st.lists(st.tuples(TICKS, TICKS, TICKS), min_size=COUNT, max_size=COUNT),
)
def test_fold_of_any_rows_is_the_sum_written_out(drawn: list[tuple], prices: list[tuple]) -> None:
    """Account, each strategy and each instrument have what their rows come to, and the account is the sum of either."""
    rows, marks = np.zeros(2 * COUNT, POSITION), np.zeros(COUNT, MARK)
    for row, values in zip(rows, drawn, strict=True):
        for field, value in zip(FIELDS, values, strict=True):
            row[field] = value
        if row["fill_count"] == 0:
            # A row that never filled has nothing but orders.
            for field in ("quantity_lots", "cost_tick_lots", "realised_tick_lots", "fee_units"):
                row[field] = 0
    for mark, (bid, ask, last) in zip(marks, prices, strict=True):
        mark["bid_ticks"], mark["ask_ticks"], mark["last_ticks"] = bid, ask, last
    totals = fold(rows, marks, MONEY)
    scopes = [list(range(2 * COUNT))]
    scopes += [[strategy * COUNT + index for index in range(COUNT)] for strategy in range(2)]
    scopes += [[index, COUNT + index] for index in range(COUNT)]
    for scope, chosen in enumerate(scopes):
        assert told_by_hand(rows, marks, chosen) == as_money(totals.get(scope, NOTHING)), f"scope {scope}"
        assert int(np.count_nonzero(rows["quantity_lots"][chosen])) == totals.get(scope, NOTHING).open_count
    for part in (range(1, 3), range(3, 3 + COUNT)):
        assert totals.get(0, NOTHING)[:4] == tuple(map(sum, zip(*(totals.get(s, NOTHING)[:4] for s in part), strict=True)))


@pytest.mark.parametrize(
    ("quantity", "mark", "expected"),
    [
        (10, mark_of(101, 103, 107), 10), (-10, mark_of(101, 103, 107), -30), (10, mark_of(0, 103, 107), 70),
        (-10, mark_of(101, 0, 0), 0), (0, mark_of(101, 103, 107), 0), (10, mark_of(), 0),
    ],
)  # fmt: skip
def test_unrealised_of_a_position_is_at_the_price_it_can_be_left_at(quantity: int, mark: np.void, expected: int) -> None:
    """The bid for a long position, the ask for a short one, else the last trade, else nothing is known."""
    position = row_of(quantity_lots=quantity, cost_tick_lots=100 * quantity)
    assert expected == unrealised_tick_lots(position, mark)


def test_fold_of_working_orders_alone_counts_their_exposure() -> None:
    """An order that has not filled is exposure and no position."""
    rows, marks = np.zeros(2 * COUNT, POSITION), np.zeros(COUNT, MARK)
    rows["working_sell_lots"][2], marks["ask_ticks"][2] = 4, 20_000
    totals = fold(rows, marks, MONEY)
    assert (Decimal(0), Decimal(0), Decimal(0), Decimal(100_000), Decimal(100_000)) == as_money(totals[0])
    assert {0, 1, 1 + 2 + 2} == set(totals)
    assert 0 == totals[0].open_count


def test_fold_of_nothing_has_no_scope() -> None:
    """Rows that nobody ever used cost nothing."""
    assert {} == fold(np.zeros(2 * COUNT, POSITION), np.zeros(COUNT, MARK), MONEY)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance whose limits are all unlimited."""
    with made_instance(tmp_path) as made:
        write_limits(made.segment, free_limits(SIZES.scope_count))
        yield made


def read(instance: Instance) -> AccountState:
    """Return its account."""
    return AccountReader(instance.segment, SIZES, INSTRUMENTS, MONEY).read()


def set_word(instance: Instance, scope: int, word: int, value: int) -> None:
    """Set one word of a scope."""
    instance.segment.array("scopes")[scope * SCOPE_WORDS + word] = value


def set_leverage(instance: Instance, value: int) -> None:
    """Set the account's leverage."""
    rows = free_limits(SIZES.scope_count)
    rows["max_leverage"][0] = value
    write_limits(instance.segment, rows)


def hold(instance: Instance) -> None:
    """Hold 100 AAPL of strategy 1, bought at 100.00 with a fee of 1.50, now 101.00 to 101.10, and 250.00 realised before."""
    row = instance.segment.array("positions.copies", POSITION)[2 * COUNT]
    row["quantity_lots"], row["cost_tick_lots"], row["realised_tick_lots"] = 100, 1_000_000, 25_000
    row["fee_units"], row["fill_count"] = 1_500_000, 3
    mark = instance.segment.array("marks", MARK)[0]
    mark["bid_ticks"], mark["ask_ticks"] = 10_100, 10_110


def test_account_of_a_fresh_instance_is_its_balance(instance: Instance) -> None:
    """Nothing won, nothing lost, everything ACTIVE."""
    state = read(instance)
    assert MONEY.balance_units == state.equity == state.peak_equity
    assert (NOTHING, ACTIVE, 0) == (state.account.totals, state.account.state, state.account.drawdown)
    assert () == state.strict
    assert state.buying_power is None
    assert state.account.name == scope_names(SIZES, INSTRUMENTS)[0] == "account"
    names = [[scope.name for scope in part] for part in (state.strategies, state.instruments)]
    assert [["strategy 0", "strategy 1"], ["AAPL", "BTCUSDT", "MESZ6"]] == names


def test_account_with_a_position_adds_up(instance: Instance) -> None:
    """Equity, day, week, peak and drawdown follow from the same P&L."""
    hold(instance)
    for word, amount in ((SCOPE_PEAK, 400), (SCOPE_DAY_PNL, 300), (SCOPE_WEEK_PNL, -50)):
        set_word(instance, 0, word, amount * 1_000_000)
    state = read(instance)
    account = state.account
    assert "348.50 USD" == MONEY.text(account.totals.pnl)
    assert MONEY.balance_units + account.totals.pnl == state.equity
    assert ("48.50 USD", "398.50 USD", "51.50 USD") == tuple(
        map(MONEY.text, (account.day_pnl, account.week_pnl, account.drawdown))
    )
    assert "10,110.00 USD" == MONEY.text(account.totals.gross)
    assert account.totals == state.strategies[1].totals == state.instruments[0].totals
    assert NOTHING == state.strategies[0].totals


def test_account_above_its_peak_has_no_drawdown(instance: Instance) -> None:
    """Between two reviews the P&L may pass the peak that risk has noted."""
    hold(instance)
    state = read(instance)
    assert (0, state.equity) == (state.account.drawdown, state.peak_equity)


@pytest.mark.parametrize(
    ("leverage", "expected"),
    [(UNLIMITED, None), (NOT_SET, "0.00 USD"), (2_000_000, "19,990,587.00 USD"), (1_000, "0.00 USD"), (1_011, "0.352333 USD")],
)
def test_buying_power_of_a_leverage_is_what_exposure_leaves(instance: Instance, leverage: int, expected: str | None) -> None:
    """Equity times the leverage less the gross exposure, never below zero; not set lets nothing through."""
    hold(instance)
    set_leverage(instance, leverage)
    power = read(instance).buying_power
    assert expected == (None if power is None else MONEY.text(power))


def test_account_states_that_are_strict_are_listed_with_their_reason(instance: Instance) -> None:
    """Whoever is not ACTIVE is told, the account first, with since when and until when."""
    set_word(instance, 3, SCOPE_STATE, HALTED)
    for word, value in ((SCOPE_STATE, REDUCING), (SCOPE_REASON, BY_DRAWDOWN), (SCOPE_SINCE_NS, 7), (SCOPE_COOLDOWN_NS, 9)):
        set_word(instance, 0, word, value)
    set_word(instance, 4, SCOPE_RESTRICTED, 1)
    state = read(instance)
    assert [("account", REDUCING), ("AAPL", HALTED)] == [(scope.name, scope.state) for scope in state.strict]
    assert (BY_DRAWDOWN, 7, 9) == (state.account.reason, state.account.since_ns, state.account.cooldown_ns)
    assert [False, True, False] == [scope.is_restricted for scope in state.instruments]
