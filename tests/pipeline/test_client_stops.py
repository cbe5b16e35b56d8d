"""A strategy sets, moves and cancels its stops: ids come back, refusals are named exceptions, and its events stay its own."""

import threading
from decimal import Decimal

import pytest

from pipeline import client_asking
from pipeline.client import (
    Client,
    ClientClosed,
    InvalidStop,
    LastStop,
    NoAnswer,
    NoPosition,
    NoStopFound,
    RequestsFull,
    StopRefused,
    StopTableFull,
)
from pipeline.errors import InstrumentError
from pipeline.messages import (
    BUY,
    REJECT_LAST_STOP,
    REJECT_STOP_TABLE_FULL,
    REQUEST_REFUSED,
    SELL,
    STOP_ARMED,
    STOP_ENDED,
    STOP_MOVED,
)
from tests.pipeline.client_instance import AAPL, SIZES, Risk, requests_of, running
from tests.rig import quotes

pytestmark = pytest.mark.jitless


@pytest.fixture
def risk(instance_name, monkeypatch):
    """Return the steps of risk of an instance in which strategy 0 holds 100 AAPL, bought at 100.02."""
    with running(instance_name) as instance:
        instance.submit(AAPL, BUY, 100, 0)
        instance.settle()
        yield Risk(instance, monkeypatch)


@pytest.fixture
def client(risk, instance_name):
    """Return strategy 0's client."""
    with Client(instance_name, 0) as client:
        yield client


def test_client_stop_of_each_kind_is_set_and_listed(risk, client):
    """Each call returns the id under which the stop is listed, with what it was set with."""
    ids = [
        client.set_stop("AAPL", "static", price="97.50"),
        client.set_stop("AAPL", "trailing", offset=Decimal("0.75"), watch="mid", activation_percent=1),
        client.set_stop("AAPL", "atr", atr_multiplier="2", percent="4"),
        client.set_stop("AAPL", "chandelier", percent="5"),
        client.set_stop("AAPL", "time", max_holding_seconds=60),
        client.set_stop("AAPL", "take_profit", percent="1.5", fraction_percent=50, limit_offset="0.05", escalate_after_ms=100),
    ]
    stops = {stop.stop_id: stop for stop in client.stops()}
    assert ["static", "trailing", "atr", "chandelier", "time", "take_profit"] == [stops[stop_id].kind for stop_id in ids]
    assert [Decimal("97.50"), Decimal("99.27")] == [stops[stop_id].level for stop_id in ids[:2]]
    assert "mid" == stops[ids[1]].watch
    assert sorted(ids) == ids


def test_client_stop_is_moved_and_cancelled_under_its_id(risk, client):
    """A moved stop keeps its id, a cancelled one is found no more."""
    stop_id = client.set_stop("AAPL", "static", percent="3")
    assert stop_id == client.move_stop(stop_id, price="99")
    assert Decimal("99.00") == next(stop for stop in client.stops() if stop.stop_id == stop_id).level
    assert stop_id == client.cancel_stop(stop_id)
    assert stop_id not in [stop.stop_id for stop in client.stops()]
    with pytest.raises(NoStopFound, match=f"there is no stop {stop_id} that is armed .*list the stops"):
        client.cancel_stop(stop_id)


def test_client_stop_short_of_the_market_fires_at_the_next_tick(risk, client):
    """A stop by hand guards as the configured ones do."""
    client.set_stop("AAPL", "static", price="99.90")
    risk.instance.feed(quotes([(AAPL, 9_989, 9_991)] * 3))
    assert client.position("AAPL").is_flat


def test_client_calls_leave_the_events_to_the_strategy(risk, client):
    """What a call waits for is read beside the strategy's own stream, which misses nothing of it."""
    stop_id = client.set_stop("AAPL", "static", percent="3")
    client.move_stop(stop_id, percent="2.5")
    client.cancel_stop(stop_id)
    events = client.events()
    assert [STOP_ARMED, STOP_MOVED, STOP_ENDED] == events["kind"].tolist()
    assert {stop_id} == set(events["stop_id"].tolist())
    assert 0 == client.events_missed


def test_client_stop_without_a_position_is_named_so(risk, client):
    """There is nothing to guard in a symbol that is flat, and the exception says in which."""
    with pytest.raises(NoPosition, match="strategy 0 holds no position in BTCUSDT") as error:
        client.set_stop("BTCUSDT", "static", percent=2)
    assert ("BTCUSDT", 0, "no_position") == (error.value.symbol, error.value.strategy, error.value.reason)


def test_client_crossed_stop_tells_value_and_market(risk, client):
    """A stop on the wrong side is refused with the prices it was held against, unless it shall fire at once."""
    with pytest.raises(InvalidStop, match=r"price 100.00 is crossed by the market already \(bid 100.00, ask 100.02\)") as error:
        client.set_stop("AAPL", "static", price="100.00")
    assert ("AAPL", "price", "100.00", "stop_crossed") == (
        error.value.symbol, error.value.field, error.value.value, error.value.reason,
    )  # fmt: skip
    with pytest.raises(InvalidStop) as error:
        client.move_stop(1, price="100.01")
    assert (1, "bid 100.00, ask 100.02") == (error.value.stop_id, error.value.limit)
    assert client.set_stop("AAPL", "static", price="100.00", fire_now=True) > 0
    risk.instance.settle()
    assert client.position("AAPL").is_flat


