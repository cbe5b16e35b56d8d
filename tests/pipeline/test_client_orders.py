"""A strategy's orders: what is asked for is written as risk reads it, and what risk answers comes back in words."""

from decimal import Decimal

import pytest

from pipeline.client import Client, ClientClosed, NoAnswer, RequestError, RiskCheckError, order_id_of
from pipeline.errors import InstrumentError
from pipeline.messages import (
    AND_FLATTEN,
    BUY,
    CANCEL_ALL,
    CANCEL_ORDER,
    EXIT,
    HALTED,
    KILLED,
    LIMIT,
    MARKET,
    REDUCING,
    REJECT_NOT_ALLOWED,
    REJECT_UNKNOWN_ORDER,
    REQUEST_DONE,
    REQUEST_REFUSED,
    SELL,
    SET_STATE,
    STATE_CHANGED,
    STOP_TRIGGERED,
)
from pipeline.tables import SENT, SENT_ORDER, TAKEN_BACK
from pipeline.topology import ACCOUNT
from tests.pipeline.client_instance import AAPL, BTCUSDT, SIZES, Risk, put_row, requests_of, running

pytestmark = pytest.mark.jitless


@pytest.fixture
def risk(instance_name, monkeypatch):
    """Return what answers in risk's place."""
    with running(instance_name) as instance:
        risk = Risk(instance, monkeypatch)
        risk.answers = []
        yield risk


@pytest.fixture
def client(risk, instance_name):
    """Return the client of strategy 0."""
    with Client(instance_name, 0) as client:
        yield client


def last_request(risk: Risk):
    """Return the newest request of strategy 0."""
    return requests_of(risk.instance, 0)[-1]


@pytest.mark.parametrize("price", [Decimal("99.95"), "99.95"])
def test_client_limit_order_is_written_in_ticks(risk, client, price):
    """The limit stands in the request in ticks, and its kind says that it has one."""
    assert order_id_of(0, 0) == client.submit("AAPL", BUY, 100, price)
    request = last_request(risk)
    assert (LIMIT, BUY, 100, 9_995, AAPL) == tuple(
        request[name] for name in ("order_type", "side", "quantity_lots", "price_ticks", "instrument")
    )
    client.submit("BTCUSDT", SELL, "0.25", 90000)
    assert (LIMIT, 900_000, 250) == tuple(last_request(risk)[name] for name in ("order_type", "price_ticks", "quantity_lots"))
    client.submit("AAPL", SELL, 5)
    assert (MARKET, 0) == (last_request(risk)["order_type"], last_request(risk)["price_ticks"])


@pytest.mark.parametrize(
    ("price", "error", "words"),
    [
        ("99.955", InstrumentError, "no whole multiple of 0.01"),
        ("0", InstrumentError, "not above 0"),
        ("-1", InstrumentError, "not above 0"),
        (99.95, InstrumentError, "is no decimal"),
        (True, InstrumentError, "is no decimal"),
        (1 << 50, InstrumentError, "out of bounds"),
    ],
)
def test_client_senseless_limit_leaves_nothing(risk, client, price, error, words):
    """A price that cannot be meant raises, and no request is written."""
    with pytest.raises(error, match=words):
        client.submit("AAPL", BUY, 1, price)
    assert 0 == len(requests_of(risk.instance, 0))


@pytest.mark.parametrize(("ticks", "is_valid"), [(-1, False), (0, True), (1, True), ((1 << 42) - 1, True), (1 << 42, False)])
def test_client_limit_in_ticks_is_held_to_its_bounds(risk, client, ticks, is_valid):
    """What is beyond the pipeline's integers never leaves."""
    if is_valid:
        client.submit_lots(AAPL, BUY, 1, ticks)
    else:
        with pytest.raises(RequestError, match=f"limit of {ticks} ticks") as caught:
            client.submit_lots(AAPL, BUY, 1, ticks)
        assert ("AAPL", ticks) == (caught.value.symbol, caught.value.value)
    assert int(is_valid) == len(requests_of(risk.instance, 0))


def test_client_cancel_names_order_and_instrument(risk, client):
    """The request has the order's id, and its instrument where the order is known."""
    order_id = client.submit("BTCUSDT", BUY, "0.1", "80000")
    put_row(risk.instance, "sent", SENT_ORDER, 3, order_id=order_id, position=BTCUSDT, left_lots=100, state=SENT)
    risk.answers = [{"kind": REQUEST_DONE, "order_id": order_id, "value": 1}]
    assert client.cancel(order_id) is None
    request = last_request(risk)
    assert (CANCEL_ORDER, order_id, BTCUSDT, 0) == tuple(request[name] for name in ("kind", "value", "instrument", "strategy"))


