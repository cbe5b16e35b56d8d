"""The control socket over the real stages: what is told, changed and refused, and what comes when risk does not answer."""

import json
from typing import Any

import pytest

from pipeline.control_commands import COMMANDS, Command
from pipeline.messages import (
    BUY,
    SELL,
)
from tests.pipeline.client_instance import AAPL, BTCUSDT
from tests.pipeline.control_instance import Peer, error_of, holding, served

pytestmark = pytest.mark.jitless

SET = {"command": "set-stop", "symbol": "AAPL", "kind": "static", "percent": "3"}


@pytest.fixture(autouse=True)
def sockets(runtime_folder):
    """Have all control sockets in a folder of the test."""
    return runtime_folder


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


def test_control_two_holders_must_be_told_apart(instance_name):
    """Where two strategies hold the symbol the question must say whose position it means."""
    with served(instance_name) as instance:
        holding(instance, 0, 2)
        error = error_of(instance, SET)
        assert ("ambiguous", "strategy") == (error["code"], error["field"])
        assert "strategies 0, 2 hold positions in AAPL" in error["what"]
        assert 2 == instance.ask({**SET, "strategy": 2})["strategy"]


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
        view = instance.control.place.view
        index = instance.control._reader
        assert 0 == view.events.depth(index)
        assert 0 == view.events.missed(index)
