"""The control socket over the real stages: what is told, changed and refused, and what comes when risk does not answer."""

import json
from typing import Any

import pytest

from pipeline import control
from pipeline.control_commands import COMMANDS, Command
from pipeline.messages import (
    BUY,
    END_CANCELLED,
    REJECT_LAST_STOP,
    REJECT_REASONS,
    REJECT_STOP_CROSSED,
    REJECT_STOP_TABLE_FULL,
    SELL,
    SET_STOP,
    STOP_ARMED,
    STOP_ENDED,
    STOP_MOVED,
)
from tests.pipeline.client_instance import AAPL, BTCUSDT, SIZES
from tests.pipeline.control_instance import Peer, Served, served

pytestmark = pytest.mark.jitless

SET = {"command": "set-stop", "symbol": "AAPL", "kind": "static", "percent": "3"}


@pytest.fixture(autouse=True)
def sockets(runtime_folder):
    """Have all control sockets in a folder of the test."""
    return runtime_folder


def holding(instance: Served, *holders: int) -> None:
    """Have strategies buy 100 AAPL each."""
    for strategy in holders:
        instance.submit(AAPL, BUY, 100, strategy)
    instance.settle()


def error_of(instance: Served, question: Any) -> dict[str, Any]:
    """Ask what must be refused, and return the error."""
    answer = instance.ask(question)
    assert answer["ok"] is False, answer
    assert {"code", "what", "where", "remedy"} <= set(answer["error"])
    return answer["error"]


def test_control_ping_and_status_tell_of_the_instance(instance_name):
    """Who listens, how it is, and that entries may leave."""
    with served(instance_name) as instance:
        holding(instance, 0)
        ping = instance.ask({"command": "ping", "id": "a-1"})
        assert (True, "a-1", instance_name, 4711) == (ping["ok"], ping["id"], ping["instance"], ping["pid"])
        status = instance.ask({"command": "status"})
        assert (instance_name, True, False) == (status["instance"], status["entries_allowed"], status["halted"])
        assert ["ingest", "risk", "execution", "sidecar"] == [process["name"] for process in status["processes"]]
        assert (1, 2, 0) == (status["positions"]["open"], status["stops"]["armed"], status["stops"]["owed"])
        assert status["ticks"]["received"] >= 2
        assert status["stream_time"].startswith("1970-01-01T00:00:00")
        instance.owner.is_halted = True
        assert instance.ask({"command": "status"})["halted"] is True


def test_control_positions_are_listed_by_symbol_and_strategy(instance_name):
    """Those that are open come first, and filters leave the others out."""
    with served(instance_name) as instance:
        holding(instance, 0, 1)
        instance.submit(BTCUSDT, BUY, 5, 1)
        instance.settle()
        instance.submit(AAPL, SELL, 100, 0)
        instance.settle()
        rows = instance.ask({"command": "positions"})["positions"]
        found = [(row["symbol"], row["strategy"], row["quantity"]) for row in rows]
        assert [("AAPL", 1, "100"), ("BTCUSDT", 1, "0.005"), ("AAPL", 0, "0")] == found
        assert 2 == len(instance.ask({"command": "positions", "symbol": "AAPL"})["positions"])
        assert 1 == len(instance.ask({"command": "positions", "symbol": "AAPL", "strategy": 1})["positions"])


def test_control_stops_are_listed_with_level_price_and_distance(instance_name):
    """A default stop of 2% below an entry at 100.02 shows where it lies and how far the bid is from it."""
    with served(instance_name) as instance:
        holding(instance, 0)
        static, trailing = instance.ask({"command": "stops"})["stops"]
        assert ("AAPL", 0, "long", "static", "bid_ask", "armed") == tuple(
            static[key] for key in ("symbol", "strategy", "side", "kind", "watch", "state")
        )
        assert ("2%", "100.02", "98.01", "100.00", 1.99) == tuple(
            static[key] for key in ("distance", "entry", "level", "price", "away_percent")
        )
        assert "trailing" == trailing["kind"]
        assert [] == instance.ask({"command": "stops", "symbol": "BTCUSDT"})["stops"]
        assert [] == instance.ask({"command": "stops", "strategy": 2})["stops"]