def test_client_cancel_of_an_unknown_order_is_refused(risk, client):
    """An order that has ended is no risk check's business, and the error says what to do."""
    risk.answers = [{"kind": REQUEST_REFUSED, "reason": REJECT_UNKNOWN_ORDER}]
    with pytest.raises(RiskCheckError, match="no such order is working") as caught:
        client.cancel(77)
    assert "unknown_order" == caught.value.check


def test_client_cancel_all_tells_how_many(risk, client):
    """All orders of its own scope are meant, and the answer counts them; the exits that it causes are no answer."""
    risk.answers = [{"kind": STOP_TRIGGERED, "stop_id": 4}, {"kind": REQUEST_DONE, "value": 3}]
    assert 3 == client.cancel_all()
    assert (CANCEL_ALL, 1) == (last_request(risk)["kind"], last_request(risk)["scope"])


@pytest.mark.parametrize(
    ("call", "scope", "state", "flags"),
    [
        (lambda client: client.pause(), 1, REDUCING, 0),
        (lambda client: client.halt(), 1, HALTED, 0),
        (lambda client: client.set_state("killed"), 1, KILLED, 0),
        (lambda client: client.kill(), ACCOUNT, KILLED, 0),
        (lambda client: client.kill("prices make no sense", flatten=True), ACCOUNT, KILLED, AND_FLATTEN),
    ],
)
def test_client_stops_trading_by_a_state(risk, client, runtime_folder, call, scope, state, flags):
    """Each way to stop is a state of the strategy's own scope; the kill switch is the account's."""
    risk.answers = [{"kind": STATE_CHANGED, "state": state, "scope": scope}]
    call(client)
    request = last_request(risk)
    assert (SET_STATE, scope, state, flags) == tuple(request[name] for name in ("kind", "scope", "value", "flags"))


def test_client_kill_keeps_its_reason_in_the_log(risk, client, runtime_folder, caplog):
    """Why a strategy pulled the switch is written down even where no supervisor listens."""
    risk.answers = [{"kind": STATE_CHANGED, "state": KILLED}]
    client.kill("prices make no sense")
    assert "strategy 0 killed the account: prices make no sense" in caplog.text
    assert "has not noted it down" in caplog.text


def test_client_loosening_is_not_its_own(risk, client):
    """What only a person may do is refused by risk, and an unknown state before it leaves."""
    risk.answers = [{"kind": REQUEST_REFUSED, "reason": REJECT_NOT_ALLOWED}]
    with pytest.raises(RiskCheckError, match="a strategy may only tighten"):
        client.set_state("active")
    with pytest.raises(RequestError, match="did you mean halted"):
        client.set_state("halt")
    assert 1 == len(requests_of(risk.instance, 0))


def test_client_without_an_answer_says_that_it_may_still_happen(risk, client):
    """A call that risk does not answer ends with what is known."""
    with pytest.raises(NoAnswer, match="it may still carry the request out"):
        client.cancel_all(timeout_s=0.01)


def test_client_orders_at_work_are_its_own_in_order(risk, client, instance_name):
    """Each strategy sees its own orders and the exits of its stops, those on their way back too, and no free row."""
    count = SIZES.instruments
    instance = risk.instance
    put_row(instance, "sent", SENT_ORDER, 0, order_id=9, position=BTCUSDT, left_lots=250, price_ticks=899_990, sent_ns=20,
            request_id=4, side=BUY, order_type=LIMIT, state=SENT)  # fmt: skip
    put_row(instance, "sent", SENT_ORDER, 5, order_id=8, position=AAPL, left_lots=100, sent_ns=10, stop_id=7, side=SELL,
            order_type=MARKET, flags=EXIT, state=SENT)  # fmt: skip
    put_row(instance, "sent", SENT_ORDER, 6, order_id=7, position=count + AAPL, left_lots=1, sent_ns=5, side=SELL,
            order_type=LIMIT, price_ticks=10_001, state=TAKEN_BACK)  # fmt: skip
    exit_order, entry = client.orders()
    assert (8, "AAPL", SELL, Decimal(100), None, True, False, 7) == (
        exit_order.order_id, exit_order.symbol, exit_order.side, exit_order.quantity, exit_order.price, exit_order.is_exit,
        exit_order.is_taken_back, exit_order.stop_id,
    )  # fmt: skip
    assert (9, "BTCUSDT", BUY, Decimal("0.250"), Decimal("89999.00"), False, 4) == (
        entry.order_id, entry.symbol, entry.side, entry.quantity, entry.price, entry.is_exit, entry.request_id,
    )  # fmt: skip
    with Client(instance_name, 1) as other:
        (order,) = other.orders()
        assert (7, 1, True) == (order.order_id, order.strategy, order.is_taken_back)


def test_client_closed_refuses_what_is_about_orders(risk, client):
    """After close none of these calls goes out."""
    client.close()
    for call in (client.orders, client.cancel_all, client.pause, client.kill, client.account, client.limits, client.desk):
        with pytest.raises(ClientClosed):
            call()
