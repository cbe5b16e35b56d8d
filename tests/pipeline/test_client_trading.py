"""A strategy against the real stages: orders that rest, cancels, states that stop it, and what is left when it dies."""

from decimal import Decimal

import pytest

from pipeline.client import Client, RiskCheckError
from pipeline.messages import ARMED, BUY, CANCELLED, REQUEST_REFUSED, SELL
from pipeline.safeguards import KillSwitch, Safeguards
from pipeline.tables import LIMITS
from pipeline.topology import ACCOUNT, scope_of_strategy
from tests.pipeline.client_instance import AAPL, Risk, put_row, running, spawned
from tests.pipeline.control_instance import served
from tests.rig import quotes

#: A strategy that holds a position and has two orders at work, and says so.
ATTENDED = """
import sys
from pipeline.client import Client
client = Client(sys.argv[1], int(sys.argv[2]))
print("up", flush=True)
sys.stdin.readline()
client.submit("AAPL", 1, 10)
client.submit("AAPL", 1, 5, "90.00")
client.submit("BTCUSDT", 1, "0.010", "80000")
print("asked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def instance(instance_name):
    """Return an instance."""
    with running(instance_name) as instance:
        yield instance


@pytest.fixture
def client(instance, instance_name, monkeypatch):
    """Return strategy 0's client, whose waiting calls let risk step."""
    Risk(instance, monkeypatch)
    with Client(instance_name, 0) as client:
        yield client


@pytest.mark.jitless
def test_client_limit_order_rests_and_fills_at_its_price(instance, client):
    """A bid below the market works until the market comes, and then fills at its limit or better."""
    order_id = client.submit("AAPL", BUY, 10, "99.50")
    instance.settle_working()
    (order,) = client.orders()
    assert (order_id, Decimal("99.50"), Decimal(10), False) == (
        order.order_id,
        order.price,
        order.quantity,
        order.is_taken_back,
    )
    assert Decimal(10) == client.position("AAPL").working_buy
    instance.feed(quotes([(AAPL, 9_940, 9_945)] * 3))
    position = client.position("AAPL")
    assert [] == client.orders()
    assert Decimal(10) == position.quantity
    assert position.average_price <= Decimal("99.50")


@pytest.mark.jitless
def test_client_cancel_takes_one_order_back(instance, client):
    """The other one works on, and a second cancel finds none."""
    ids = [client.submit("AAPL", BUY, 10, price) for price in ("99.50", "99.40")]
    instance.settle_working()
    client.cancel(ids[0])
    instance.settle_working()
    assert [ids[1]] == [order.order_id for order in client.orders()]
    assert (CANCELLED, ids[0]) == tuple(client.reports()[-1][["kind", "order_id"]])
    with pytest.raises(RiskCheckError, match="no such order is working"):
        client.cancel(ids[0])


@pytest.mark.jitless
def test_client_cancels_only_its_own(instance, client, instance_name):
    """Another strategy's order is none that it knows, and stays when it cancels all."""
    with Client(instance_name, 1) as other:
        theirs = other.submit("AAPL", BUY, 1, "99.00")
        client.submit("AAPL", BUY, 2, "99.00")
        instance.settle_working()
        with pytest.raises(RiskCheckError):
            client.cancel(theirs)
        assert 1 == client.cancel_all()
        instance.settle_working()
        assert [theirs] == [order.order_id for order in other.orders()]


@pytest.mark.jitless
def test_client_stops_itself_and_cannot_go_on_by_itself(instance, client, instance_name):
    """A strategy that pauses can only reduce, one that halts nothing, and neither may loosen; others trade on."""
    client.submit("AAPL", BUY, 10)
    instance.settle()
    client.pause()
    assert "reducing" == client.performance().trading_state
    client.submit("AAPL", BUY, 1)
    client.submit("AAPL", SELL, 4)
    instance.settle()
    assert 6 == client.position("AAPL").quantity_lots
    events = client.events()
    assert ["reducing"] == [client.refusal(event).check for event in events[events["kind"] == REQUEST_REFUSED]]
    client.halt()
    with pytest.raises(RiskCheckError, match="may only tighten"):
        client.pause()
    client.submit("AAPL", SELL, 1)
    instance.settle()
    assert 6 == client.position("AAPL").quantity_lots
    with Client(instance_name, 1) as other:
        other.submit("AAPL", BUY, 3)
        instance.settle()
        assert 3 == other.position("AAPL").quantity_lots


