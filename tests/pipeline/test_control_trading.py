"""Commands that stop and resume trading, change limits and cancel: what risk is asked, what people read, what is noted down."""

import os
from decimal import Decimal

import pytest

from pipeline.control_path import Peer as Caller
from pipeline.control_trading import cancel_scope, kill_switch
from pipeline.messages import (
    ACTIVE,
    AND_FLATTEN,
    BUY,
    BY_COOLDOWN,
    BY_DAILY_LOSS,
    BY_STRATEGY,
    CANCEL_ALL,
    CANCEL_ORDER,
    EXIT,
    FLATTEN,
    HALTED,
    KILLED,
    LIMIT,
    LIMIT_CHANGED,
    NOTE,
    NOTE_SOURCES,
    REDUCING,
    REJECT_BAD_REQUEST,
    REQUEST_DONE,
    SET_LIMIT,
    SET_STATE,
    STATE_CHANGED,
    STOP_TRIGGERED,
)
from pipeline.notes import BY_SIGNAL, BY_SUPERVISOR, note_text
from pipeline.risk.limits import UNLIMITED, free_limits, write_limits
from pipeline.tables import LIMIT_NAMES, LIMITS, SCOPE_STATE, SCOPE_WORDS, SENT, SENT_ORDER
from pipeline.topology import ACCOUNT, scope_of_instrument, scope_of_strategy
from shm import ring
from tests.pipeline.client_instance import AAPL, BTCUSDT, MONEY, SIZES, put_row
from tests.pipeline.control_instance import Peer, Served, error_of, holding, served

pytestmark = pytest.mark.jitless

INSTRUMENT = scope_of_instrument(SIZES, AAPL)


@pytest.fixture(autouse=True)
def sockets(runtime_folder):
    """Have all control sockets in a folder of the test."""
    return runtime_folder


@pytest.fixture
def instance(instance_name):
    """Return an instance in which the test answers in risk's place."""
    with served(instance_name, with_risk=False) as instance:
        write_limits(instance.segment, free_limits(SIZES.scope_count))
        yield instance


def asked(instance: Served, question: dict, kind: int, **fields: int) -> dict:
    """Ask, answer in risk's place, and return what comes back."""
    before = instance.requests.published
    with Peer(instance.path) as peer:
        peer.send(question)
        instance.until(lambda: instance.requests.published > before or peer.lines())
        assert instance.requests.published > before, peer.lines()
        instance.answer(kind, **{"scope": instance.request()["scope"], **fields})
        instance.until(peer.lines)
        return peer.lines()[0]


def notes(instance: Served) -> list[tuple]:
    """Return the notes so far: source, kind, scope, request's number, pid, text."""
    rows = instance.records("notes", NOTE)
    return [
        (
            NOTE_SOURCES[row["source"]],
            int(row["kind"]),
            int(row["scope"]),
            int(row["request_id"]),
            int(row["pid"]),
            note_text(row),
        )
        for row in rows
    ]


@pytest.mark.parametrize(
    ("command", "fields", "scope", "state", "words"),
    [
        ("halt", {}, ACCOUNT, HALTED, "account is HALTED: only exits of stops leave"),
        ("halt", {"strategy": 1}, scope_of_strategy(1), HALTED, "strategy 1 is HALTED"),
        ("reduce", {"symbol": "AAPL", "reason": "earnings"}, INSTRUMENT, REDUCING,
         "AAPL is REDUCING: only what makes a position smaller leaves (earnings)"),
        ("kill", {"reason": "odd fills"}, ACCOUNT, KILLED,
         "account is KILLED: working orders are being cancelled, and nothing new leaves (odd fills)"),
        ("resume", {"reason": "checked with the broker"}, ACCOUNT, ACTIVE, "account is ACTIVE again (checked with the broker)"),
        ("resume", {"reason": "ok", "strategy": 2}, scope_of_strategy(2), ACTIVE, "strategy 2 is ACTIVE again (ok)"),
    ],
)  # fmt: skip
def test_control_state_of_each_scope_is_asked_for_told_and_noted(instance, command, fields, scope, state, words):
    """The request has scope and state, the answer says what that means, and the note says who asked and why."""
    answer = asked(instance, {"command": command, **fields}, STATE_CHANGED, state=state)
    request = instance.request()
    assert (SET_STATE, scope, state, 0) == tuple(request[name] for name in ("kind", "scope", "value", "flags"))
    assert (True, words) == (answer["ok"], answer["text"][: len(words)])
    alert = "ALERT " if state == KILLED else ""
    assert [f"{alert}{answer['text']} (control, pid {os.getpid()})"] == instance.owner.told
    ((source, kind, noted, request_id, pid, text),) = notes(instance)
    assert ("control", SET_STATE, scope, 1, os.getpid()) == (source, kind, noted, request_id, pid)
    assert text.startswith(command)
    assert fields.get("reason", "") in text


