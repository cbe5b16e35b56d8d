"""What comes of a command that risk must answer: its answer, wherever it lies among the events, a refusal, or none in time."""

import pytest

from pipeline import control
from pipeline.messages import (
    END_CANCELLED,
    REJECT_LAST_STOP,
    REJECT_REASONS,
    REJECT_STOP_CROSSED,
    REJECT_STOP_TABLE_FULL,
    SET_STOP,
    STOP_ARMED,
    STOP_ENDED,
    STOP_MOVED,
)
from tests.pipeline.client_instance import SIZES
from tests.pipeline.control_instance import Peer, error_of, holding, served

pytestmark = pytest.mark.jitless

SET = {"command": "set-stop", "symbol": "AAPL", "kind": "static", "percent": "3"}


@pytest.fixture(autouse=True)
def sockets(runtime_folder):
    """Have all control sockets in a folder of the test."""
    return runtime_folder


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