@pytest.mark.jitless
@pytest.mark.parametrize("flatten", [False, True])
def test_client_kill_stops_everyone(instance, client, instance_name, runtime_folder, flatten):
    """Any strategy may pull the switch: no order of anybody works on, and with flatten no position is left."""
    with Client(instance_name, 1) as other:
        other.submit("AAPL", BUY, 10)
        instance.settle()
        other.submit("AAPL", BUY, 10, "99.00")
        instance.settle_working()
        client.kill("test", flatten=flatten)
        instance.settle()
        assert [] == other.orders()
        assert (0 if flatten else 10) == other.position("AAPL").quantity_lots
        other.submit("AAPL", SELL, 1)
        instance.settle()
        events = other.events()
        assert "killed" == other.refusal(events[events["kind"] == REQUEST_REFUSED][-1]).check
        assert "killed" == other.account().trading_state


@pytest.mark.jitless
def test_client_refusal_by_a_limit_reads_well(instance, client):
    """What risk found and what is allowed come back in the account's money."""
    put_row(instance, "limits", LIMITS, ACCOUNT, max_order_notional=1_000_000_000)
    client.submit("AAPL", BUY, 10)
    instance.settle()
    (event,) = client.events()
    assert str(client.refusal(event)).startswith("order value: 1,000.20 USD would exceed 1,000.00 USD (account, AAPL, order ")


@pytest.mark.processes
def test_strategy_killed_leaves_no_orders_and_keeps_its_stops(instance_name, runtime_folder):
    """Of two strategies one is killed with -9: its orders are cancelled, its stops stay, and so do the other's orders."""
    switch = KillSwitch()
    with served(instance_name) as instance, spawned("-c", ATTENDED, instance_name, "1") as process:
        guards = Safeguards(instance.segment, instance.control, switch)
        with Client(instance_name, 0) as other:
            other.submit("AAPL", BUY, 1, "89.00")
            assert "up" == process.stdout.readline().strip()
            process.stdin.write("\n")
            process.stdin.flush()
            assert "asked" == process.stdout.readline().strip()
            instance.settle_working()
            assert [0, 1, 1] == sorted((instance.control.place.view.working_orders()["position"] // 2).tolist())
            guards.turn()
            process.kill()
            process.wait()
            guards.turn()
            instance.until(lambda: instance.owner.told)
            instance.settle_working()
            assert "its 2 working orders are being cancelled; its positions keep their stops" in instance.owner.told[0]
            assert f"strategy 1 (pid {process.pid}) is gone without a word" in instance.owner.told[0]
            orders = instance.control.place.view.working_orders()
            assert [0] == (orders["position"] // 2).tolist()
            stops = instance.stops()
            assert [ARMED, ARMED] == stops["state"][stops["position"] // 2 == 1].tolist()
            assert scope_of_strategy(1) == instance.request()["scope"]
        guards.close()
    switch.close()


@pytest.mark.jitless
def test_client_cancel_all_leaves_exits_of_stops_alone(instance, client):
    """An exit that works at its limit protects the position: only the strategy's own order is taken back."""
    client.submit("AAPL", BUY, 100)
    instance.settle()
    stop_id = client.set_stop("AAPL", "static", price="99.50", limit_offset="0.01", escalate_after_ms=600_000)
    client.submit("AAPL", BUY, 1, "90.00")
    # Through the level and far beyond the collar of the exit, which then rests.
    instance.give(quotes([(AAPL, 9_945, 9_947), (AAPL, 9_930, 9_932), (AAPL, 9_930, 9_932)]))
    instance.settle_working()
    exits = [order for order in client.orders() if order.is_exit]
    assert [stop_id] == [order.stop_id for order in exits]
    assert 1 == client.cancel_all()
    instance.settle_working()
    assert [(exits[0].order_id, False)] == [(order.order_id, order.is_taken_back) for order in client.orders()]