def test_control_kill_with_flatten_leaves_the_positions(instance):
    """The exits that it fires carry the request's number as well, and are not its answer."""
    with Peer(instance.path) as peer:
        peer.send({"command": "kill", "flatten": True})
        instance.until(lambda: instance.requests.published)
        assert AND_FLATTEN == instance.request()["flags"]
        instance.answer(STOP_TRIGGERED, stop_id=3)
        for _ in range(3):
            instance.turn()
        assert [] == peer.lines()
        instance.answer(STATE_CHANGED, state=KILLED)
        instance.until(peer.lines)
        assert peer.lines()[0]["text"].endswith("nothing new leaves; its positions are being left")
    assert "kill account and flatten" == notes(instance)[0][-1]


def test_control_resume_tells_what_else_is_strict(instance):
    """A person who resumes one scope learns which other one still keeps it back."""
    words = instance.segment.array("scopes")
    words[ACCOUNT * SCOPE_WORDS + SCOPE_STATE] = REDUCING
    answer = asked(instance, {"command": "resume", "strategy": 1, "reason": "ok"}, STATE_CHANGED, state=ACTIVE)
    assert "strategy 1 is ACTIVE again; but account is REDUCING (ok)" == answer["text"]
    words[ACCOUNT * SCOPE_WORDS + SCOPE_STATE] = ACTIVE
    words[scope_of_strategy(2) * SCOPE_WORDS + SCOPE_STATE] = HALTED
    answer = asked(instance, {"command": "resume", "reason": "ok"}, STATE_CHANGED, state=ACTIVE)
    assert "account is ACTIVE again; but strategy 2 is HALTED (ok)" == answer["text"]