def test_control_stops_of_every_kind_are_set_and_listed(instance_name):
    """Each kind gets its stop, and the list tells what it was set with."""
    with served(instance_name) as instance:
        holding(instance, 0)
        wanted = [
            ("static", {"price": "97.50"}, "97.50", "97.50"),
            ("trailing", {"offset": "0.75", "watch": "mid"}, "0.75", "99.27"),
            ("atr", {"percent": "4"}, "3 ATR", "96.01"),
            ("chandelier", {"atr_multiplier": "2.5", "percent": "5"}, "2.5 ATR", "95.01"),
            ("time", {"max_holding_seconds": 60}, "", ""),
            ("take_profit", {"percent": "1.5", "fraction_percent": "50"}, "1.5%", "101.53"),
        ]
        for kind, terms, distance, level in wanted:
            answer = instance.ask({"command": "set-stop", "symbol": "AAPL", "kind": kind, **terms})
            assert (True, kind, level) == (answer["ok"], answer.get("kind"), answer.get("level")), answer
            assert f"stop {answer['stop_id']} set: {kind} on AAPL of strategy 0" in instance.owner.told[-1]
            row = instance.ask({"command": "stops", "after": answer["stop_id"] - 1})["stops"][0]
            assert (kind, distance, level) == (row["kind"], row["distance"], row["level"])
        rows = instance.ask({"command": "stops"})["stops"]
        assert 8 == len(rows)
        assert rows[6]["deadline"].startswith("1970-01-01T00:01:00")
        assert "50" == rows[7]["fraction_percent"]
        assert [True, True] == [row["provisional"] for row in rows[4:6]]


def test_control_stop_is_moved_then_cancelled_under_its_id(instance_name):
    """A stop keeps its id when it is moved, and is gone once it is cancelled."""
    with served(instance_name) as instance:
        holding(instance, 1)
        stop_id = instance.ask(SET)["stop_id"]
        moved = instance.ask({"command": "move-stop", "stop_id": stop_id, "price": "99.00"})
        assert (True, stop_id, "99.00", 1) == (moved["ok"], moved["stop_id"], moved["level"], moved["strategy"])
        row = instance.ask({"command": "stops", "after": stop_id - 1})["stops"][0]
        assert (stop_id, "99.00") == (row["stop_id"], row["level"])
        gone = instance.ask({"command": "cancel-stop", "stop_id": stop_id})
        assert (True, f"stop {stop_id} cancelled: static on AAPL of strategy 1") == (gone["ok"], gone["text"])
        assert [1, 2] == [row["stop_id"] for row in instance.ask({"command": "stops"})["stops"]]
        assert "no_stop" == error_of(instance, {"command": "cancel-stop", "stop_id": stop_id})["code"]
        assert 3 == len(instance.owner.told)


