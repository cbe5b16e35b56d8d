"""What the database tells of limits, trading states, refusals and who ordered what: exact numbers, and the story in words."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from pipeline.messages import (
    ACTIVE,
    BUY,
    BY_COOLDOWN,
    BY_DAILY_LOSS,
    BY_PERSON,
    CANCEL,
    EVENT,
    FILLED,
    HALTED,
    KILLED,
    LIMIT_CHANGED,
    MARKET,
    NEW,
    NOTE,
    NOTE_TEXT_BYTES,
    ORDER,
    REDUCING,
    REJECT_DAILY_LOSS,
    REJECT_HALTED,
    REJECT_MIN_QUANTITY,
    REJECT_NO_LIMIT,
    REJECT_ORDER_RATE,
    REJECT_POSITION_LIMIT,
    REJECT_REASONS,
    REJECT_RESTRICTED,
    REJECT_STALE,
    REJECT_VOLATILITY,
    REPORT,
    REQUEST_DONE,
    REQUEST_REFUSED,
    SET_LIMIT,
    SET_STATE,
    STATE_CHANGED,
    SUBMIT,
)
from pipeline.messages import LIMIT as LIMIT_ORDER
from pipeline.risk.limits import NOT_SET, UNLIMITED
from pipeline.sidecar.store import Run, Store
from pipeline.sidecar.streams import Batch, Progress
from pipeline.tables import LIMIT_NAMES
from tests.pipeline.sidecar_instance import INSTRUMENTS, MONEY, SIZES, write_text

EPOCH = 1_700_000_000_000_000_000
#: Requester of the control socket.
CONTROL = SIZES.strategies
#: Scopes: account, strategies 0 and 1, then the instruments.
ACCOUNT, STRATEGY_1, BTCUSDT = 0, 2, 4
USD = 1_000_000

DTYPES = {"events": EVENT, "notes": NOTE, "orders": ORDER, "reports": REPORT}

Rows = list[dict[str, Any]]
Ask = Callable[[str], list[tuple]]
Tell = Callable[..., Ask]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """Return a function that stores records by stream, and returns one that asks the database."""
    path = tmp_path / "history.duckdb"

    def ask(query: str) -> list[tuple]:
        connection = duckdb.connect(str(path), read_only=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def store_all(**streams: Rows | np.ndarray) -> Ask:
        store = Store(path, EPOCH, INSTRUMENTS, MONEY, SIZES.strategies)
        store.begin_run(Run("test", 5, "1", {}))
        store.write([batch_of(name, rows) for name, rows in streams.items()])
        store.close()
        return ask

    return store_all


def records_of(stream: str, rows: Rows) -> np.ndarray:
    """Return records with these fields, all others 0; the text of a note is given as str."""
    records = np.zeros(len(rows), DTYPES[stream])
    for record, row in zip(records, rows, strict=True):
        for name, value in row.items():
            if name == "text":
                write_text(record, str(value))
            else:
                record[name] = value
    return records


def batch_of(stream: str, rows: Rows | np.ndarray) -> Batch:
    """Return a batch from sequence 0 on."""
    records = rows if isinstance(rows, np.ndarray) else records_of(stream, rows)
    return Batch(stream, records, np.arange(len(records), dtype=np.int64), Progress(len(records), len(records), 0))


def refused(
    reason: int, limit: str = "", value: int = 0, allowed: int = 0, scope: int = ACCOUNT, **more: int
) -> dict[str, Any]:
    """Return the fields of a refusal by strategy 1 about 100 AAPL."""
    limit_id = LIMIT_NAMES.index(limit) if limit else 0
    standard: dict[str, Any] = {"kind": REQUEST_REFUSED, "side": BUY, "quantity_lots": 100, "strategy": 1, "requester": 1}
    return standard | {"reason": reason, "limit_id": limit_id, "value": value, "limit": allowed, "scope": scope}


def test_refusals_by_a_limit_tell_value_limit_and_whose(tell: Tell) -> None:
    """Money with its currency, quantities, shares and rates in their own units, exact beside the words."""
    ask = tell(
        events=[
            refused(REJECT_POSITION_LIMIT, "max_position_notional", 150_000 * USD, 100_000 * USD, STRATEGY_1),
            refused(REJECT_MIN_QUANTITY, "min_order_quantity", 1500, 2000, BTCUSDT),
            refused(REJECT_VOLATILITY, "max_volatility_percent", 31_234, 30_000, ACCOUNT),
            refused(REJECT_ORDER_RATE, "max_orders_per_second", 11, 10, ACCOUNT),
            refused(REJECT_DAILY_LOSS, "max_daily_loss", -5 * USD, 20_000 * USD, ACCOUNT),
        ]
    )
    told = [row[0] for row in ask("SELECT told FROM refusals ORDER BY seq")]
    assert [
        "position limit: 150,000.00 USD against a limit of 100,000.00 USD (strategy 1)",
        "min quantity: 1.5 against a limit of 2 (BTCUSDT)",
        "volatility: 3.1234 % against a limit of 3 % (account)",
        "order rate: 11/s against a limit of 10/s (account)",
        "daily loss: -5.00 USD against a limit of 20,000.00 USD (account)",
    ] == told
    expected = [
        (150_000 * USD, Decimal(150_000), Decimal(100_000), "max_position_notional", "strategy 1", "AAPL", 1),
        (1500, Decimal("1.5"), Decimal(2), "min_order_quantity", "BTCUSDT", "AAPL", 1),
        (31_234, None, None, "max_volatility_percent", "account", "AAPL", 1),
        (11, None, None, "max_orders_per_second", "account", "AAPL", 1),
        (-5 * USD, Decimal(-5), Decimal(20_000), "max_daily_loss", "account", "AAPL", 1),
    ]
    columns = "value, value_decimal, limit_decimal, limit_name, scope, symbol, strategy"
    assert expected == ask(f"SELECT {columns} FROM refusals ORDER BY seq")


def test_refusals_without_a_limit_tell_the_reason_alone(tell: Tell) -> None:
    """A state names whose; a limit that is not set is named; what has neither has no scope, whatever its fields hold."""
    ask = tell(
        events=[
            refused(REJECT_HALTED, scope=STRATEGY_1),
            refused(REJECT_NO_LIMIT, "max_leverage", NOT_SET, NOT_SET, STRATEGY_1),
            refused(REJECT_STALE, value=9, allowed=5),
            refused(REJECT_RESTRICTED),
        ]
    )
    assert [
        ("halted (strategy 1)", "strategy 1", None, None),
        ("no limit: max_leverage is not set (strategy 1)", "strategy 1", "max_leverage", None),
        ("stale", None, None, None),
        ("restricted", None, None, None),
    ] == ask("SELECT told, scope, limit_name, value_decimal FROM refusals ORDER BY seq")


def test_refusals_of_every_reason_have_words(tell: Tell) -> None:
    """No reason that risk may give is without its row and its name."""
    ask = tell(events=[refused(reason, value=5, allowed=4) for reason in range(1, len(REJECT_REASONS))])
    rows = ask("SELECT reason, told FROM refusals ORDER BY seq")
    assert list(REJECT_REASONS[1:]) == [reason for reason, _ in rows]
    assert all(told.startswith(reason.replace("_", " ")) for reason, told in rows)


def test_trading_states_tell_before_after_why_and_by_whom(tell: Tell) -> None:
    """A breaker with its numbers, a person with the note, the cooldown; each scope has a history of its own."""
    state = {"kind": STATE_CHANGED, "requester": CONTROL}
    ask = tell(
        events=[
            state | {"state": REDUCING, "reason": BY_DAILY_LOSS, "value": 20_100 * USD, "limit": 20_000 * USD},
            state | {"state": HALTED, "reason": BY_PERSON, "scope": STRATEGY_1, "request_id": 7},
            state | {"state": KILLED, "reason": BY_PERSON, "request_id": 8},
            state | {"state": ACTIVE, "reason": BY_COOLDOWN},
            state | {"state": HALTED, "reason": BY_PERSON, "scope": BTCUSDT, "request_id": 7, "requester": 1},
        ],
        notes=[
            {
                "request_id": 7,
                "uid": 1000,
                "pid": 9,
                "source": 1,
                "kind": SET_STATE,
                "scope": STRATEGY_1,
                "text": "looks wrong",
            },
            {"request_id": 8, "uid": 0, "pid": 1, "source": 2, "kind": SET_STATE},
        ],
    )
    assert [
        "account: active to reducing, daily loss: 20,100.00 USD against a limit of 20,000.00 USD",
        "strategy 1: active to halted, person by uid 1000 (control): looks wrong",
        "account: reducing to killed, person by uid 0 (signal)",
        "account: killed to active, cooldown over",
        "BTCUSDT: active to halted, person",
    ] == [row[0] for row in ask("SELECT told FROM trading_states ORDER BY seq")]
    assert [("max_daily_loss", Decimal(20_100), Decimal(20_000))] == ask(
        "SELECT limit_name, value_decimal, limit_decimal FROM trading_states WHERE limit_name IS NOT NULL"
    )
    assert [(None, None), (1, None), (None, None), (None, None), (None, "BTCUSDT")] == ask(
        "SELECT strategy, symbol FROM events ORDER BY seq"
    )


def test_limit_changes_tell_both_values_and_by_whom(tell: Tell) -> None:
    """Before and after in words, exact decimals where they are amounts, and the note of whoever changed it."""
    notional, leverage, gross = map(LIMIT_NAMES.index, ("max_order_notional", "max_leverage", "max_gross_exposure"))
    change = {"kind": LIMIT_CHANGED, "request_id": 3, "requester": CONTROL}
    ask = tell(
        events=[
            change | {"limit_id": notional, "value": UNLIMITED, "limit": 50_000 * USD},
            change | {"limit_id": leverage, "value": NOT_SET, "limit": 2_500_000, "scope": 1, "request_id": 4},
            change | {"limit_id": gross, "value": 5, "limit": UNLIMITED, "request_id": 5},
        ],
        notes=[{"request_id": 3, "uid": 1000, "source": 1, "kind": SET_LIMIT, "text": "calm down"}],
    )
    by_whom = " by uid 1000 (control): calm down"
    assert [
        (f"account: max_order_notional from unlimited to 50,000.00 USD{by_whom}", None, Decimal(50_000)),
        ("strategy 0: max_leverage from not set to 2.5x", None, None),
        ("account: max_gross_exposure from 0.000005 USD to unlimited", Decimal("0.000005"), None),
    ] == ask("SELECT told, before_decimal, limit_decimal FROM limit_changes ORDER BY seq")


def test_events_of_requests_done_have_their_count(tell: Tell) -> None:
    """How many orders or positions it concerned; one order that was taken back keeps its instrument, and is of no scope."""
    ask = tell(
        events=[
            {"kind": REQUEST_DONE, "scope": STRATEGY_1, "value": 3, "request_id": 1},
            {"kind": REQUEST_DONE, "value": 1, "order_id": 77, "instrument": 2, "strategy": 1},
        ]
    )
    assert [(3, None, "strategy 1", 1, None), (1, None, None, 1, "MESZ6")] == ask(
        "SELECT value, limit_value, scope, strategy, symbol FROM events ORDER BY seq"
    )


def test_orders_new_and_taken_back_are_told_apart(tell: Tell) -> None:
    """A cancel is no order of its own kind, and a limit order is no market order."""
    ask = tell(
        orders=[
            {"kind": NEW, "order_type": LIMIT_ORDER, "price_ticks": 10_000, "side": BUY},
            {"kind": NEW, "order_type": MARKET, "side": BUY},
            {"kind": CANCEL, "side": BUY},
        ]
    )
    assert [("new", "limit", 100.0), ("new", "market", None), ("cancel", "none", None)] == ask(
        "SELECT action, order_type, price FROM orders ORDER BY seq"
    )


def test_fills_with_fees_and_rebates_are_exact(tell: Tell) -> None:
    """Money units, a double, and a decimal by the account's unit."""
    fill = {"kind": FILLED, "quantity_lots": 1, "price_ticks": 5}
    ask = tell(reports=[fill | {"fee_units": 1_230_001}, fill | {"fee_units": -5}, fill])
    assert [
        (1_230_001, 1.230001, Decimal("1.230001")), (-5, -0.000005, Decimal("-0.000005")), (0, 0.0, Decimal(0)),
    ] == ask("SELECT fee_units, fee, fee_decimal FROM fills_decimal ORDER BY seq")  # fmt: skip