@pytest.mark.parametrize(
    ("question", "code", "words"),
    [
        ({"command": "resume"}, "missing", "say why trading may go on"),
        ({"command": "resume", "reason": "  "}, "missing", "reason is missing"),
        ({"command": "resume", "reason": 7}, "bad_value", "reason 7 is not a text"),
        ({"command": "resume", "reason": "x" * 161}, "bad_value", "say it in 160 characters"),
        ({"command": "halt", "strategy": 1, "symbol": "AAPL"}, "ambiguous", "give one of them"),
        ({"command": "halt", "strategy": 9}, "bad_value", "give 0 to 2"),
        ({"command": "halt", "symbol": "APPL"}, "instrument_error", "did you mean AAPL?"),
        ({"command": "halt", "flatten": True}, "unknown_field", "halt takes no 'flatten'"),
        ({"command": "kill", "flatten": "yes"}, "bad_value", "is not true or false"),
        ({"command": "cancel"}, "missing", "give an order's id, or strategy, or symbol, or all"),
        ({"command": "cancel", "all": True, "strategy": 1}, "missing", "all and a scope are two things"),
        ({"command": "cancel", "order_id": 5, "strategy": 1}, "ambiguous", "give one of them"),
        ({"command": "cancel", "order_id": 5}, "unknown_order", "no order 5 is working"),
        ({"command": "cancel", "order_id": 88}, "exit_order", "order 88 is the exit of stop 4"),
        ({"command": "set-limit", "value": "1"}, "missing", "name is missing"),
        ({"command": "set-limit", "name": "max_drawdown"}, "missing", "value is missing"),
        ({"command": "set-limit", "name": "max_drawdwn", "value": "1"}, "configuration_error", "did you mean max_drawdown?"),
        ({"command": "set-limit", "name": "max_drawdown", "value": "-1"}, "configuration_error", "1000000, or unlimited"),
        ({"command": "set-limit", "name": "max_drawdown", "value": "unlimted"}, "configuration_error", "is not allowed"),
        ({"command": "set-limit", "name": "max_open_positions", "value": 1.5}, "configuration_error", "is no whole number"),
        ({"command": "set-limit", "name": "max_drawdown", "value": [1]}, "bad_value", "is neither a text nor a number"),
        ({"command": "set-limit", "name": "max_drawdown", "value": "1", "symbol": "AAPL"}, "configuration_error",
         "max_drawdown is no limit of an instrument"),
        ({"command": "note", "strategy": 1}, "missing", "text is missing"),
    ],
)  # fmt: skip
def test_control_trading_question_that_is_wrong_asks_risk_nothing(instance, question, code, words):
    """Each mistake is one line that says what would do, and neither a request nor a note comes of it."""
    put_row(instance, "sent", SENT_ORDER, 0, order_id=88, position=AAPL, left_lots=1, stop_id=4, flags=EXIT, state=SENT)
    error = error_of(instance, question)
    assert code == error["code"], error
    assert words in f"{error['what']} ({error['where']}): {error['remedy']}"
    assert 0 == instance.requests.published
    assert [] == notes(instance)


def test_control_refusal_of_risk_is_said_of_the_command(instance):
    """What risk refuses comes back with its reason and the command, and is told to nobody else as done."""
    answer = asked(instance, {"command": "halt", "strategy": 1}, 5, reason=REJECT_BAD_REQUEST)
    assert (False, "bad_request", "halt strategy 1") == (answer["ok"], answer["error"]["code"], answer["error"]["where"])
    assert [] == instance.owner.told


@pytest.mark.parametrize(
    ("fields", "value", "units", "scope", "told"),
    [
        ({"name": "max_daily_loss", "value": "2500"}, "2500", 2_500_000_000, ACCOUNT,
         "max_daily_loss of account is 2,500.00 USD now, it was unlimited"),
        ({"name": "max_daily_loss", "value": 2500.5, "strategy": 1}, "2500.5", 2_500_500_000, scope_of_strategy(1),
         "max_daily_loss of strategy 1 is 2,500.50 USD now"),
        ({"name": "price_collar_percent", "value": "2.5", "symbol": "AAPL"}, "2.5", 25_000, INSTRUMENT,
         "price_collar_percent of AAPL is 2.5 % now"),
        ({"name": "max_orders_per_second", "value": 50}, "50", 50, ACCOUNT, "max_orders_per_second of account is 50/s now"),
        ({"name": "duplicate_window_ms", "value": "250"}, "250", 250_000_000, ACCOUNT, "of account is 250 ms now"),
        ({"name": "max_leverage", "value": "2"}, "2", 2_000_000, ACCOUNT, "max_leverage of account is 2x now"),
        ({"name": "max_drawdown", "value": "unlimited"}, "unlimited", UNLIMITED, ACCOUNT, "is unlimited now"),
    ],
)  # fmt: skip
def test_control_limit_is_parsed_as_the_files(instance, fields, value, units, scope, told):
    """Money, quantities, percentages and counts become risk's units, and the answer tells both values."""
    answer = asked(instance, {"command": "set-limit", **fields, "reason": "as agreed"}, LIMIT_CHANGED, value=UNLIMITED)
    request = instance.request()
    assert (SET_LIMIT, scope, LIMIT_NAMES.index(fields["name"]), units) == tuple(
        request[name] for name in ("kind", "scope", "limit_id", "value")
    )
    assert (True, value, "unlimited") == (answer["ok"], answer["value"], answer["before"])
    assert told in answer["text"]
    assert notes(instance)[0][-1].endswith(f"to {value}: as agreed")