@pytest.mark.parametrize(
    ("question", "code", "words"),
    [
        ("", None, None),
        ("not json", "bad_question", "no JSON"),
        ("[1]", "bad_question", "instead of an object"),
        ({}, "missing", "command is missing"),
        ({"command": 7}, "bad_value", "command 7 is not a text"),
        ({"command": "set-stp"}, "unknown_command", "did you mean set-stop?"),
        ({"command": "flatten-everything-at-once"}, "unknown_command", "use ping, status, positions"),
        ({"command": "status", "symbol": "AAPL"}, "unknown_field", "status takes no 'symbol'"),
        ({**SET, "perzent": 1}, "unknown_field", "did you mean percent?"),
        ({"command": "stops", "strategy": "0"}, "bad_value", "strategy '0' is not a whole number"),
        ({"command": "stops", "strategy": True}, "bad_value", "is not a whole number"),
        ({"command": "stops", "strategy": 3}, "bad_value", "is no strategy slot"),
        ({"command": "stops", "symbol": "APPL"}, "instrument_error", "did you mean AAPL?"),
        ({"command": "stops", "symbol": ["AAPL"]}, "bad_value", "is not a text"),
        ({"command": "stops", "after": -1}, "bad_value", "out of bounds"),
        ({"command": "set-stop", "kind": "static", "percent": 1}, "missing", "symbol is missing"),
        ({"command": "set-stop", "symbol": "AAPL", "percent": 1}, "missing", "kind is missing"),
        ({**SET, "percent": [1]}, "bad_value", "is neither a text nor a number"),
        ({**SET, "percent": None}, "stop_terms", "needs price or percent"),
        ({**SET, "percent": "21"}, "stop_percent", "percent 21 is out of bounds"),
        ({**SET, "percent": "0.05"}, "stop_percent", "give 0.1 to 20.0"),
        ({**SET, "fire_now": "yes"}, "bad_value", "is not true or false"),
        ({**SET, "symbol": "BTCUSDT"}, "no_position", "no strategy holds a position in BTCUSDT"),
        ({**SET, "strategy": 1}, "no_position", "strategy 1 holds no position in AAPL"),
        ({**SET, "percent": None, "price": "100.00"}, "stop_crossed", "price 100.00 is crossed by the market already"),
        (
            {"command": "set-stop", "symbol": "AAPL", "kind": "take_profit", "price": "99"},
            "stop_crossed",
            "bid 100.00, ask 100.02",
        ),
        ({"command": "move-stop", "stop_id": 999, "percent": 1}, "no_stop", "there is no stop 999"),
        ({"command": "move-stop", "stop_id": 1}, "stop_terms", "nothing to move stop 1 (static) to"),
        ({"command": "move-stop", "stop_id": 1, "price": "100.01"}, "stop_crossed", "price 100.01 is crossed"),
        ({"command": "move-stop", "stop_id": 1, "kind": "static"}, "unknown_field", "it takes stop_id"),
        ({"command": "cancel-stop"}, "missing", "stop_id is missing"),
        ({"command": "cancel-stop", "stop_id": 1.0}, "bad_value", "is not a whole number"),
        ({"command": "cancel-stop", "stop_id": 1 << 70}, "bad_value", "out of bounds"),
    ],
)
def test_control_question_that_is_refused_says_why(instance_name, question, code, words):
    """Every mistake is an error with a code for programs and one line for people, and changes nothing."""
    with served(instance_name) as instance:
        holding(instance, 0)
        before = instance.stops().tobytes()
        if code is None:
            with Peer(instance.path) as peer:
                peer.send(b"\n  \n" + json.dumps({"command": "ping"}).encode() + b"\n")
                instance.until(peer.lines)
                assert [True] == [line["ok"] for line in peer.lines()]
            return
        error = error_of(instance, question)
        assert code == error["code"], error
        assert words in f"{error['what']} ({error['where']}): {error['remedy']}"
        assert before == instance.stops().tobytes()
        assert [] == instance.owner.told


def test_control_crossed_stop_with_fire_now_fires(instance_name):
    """What would be refused as crossed leaves the position at once where that is asked for."""
    with served(instance_name) as instance:
        holding(instance, 0)
        answer = instance.ask({**SET, "percent": None, "price": "100.00", "fire_now": True})
        assert answer["ok"], answer
        instance.settle()
        assert [0, 0] == [int(row) for row in instance.positions()["quantity_lots"][:2]]