def test_accounts_of_an_instance_are_noted_once(tell: Tell) -> None:
    """The units in which everything is counted stand beside it, also after a second start."""
    tell(notes=[])
    ask = tell(notes=[])
    assert [(EPOCH, "USD", Decimal("0.000001"), Decimal("0.001"), Decimal(10_000_000), 2)] == ask("FROM accounts")


def test_notes_of_people_are_kept_as_they_came(tell: Tell) -> None:
    """Time, who, what and why; a note without a request, or of one instrument's stop, has neither request nor scope."""
    person = {"utc_ns": EPOCH, "request_id": 5, "pid": 3, "uid": 4}
    ask = tell(
        notes=[
            person | {"scope": BTCUSDT, "kind": SET_STATE, "source": 1, "text": "für später"},
            {"kind": SUBMIT, "source": 3, "text": "x" * NOTE_TEXT_BYTES},
        ]
    )
    assert [
        (EPOCH, EPOCH, "control", 4, 3, "set_state", "BTCUSDT", 5, "für später"),
        (0, 0, "supervisor", 0, 0, "submit", None, None, "x" * NOTE_TEXT_BYTES),
    ] == ask("SELECT epoch_ns(utc_time), utc_ns, source, uid, pid, kind, scope, request_id, text FROM notes ORDER BY seq")