def test_control_cancel_of_one_order_names_strategy_and_symbol(instance):
    """The order is looked up, so that risk learns whose it is."""
    position = 2 * SIZES.instruments + BTCUSDT
    put_row(
        instance, "sent", SENT_ORDER, 4, order_id=99, position=position, left_lots=3, side=BUY, order_type=LIMIT, state=SENT
    )
    answer = asked(instance, {"command": "cancel", "order_id": 99}, REQUEST_DONE, value=1)
    request = instance.request()
    assert (CANCEL_ORDER, 99, 2, BTCUSDT) == tuple(request[name] for name in ("kind", "value", "strategy", "instrument"))
    assert "order 99 of strategy 2 in BTCUSDT is being cancelled" == answer["text"]


@pytest.mark.parametrize(
    ("question", "kind", "scope", "count", "words"),
    [
        ({"command": "cancel", "all": True}, CANCEL_ALL, ACCOUNT, 3, "3 working orders of account are being cancelled"),
        ({"command": "cancel", "strategy": 1}, CANCEL_ALL, scope_of_strategy(1), 1, "1 working order of strategy 1 is being"),
        ({"command": "cancel", "symbol": "AAPL"}, CANCEL_ALL, INSTRUMENT, 0, "no working orders of AAPL are being cancelled"),
        ({"command": "flatten"}, FLATTEN, ACCOUNT, 2, "2 positions of account are being left"),
        ({"command": "flatten", "symbol": "AAPL", "reason": "news"}, FLATTEN, INSTRUMENT, 1,
         "1 position of AAPL is being left (news)"),
    ],
)  # fmt: skip
def test_control_orders_and_positions_of_a_scope_are_counted(instance, question, kind, scope, count, words):
    """What is taken back or left is told by number."""
    answer = asked(instance, question, REQUEST_DONE, value=count)
    assert (kind, scope) == (instance.request()["kind"], instance.request()["scope"])
    assert words in answer["text"]


def test_control_lists_orders_limits_account_and_strategies(instance):
    """Each list has the values that a program needs, decimals as text."""
    holding(instance, 0)
    put_row(instance, "limits", LIMITS, INSTRUMENT, price_collar_percent=50_000)
    put_row(instance, "sent", SENT_ORDER, 4, order_id=99, position=BTCUSDT, left_lots=250, price_ticks=899_990, side=BUY,
            order_type=LIMIT, state=SENT, sent_ns=2_000_000)  # fmt: skip
    (order,) = instance.ask({"command": "orders", "strategy": 0})["orders"]
    assert {"order_id": 99, "symbol": "BTCUSDT", "strategy": 0, "side": "buy", "type": "limit", "quantity": "0.250",
            "price": "89999.00", "stop_id": None, "state": "working"}.items() <= order.items()  # fmt: skip
    assert [] == instance.ask({"command": "orders", "symbol": "AAPL"})["orders"]
    answer = instance.ask({"command": "account"})
    assert ("-2.000000", "USD", "active", 1) == tuple(
        answer["account"][name] for name in ("unrealised", "currency", "trading_state", "open_positions")
    )
    assert ["strategy 0"] == [share["scope"] for share in answer["strategies"]]
    limits = instance.ask({"command": "limits"})["limits"]
    assert (1 + SIZES.strategies) * len(LIMIT_NAMES) + 1 == len(limits)
    assert {"scope": "AAPL", "name": "price_collar_percent", "title": "price collar", "value": "5", "text": "5 %"} == limits[-1]
    assert len(LIMIT_NAMES) == len(instance.ask({"command": "limits", "symbol": "AAPL"})["limits"])
    rows = instance.ask({"command": "strategies"})["strategies"]
    assert [(0, "none", 1, 1), (1, "none", 0, 0), (2, "none", 0, 0)] == [
        (row["strategy"], row["process"], row["positions"], row["orders"]) for row in rows
    ]