def test_control_last_stop_stays_where_stops_are_enforced(instance_name):
    """The refusal of risk comes back with the words of its reason."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        with Peer(instance.path) as peer:
            peer.send({"command": "cancel-stop", "stop_id": 2})
            instance.until(lambda: instance.requests.published)
            instance.refuse(REJECT_LAST_STOP)
            instance.until(peer.lines)
            error = peer.lines()[0]["error"]
        assert ("last_stop", 2, "AAPL", 0) == tuple(error[key] for key in ("code", "stop_id", "symbol", "strategy"))
        assert "set another one first" in error["remedy"]


def test_control_two_holders_must_be_told_apart(instance_name):
    """Where two strategies hold the symbol the question must say whose position it means."""
    with served(instance_name) as instance:
        holding(instance, 0, 2)
        error = error_of(instance, SET)
        assert ("ambiguous", "strategy") == (error["code"], error["field"])
        assert "strategies 0, 2 hold positions in AAPL" in error["what"]
        assert 2 == instance.ask({**SET, "strategy": 2})["strategy"]


def test_control_request_is_written_as_the_builder_says(instance_name):
    """What risk gets is of the control ring, numbered by it, and about the strategy that holds the position."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 1)
        with Peer(instance.path) as peer:
            peer.send(SET)
            instance.until(lambda: instance.requests.published)
            request = instance.request()
        assert (SET_STOP, 1, 1, 30_000) == tuple(request[key] for key in ("kind", "request_id", "strategy", "percent_ppm"))
        assert request["sent_ns"] > 0


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (STOP_ARMED, {"stop_id": 7, "level_ticks": 9_702}, "97.02"),
        (STOP_MOVED, {"stop_id": 7, "level_ticks": 9_702}, "97.02"),
        (STOP_ENDED, {"stop_id": 7, "reason": END_CANCELLED}, ""),
    ],
)
def test_control_answer_of_each_kind_completes_the_command(instance_name, kind, fields, expected):
    """Each event that answers a request ends the wait, with the stop's id and level."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        with Peer(instance.path) as peer:
            peer.send(SET)
            instance.until(lambda: instance.requests.published)
            for _ in range(5):
                instance.turn()
            assert [] == peer.lines()
            instance.answer(kind, **fields)
            instance.until(peer.lines)
            assert (True, 7, expected) == tuple(peer.lines()[0][key] for key in ("ok", "stop_id", "level"))


def test_control_answers_find_their_askers_in_any_order(instance_name):
    """Two commands wait at once, events of others pass by, and each gets the answer to its own request."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        with Peer(instance.path) as first, Peer(instance.path) as second:
            first.send(SET)
            instance.until(lambda: instance.requests.published == 1)
            second.send({**SET, "percent": "4"})
            instance.until(lambda: instance.requests.published == 2)
            control_slot = SIZES.strategies
            instance.publish(
                {"kind": STOP_ARMED, "request_id": 1, "requester": 0, "stop_id": 90},
                {"kind": STOP_ARMED, "request_id": 2, "requester": control_slot, "stop_id": 92},
                {"kind": STOP_ARMED, "request_id": 77, "requester": control_slot, "stop_id": 93},
                {"kind": STOP_ENDED, "request_id": 0, "requester": control_slot, "stop_id": 94},
                {"kind": STOP_ARMED, "request_id": 1, "requester": control_slot, "stop_id": 91},
            )
            instance.until(lambda: first.lines() and second.lines())
            assert [91, 92] == [peer.lines()[0]["stop_id"] for peer in (first, second)]


def test_control_answer_is_found_after_the_ring_was_lapped(instance_name):
    """A storm of events between two turns overruns this reader; an answer that is still there is found, the loss is counted."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        with Peer(instance.path) as peer:
            peer.send(SET)
            instance.until(lambda: instance.requests.published)
            instance.publish(*[{"kind": STOP_MOVED}] * (2 * SIZES.events))
            instance.answer(STOP_ARMED, stop_id=5)
            instance.publish(*[{"kind": STOP_MOVED}] * 10)
            instance.until(peer.lines)
            assert 5 == peer.lines()[0]["stop_id"]
        assert instance.control._answers.missed >= SIZES.events


@pytest.mark.parametrize("is_lapped", [False, True])
def test_control_without_an_answer_of_risk_says_so(instance_name, monkeypatch, is_lapped):
    """When its time is over, or its answer was overwritten, a command ends with what is known: it may still be done."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        with Peer(instance.path) as peer:
            peer.send(SET)
            instance.until(lambda: instance.requests.published)
            if is_lapped:
                instance.answer(STOP_ARMED, stop_id=5)
                instance.publish(*[{"kind": STOP_MOVED}] * SIZES.events)
            instance.turn()
            assert [] == peer.lines()
            (pending,) = instance.control._pending.values()
            pending.deadline_ns = 0
            instance.until(peer.lines)
            error = peer.lines()[0]["error"]
        assert "no_answer" == error["code"]
        assert (
            "risk has not answered within 2 s (set-stop AAPL): it may still"
            in f"{error['what']} ({error['where']}): {error['remedy']}"
        )
        # Its answer, when it comes, is nobody's.
        instance.answer(STOP_ARMED, stop_id=5)
        instance.turn()
        assert instance.ask({"command": "ping"})["ok"]