def test_client_stop_that_cannot_be_meant_is_refused_before_it_leaves(risk, client):
    """Mistakes that need no market are found without risk."""
    for call, error in (
        (lambda: client.set_stop("APPL", "static", percent=1), InstrumentError),
        (lambda: client.set_stop("AAPL", "static"), InvalidStop),
        (lambda: client.set_stop("AAPL", "static", percent=1.5), InvalidStop),
        (lambda: client.set_stop("AAPL", "static", percent="99.5"), InvalidStop),
        (lambda: client.move_stop(1), InvalidStop),
        (lambda: client.move_stop(1, offset="1"), InvalidStop),
        (lambda: client.move_stop(77, percent=1), NoStopFound),
    ):
        with pytest.raises(error):
            call()
    assert 1 == len(requests_of(risk.instance, 0))
    assert 0 == risk.naps


def test_client_stop_of_another_strategy_is_not_found(risk, client, instance_name):
    """A strategy reaches its own stops only."""
    with Client(instance_name, 1) as other:
        for call in (lambda: other.move_stop(1, percent=3), lambda: other.cancel_stop(1)):
            with pytest.raises(NoStopFound):
                call()
    assert [1, 2] == [stop.stop_id for stop in client.stops()]


@pytest.mark.parametrize(("reason", "error"), [(REJECT_STOP_TABLE_FULL, StopTableFull), (REJECT_LAST_STOP, LastStop)])
def test_client_refusal_of_risk_is_its_named_exception(risk, client, reason, error):
    """Each reason has its exception; all of them are StopRefused."""
    risk.answers = [{"kind": REQUEST_REFUSED, "reason": reason}]
    with pytest.raises(error) as raised:
        client.cancel_stop(1)
    assert isinstance(raised.value, StopRefused)
    assert ("AAPL", 1) == (raised.value.symbol, raised.value.stop_id)


def test_client_answers_of_others_are_passed_over(risk, client):
    """The same number of another ring, and other numbers of ours, are not the answer."""
    risk.answers = [
        {"kind": STOP_ARMED, "stop_id": 50, "requester": 1},
        {"kind": STOP_ARMED, "stop_id": 51, "requester": SIZES.strategies},
        {"kind": STOP_ARMED, "stop_id": 52, "request_id": 99},
        {"kind": STOP_ARMED, "stop_id": 53},
    ]
    assert 53 == client.set_stop("AAPL", "static", percent=3)


def test_client_answer_behind_a_storm_of_events_is_found(risk, client):
    """Events that lap the ring between two looks cost the others' records, not an answer that is still there."""
    risk.answers = [{"kind": STOP_MOVED, "request_id": 0}] * (2 * SIZES.events) + [{"kind": STOP_ARMED, "stop_id": 9}]
    assert 9 == client.set_stop("AAPL", "static", percent=3)


def test_client_call_without_an_answer_ends_in_time(risk, client):
    """Risk may be away; the call says that the request may still be carried out."""
    risk.answers = []
    with pytest.raises(NoAnswer, match=r"risk has not answered within 0 s \(set-stop AAPL\): it may still"):
        client.set_stop("AAPL", "static", percent=3, timeout_s=0)
    assert 2 == len(requests_of(risk.instance, 0))


def test_client_answer_at_the_last_look_counts(risk, client, monkeypatch):
    """What came while the call slept past its deadline is not thrown away."""
    risk.answers = [{"kind": STOP_ARMED, "stop_id": 4}]
    clock = iter([0, 0, 10**12, 10**12])
    monkeypatch.setattr(client_asking, "now_ns", lambda: next(clock))
    assert 4 == client.set_stop("AAPL", "static", percent=3)


def test_client_full_ring_refuses_a_stop(risk, client):
    """Where risk takes nothing the call raises at once and nothing is written."""
    for _ in range(SIZES.requests):
        client.submit("AAPL", SELL, 1)
    with pytest.raises(RequestsFull, match="16 requests wait"):
        client.set_stop("AAPL", "static", percent=3)


def test_client_closed_refuses_stop_calls(risk, instance_name):
    """A client that gave its slot back asks for nothing."""
    with Client(instance_name, 1) as closed:
        pass
    for call in (lambda: closed.set_stop("AAPL", "static", percent=3), lambda: closed.cancel_stop(1)):
        with pytest.raises(ClientClosed):
            call()


def test_client_calls_of_two_threads_get_their_own_answers(risk, client, monkeypatch):
    """One client may be used by several threads: each gets the id of the stop that it asked for."""
    lock = threading.Lock()
    found: dict[str, int] = {}

    def nap() -> None:
        with lock:
            risk.instance.step("risk")
            risk.instance.drain_sidecar()

    def work(percent: str) -> None:
        found[percent] = client.set_stop("AAPL", "static", percent=percent, timeout_s=60)

    monkeypatch.setattr(client_asking, "nap", nap)
    threads = [threading.Thread(target=work, args=(percent,)) for percent in ("3", "4", "5", "6")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    percents = {stop.stop_id: str(stop.percent) for stop in client.stops()}
    assert {percent: percents[stop_id] for percent, stop_id in found.items()} == {"3": "3", "4": "4", "5": "5", "6": "6"}