def test_control_note_of_a_strategy_is_kept(instance):
    """What a strategy did by itself is told and noted with its pid, and is no request."""
    assert instance.ask({"command": "note", "strategy": 1, "text": "strategy 1 killed the account: odd"})["ok"]
    assert [("control", 0, 0, 0, os.getpid(), "strategy 1 killed the account: odd")] == notes(instance)
    assert 0 == instance.requests.published


def test_control_notes_that_find_no_room_are_told(instance):
    """Where nobody stores the record any more a command is done all the same, and people see that it is not kept."""
    for _ in range(SIZES.notes):
        assert instance.control._notes.write("x", 1, Caller(1, 2))
    answer = asked(instance, {"command": "halt"}, STATE_CHANGED, state=HALTED)
    assert answer["ok"]
    assert any("the record of commands is full" in line for line in instance.owner.told)


def test_control_changes_that_no_command_asked_for_are_told(instance):
    """A breaker's trip, a strategy's kill and a cooldown that is over show as lines, the first two as alerts."""
    loss, limit = MONEY.units(Decimal(2612)), MONEY.units(Decimal(2500))
    instance.publish(
        {"kind": STATE_CHANGED, "state": REDUCING, "reason": BY_DAILY_LOSS, "value": loss, "limit": limit, "scope": ACCOUNT},
        {"kind": STATE_CHANGED, "state": KILLED, "reason": BY_STRATEGY, "scope": ACCOUNT, "request_id": 1, "requester": 1},
        {"kind": STATE_CHANGED, "state": ACTIVE, "reason": BY_COOLDOWN, "scope": 2},
    )
    instance.turn()
    assert [
        "ALERT account is REDUCING: daily loss of 2,612.00 USD, the limit is 2,500.00 USD",
        "ALERT account is KILLED, by strategy 1",
        "strategy 1 is ACTIVE again: the breaker's cooldown is over",
    ] == instance.owner.told


def test_control_own_orders_are_sent_told_and_noted(instance):
    """The supervisor's kill switch and its cancels take the same way, with another source in the record."""
    control = instance.control
    control.order(kill_switch(control.place, "SIGUSR1"), BY_SIGNAL)
    control.order(cancel_scope(control.place, 2, "strategy 1 died", "strategy 1 (pid 7) is gone"))
    assert 2 == instance.requests.published
    for request_id, fields in ((1, {"kind": STATE_CHANGED}), (2, {"kind": REQUEST_DONE, "value": 2, "scope": 2})):
        instance.publish({"request_id": request_id, "requester": SIZES.strategies, **fields})
    instance.turn()
    assert instance.owner.told[0].startswith("ALERT account is KILLED")
    assert (
        "strategy 1 (pid 7) is gone: its 2 working orders are being cancelled; its positions keep their stops"
        == (instance.owner.told[1])
    )
    assert [(NOTE_SOURCES[BY_SIGNAL], SET_STATE, ACCOUNT), (NOTE_SOURCES[BY_SUPERVISOR], CANCEL_ALL, 2)] == [
        note[:3] for note in notes(instance)
    ]


def test_control_own_orders_wait_for_room_and_keep_their_order(instance):
    """With a full ring nothing of the supervisor's is lost: it goes out as soon as risk has taken something."""
    control = instance.control
    for _ in range(SIZES.requests + 2):
        control.order(cancel_scope(control.place, 2, "x"))
    assert SIZES.requests == instance.requests.published
    instance.requests.ring.words[ring.CURSOR] += 2
    instance.turn()
    assert SIZES.requests + 2 == instance.requests.published


def test_control_own_order_without_an_answer_is_an_alert(instance):
    """People learn that risk was silent; the request stays in the ring."""
    control = instance.control
    control.order(kill_switch(control.place, "SIGUSR1"), BY_SIGNAL)
    (pending,) = control._pending.values()
    pending.deadline_ns = 0
    instance.turn()
    assert instance.owner.told[0].startswith("ALERT kill account: SIGUSR1: risk has not answered within 2 s")