def test_notes_of_garbage_are_stored_readable(tell: Tell) -> None:
    """Whatever a supervisor that went mad left in the ring: each record is one row of printable text, and queries work."""
    rng = np.random.default_rng(4)
    notes = rng.integers(0, 256, (500, NOTE.itemsize), np.uint8).view(NOTE).reshape(500)
    notes["length"][:3] = [0, NOTE_TEXT_BYTES, 65_535]
    events = rng.integers(0, 256, (500, EVENT.itemsize), np.uint8).view(EVENT).reshape(500)
    events["kind"] = np.arange(500) % 12
    ask = tell(notes=notes, events=events)
    texts = [row[0] for row in ask("SELECT text FROM notes ORDER BY seq")]
    assert 500 == len(texts)
    assert all(text.isprintable() for text in texts)
    assert "" == texts[0]
    counted = [
        ask(f"SELECT count(*) FROM {view}")[0][0] for view in ("refusals", "trading_states", "limit_changes", "stop_events")
    ]
    assert [int(np.sum(events["kind"] == kind)) for kind in (REQUEST_REFUSED, STATE_CHANGED, LIMIT_CHANGED)] == counted[:3]
    assert [] == [row for row in ask("FROM refusals") + ask("FROM trading_states") + ask("FROM limit_changes") if len(row) == 0]