def test_control_waits_briefly_only_while_something_is_awaited(instance_name):
    """The supervisor sleeps its full turn, unless an answer or a question is near."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        assert 0.05 == instance.control.turn_s(0.05)
        with Peer(instance.path) as peer:
            peer.send(b'{"command": "ping"}\n{"command": "ping"}\n')
            for _ in range(2):
                instance.turn()
            assert 0.0 == instance.control.turn_s(0.05) or len(peer.lines()) == 2
            instance.until(lambda: len(peer.lines()) == 2)
            peer.send(SET)
            instance.until(lambda: instance.requests.published)
            assert control.WAITING_TURN_S == instance.control.turn_s(0.05)
            instance.refuse(REJECT_STOP_TABLE_FULL)
            instance.until(lambda: len(peer.lines()) == 3)
            assert REJECT_REASONS[REJECT_STOP_TABLE_FULL] == peer.lines()[2]["error"]["code"]
        assert 0.05 == instance.control.turn_s(0.05)


def test_control_full_requests_ring_refuses_the_command(instance_name):
    """Where risk takes nothing any more, the next command is told so at once and nothing is overwritten."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        peers = [Peer(instance.path) for _ in range(SIZES.requests // 2)]
        for number in range(SIZES.requests):
            peers[number % len(peers)].send(SET)
            if number % len(peers) == len(peers) - 1:
                instance.until(lambda number=number: instance.requests.published == number + 1)
                for pending in instance.control._pending.values():
                    pending.deadline_ns = 0
                instance.until(lambda: not instance.control._pending)
        assert "requests_full" == error_of(instance, SET)["code"]
        assert SIZES.requests == instance.requests.published
        for peer in peers:
            peer.channel.close()


def test_control_command_whose_asker_left_is_still_told_to_people(instance_name):
    """Who asks and hangs up has asked: the change is made, and the log says who it was."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        with Peer(instance.path) as peer:
            peer.send(SET)
            instance.until(lambda: instance.requests.published)
        instance.turn()
        instance.answer(STOP_ARMED, stop_id=3)
        instance.until(lambda: instance.owner.told)
        assert "stop 3 set: static on AAPL of strategy 0 (control, pid " in instance.owner.told[0]


@pytest.mark.parametrize("fault", [ZeroDivisionError("of ours"), KeyError("level")])
def test_control_defect_in_a_command_ends_nothing(instance_name, monkeypatch, fault):
    """A fault of a command is answered and told as an alert; the supervisor, and with it the instance, goes on."""

    def broken(_place: object, _asked: object) -> dict[str, Any]:
        raise fault

    monkeypatch.setitem(COMMANDS, "ping", Command(broken))
    monkeypatch.setitem(COMMANDS, "status", Command(lambda _place, _asked: {"odd": object()}))
    with served(instance_name) as instance:
        assert "defect" == error_of(instance, {"command": "ping"})["code"]
        assert instance.owner.told[0].startswith("ALERT a control command failed")
        assert "defect" == error_of(instance, {"command": "status"})["code"]
        assert instance.ask({"command": "positions"})["ok"]


def test_control_crossed_answer_tells_the_market(instance_name):
    """Who is refused for the wrong side sees the prices that were held against the stop."""
    with served(instance_name, with_risk=False) as instance:
        holding(instance, 0)
        with Peer(instance.path) as peer:
            peer.send({**SET, "percent": None, "price": "120", "watch": "mid"})
            instance.until(lambda: instance.requests.published)
            instance.refuse(REJECT_STOP_CROSSED)
            instance.until(peer.lines)
            assert "bid 100.00, ask 100.02" == peer.lines()[0]["error"]["limit"]


def test_control_stops_come_in_pages(instance_name, monkeypatch):
    """A long list is cut into pages, so that no question keeps the supervisor from its work."""
    monkeypatch.setattr("pipeline.control_tables.STOPS_MAX", 3)
    with served(instance_name) as instance:
        holding(instance, 0, 1)
        pages, after = [], 0
        while True:
            answer = instance.ask({"command": "stops", "after": after})
            pages.append([row["stop_id"] for row in answer["stops"]])
            if not answer["more"]:
                break
            after = pages[-1][-1]
        assert [[1, 2, 3], [4]] == pages


def test_control_reading_end_follows_the_events(instance_name):
    """Whoever looks at the events ring sees that this reader keeps up."""
    with served(instance_name) as instance:
        holding(instance, 0)
        instance.turn()
        view = instance.control._place.view
        index = instance.control._reader
        assert 0 == view.events.depth(index)
        assert 0 == view.events.missed(index)
