"""The client against real stages: orders, positions, stops, what it reads, its slot, and the end of the instance."""

import os
import signal
from decimal import Decimal

import numpy as np
import pytest

from pipeline import topology
from pipeline.client import (
    Client,
    ClientClosed,
    Fenced,
    InstanceGone,
    RequestError,
    RequestsFull,
    SlotTaken,
    order_id_of,
    warm_up,
)
from pipeline.client_tables import stop_level
from pipeline.errors import InstanceError, InstrumentError
from pipeline.messages import (
    BUY,
    EVENT_NAMES,
    FILLED,
    LONG,
    ORDER,
    REJECT_ENTRIES_BLOCKED,
    REQUEST,
    REQUEST_REFUSED,
    SELL,
    SHORT,
    STATIC,
    STOP_ARMED,
    TRAILING,
)
from pipeline.risk.levels import level_at
from pipeline.tables import STOP
from shm import heartbeat, ring
from shm.heartbeat import State
from tests.pipeline.client_instance import AAPL, BTCUSDT, SIZES, calm, running, spawn, until
from tests.rig import quotes

HOLDER = """
import sys
from pipeline.client import Client
client = Client(sys.argv[1], int(sys.argv[2]))
print(*[client.submit("AAPL", 1, 10) for _ in range(3)], flush=True)
{then}
sys.stdin.read()
"""


def requests_of(instance, slot: int) -> np.ndarray:
    """Return what is in a strategy's requests ring."""
    return instance.records(f"requests.strategy{slot}", REQUEST)


@pytest.mark.jitless
def test_client_market_order_fills_at_the_touch(instance_name):
    """A bought quantity comes back as a filled report under the id that submit returned, and as a position at the ask."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        order_id = client.submit("AAPL", BUY, "100")
        instance.settle()
        reports = client.reports()
        filled = reports[reports["kind"] == FILLED]
        assert [order_id] == filled["order_id"].tolist()
        assert [order_id] == instance.records("orders", ORDER)["order_id"].tolist()
        position = client.position("AAPL")
        assert (Decimal(100), Decimal("100.02"), Decimal("-2.00")) == (
            position.quantity, position.average_price, position.unrealised,
        )  # fmt: skip
        assert (100, 1_000_200, 10_002) == (position.quantity_lots, position.cost_tick_lots, position.entry_ticks)
        assert ["AAPL"] == list(client.positions())


@pytest.mark.jitless
def test_client_round_trip_realises_its_exact_loss(instance_name):
    """Buying at the ask and selling at the bid leaves a flat position and the spread as realised loss, in exact decimals."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        client.submit("BTCUSDT", BUY, Decimal("0.250"))
        instance.settle()
        client.submit("BTCUSDT", SELL, "0.25")
        instance.settle()
        position = client.position("BTCUSDT")
        assert position.is_flat
        assert not position.is_working
        assert position.average_price is None
        assert (Decimal("-0.25000"), -2500) == (position.realised, position.realised_tick_lots)
        assert {} == client.positions()


@pytest.mark.jitless
def test_client_stops_follow_the_price_as_risk_does(instance_name):
    """A long position has its static and its trailing stop, and the trailing one rises with the bid."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        client.submit("AAPL", BUY, 100)
        instance.settle()
        instance.feed(quotes([(AAPL, 11_000, 11_002)]))
        static, trailing = client.stops()
        assert ("static", "armed", LONG, 9_801) == (static.kind, static.state, static.side, static.level_ticks)
        assert ("trailing", Decimal("108.90"), 11_000, Decimal(1)) == (
            trailing.kind, trailing.level, trailing.best_ticks, trailing.percent,
        )  # fmt: skip
        armed = client.events()
        assert [STOP_ARMED, STOP_ARMED] == armed["kind"].tolist()
        instance.feed(quotes([(AAPL, 10_800, 10_802)] * 3))
        assert [] == client.stops()
        assert client.position("AAPL").is_flat
        ends = [EVENT_NAMES[kind] for kind in client.events()["kind"]]
        assert "stop_triggered" in ends


@pytest.mark.jitless
def test_client_stop_level_equals_the_kernels(instance_name):
    """The level that a client computes is the one of risk's kernel, for both kinds and sides and for prices of all sizes."""
    random = np.random.default_rng(7)
    stops = np.zeros(200, STOP)
    stops["kind"] = random.choice([STATIC, TRAILING], 200)
    stops["side"] = random.choice([LONG, SHORT], 200)
    stops["entry_ticks"] = random.integers(1, 1 << 41, 200)
    stops["percent_ppm"] = random.integers(1, 990_000, 200)
    stops["level_ticks"] = random.choice([0, 777], 200)
    extremes = random.choice([0, 1], 200) * random.integers(1, 1 << 41, 200)
    expected = [level_at(stops[k], extremes[k]) for k in range(200)]
    assert expected == [stop_level(stops[k], int(extremes[k])) for k in range(200)]


@pytest.mark.jitless
def test_client_blocked_entry_comes_back_as_an_event(instance_name):
    """A refused request is told with its reason and its order id, and moves nothing."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        instance.segment.array("supervisor.state")[topology.ENTRIES_ALLOWED] = 0
        order_id = client.submit("AAPL", BUY, 100)
        instance.settle()
        (event,) = client.events()
        assert (REQUEST_REFUSED, REJECT_ENTRIES_BLOCKED, order_id) == (event["kind"], event["reason"], event["order_id"])
        assert client.position("AAPL").is_flat


@pytest.mark.jitless
def test_client_two_strategies_see_their_own(instance_name):
    """Two strategies on two slots hold opposite positions, and each reads its own reports, events and stops only."""
    with running(instance_name) as instance, Client(instance_name, 0) as first, Client(instance_name, 1) as second:
        ids = first.submit("AAPL", BUY, 100), second.submit("AAPL", SELL, 40)
        instance.settle()
        assert (Decimal(100), Decimal(-40)) == (first.position("AAPL").quantity, second.position("AAPL").quantity)
        for client, order_id, side in ((first, ids[0], LONG), (second, ids[1], SHORT)):
            assert {order_id} == set(client.reports()["order_id"].tolist())
            assert {client.slot} == set(client.events()["strategy"].tolist())
            assert [side, side] == [stop.side for stop in client.stops()]
        first.submit("BTCUSDT", BUY, "0.1")
        instance.settle()
        assert {0} == set(second.reports(everyone=True)["strategy"].tolist())


@pytest.mark.jitless
def test_client_own_records_pass_over_those_of_others(instance_name):
    """A limit counts a strategy's own records: those of others before them do not eat it up."""
    with running(instance_name) as instance, Client(instance_name, 0) as first, Client(instance_name, 1) as second:
        for _ in range(3):
            first.submit("AAPL", BUY, 1)
        instance.settle()
        order_id = second.submit("BTCUSDT", BUY, 1)
        instance.settle()
        assert [order_id] == second.reports(limit=1)["order_id"].tolist()


@pytest.mark.jitless
def test_client_full_requests_ring_says_so_and_loses_nothing(instance_name):
    """Once the ring is full submit raises at once; when risk has taken the requests, ids go on without a gap."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        ids = [client.submit("AAPL", BUY, 1) for _ in range(SIZES.requests)]
        with pytest.raises(RequestsFull, match="16 requests wait"):
            client.submit("AAPL", BUY, 1)
        assert SIZES.requests == client.requests_waiting
        instance.settle()
        assert 0 == client.requests_waiting
        ids.append(client.submit("AAPL", BUY, 1))
        instance.settle()
        assert [order_id_of(0, seq) for seq in range(SIZES.requests + 1)] == ids
        assert SIZES.requests + 1 == client.position("AAPL").quantity_lots


@pytest.mark.jitless
@pytest.mark.parametrize(
    ("symbol", "side", "quantity", "error", "words"),
    [
        ("APPL", BUY, "1", InstrumentError, "did you mean AAPL"),
        ("AAPL", 0, "1", RequestError, "side 0"),
        ("AAPL", BUY, "0", RequestError, "quantity of 0 lots"),
        ("AAPL", BUY, "-5", RequestError, "quantity of -5 lots"),
        ("AAPL", BUY, "0.5", InstrumentError, "no whole multiple"),
        ("AAPL", BUY, 1.0, InstrumentError, "is no decimal"),
        ("AAPL", BUY, 1 << 40, InstrumentError, "out of bounds"),
    ],
)
def test_client_senseless_order_is_refused_before_it_leaves(instance_name, symbol, side, quantity, error, words):
    """What cannot be meant raises an error that says why, and no request is written."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        with pytest.raises(error, match=words):
            client.submit(symbol, side, quantity)
        assert 0 == len(requests_of(instance, 0))


@pytest.mark.jitless
def test_client_slow_reader_counts_what_it_missed(instance_name):
    """Of more ticks than the ring holds the newest come, in order, and with the missed ones they are all that there were."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        instance.feed(calm(3 * SIZES.ticks))
        got = []
        while len(batch := client.ticks(limit=10, with_rejected=True)):
            got += batch["event_ns"].tolist()
        published = instance.count("ingest")["received"]
        assert published > 3 * SIZES.ticks
        assert client.ticks_missed >= 2 * SIZES.ticks
        assert sorted(got) == got
        view = ring.RingView(ring.open_ring(instance.segment, "ticks", instance.ticks.dtype))
        assert view.published - 2 == client.ticks_missed + len(got)


@pytest.mark.jitless
def test_client_rejected_ticks_stay_hidden_unless_asked_for(instance_name):
    """A crossed quote is in the stream and not among the ticks a strategy gets, unless it asks for all."""
    with running(instance_name) as instance, Client(instance_name, 0) as client, Client(instance_name, 1) as curious:
        instance.feed(quotes([(AAPL, 10_005, 10_001), (AAPL, 10_000, 10_001)]))
        assert 10_005 not in client.ticks()["a"].tolist()
        assert 10_005 in curious.ticks(with_rejected=True)["a"].tolist()


@pytest.mark.jitless
def test_client_fresh_attach_starts_at_the_newest(instance_name):
    """A strategy that comes later reads nothing of what was published before it, and has missed none of it either."""
    with running(instance_name) as instance:
        with Client(instance_name, 0) as client:
            client.submit("AAPL", BUY, 100)
            instance.feed(calm(3 * SIZES.ticks))
        with Client(instance_name, 0) as client:
            empty = [len(client.ticks()), len(client.reports()), len(client.events())]
            assert [0, 0, 0, 0] == [*empty, client.ticks_missed]
            assert instance.stream_ns == client.stream_ns
            assert 100 == client.position("AAPL").quantity_lots


@pytest.mark.jitless
def test_client_abandoned_claim_is_written_over(instance_name):
    """A strategy that died between claim and publish has sent nothing, and the next life uses that very sequence."""
    with running(instance_name) as instance:
        with Client(instance_name, 0) as client:
            client.submit("AAPL", BUY, 10)
        pen = ring.open_producer(instance.segment, ring.open_ring(instance.segment, "requests.strategy0", REQUEST))
        assert 1 == ring.claim(pen, 1)
        with Client(instance_name, 0) as client:
            assert order_id_of(0, 1) == client.submit("AAPL", BUY, 20)
            instance.settle()
            assert [1, 2] == requests_of(instance, 0)["request_id"].tolist()
            assert 30 == client.position("AAPL").quantity_lots


@pytest.mark.jitless
def test_client_taken_slot_names_its_holder(instance_name):
    """A second client on a slot is told whose it is and what is free, and the first one notices nothing."""
    with running(instance_name), Client(instance_name, 0) as client:
        with pytest.raises(SlotTaken, match=f"slot 0 is taken by pid {os.getpid()} .*free one: 1, 2"):
            Client(instance_name, 0)
        assert client.alive
        assert State.RUNNING == client._words[heartbeat.STATE]


@pytest.mark.jitless
def test_client_without_a_wish_gets_a_slot_nobody_plans_for(instance_name):
    """Slots that the supervisor fills are left alone, and when the others are taken the error says so."""
    with running(instance_name, about={"strategies": {"strategy0": "demo"}}):
        with Client(instance_name) as first, Client(instance_name) as second:
            assert [1, 2] == [first.slot, second.slot]
            with pytest.raises(SlotTaken, match="all 3 strategy slots are taken"):
                Client(instance_name)
        with Client(instance_name) as again:
            assert 1 == again.slot


@pytest.mark.jitless
@pytest.mark.parametrize("slot", [-1, 3, "0", True])
def test_client_slot_out_of_range_is_refused(instance_name, slot):
    """A slot that the instance does not have is named, with those it has."""
    with running(instance_name), pytest.raises(InstanceError, match=r"no strategy slot .*choose 0 to 2"):
        Client(instance_name, slot)


@pytest.mark.jitless
def test_client_earlier_incarnation_is_fenced(instance_name):
    """A start that the supervisor has replaced may not attach, writes nothing, and leaves the slot free."""
    with running(instance_name) as instance:
        words = instance.segment.array("strategy0.heartbeat")
        words[heartbeat.INCARNATION] = 5
        with pytest.raises(Fenced, match="incarnation 5, this is 4"):
            Client(instance_name, 0, incarnation=4)
        assert 0 == words[heartbeat.PID]
        with Client(instance_name, 0, incarnation=5) as client:
            assert not client.is_fenced
            words[heartbeat.INCARNATION] = 6
            assert client.is_fenced
        assert State.RUNNING == words[heartbeat.STATE]


@pytest.mark.jitless
def test_client_closed_gives_its_slot_back_and_refuses_calls(instance_name):
    """After close the heartbeat says STOPPED, every call raises, and another client may come."""
    with running(instance_name) as instance:
        with Client(instance_name, 0) as client:
            pass
        assert State.STOPPED == instance.segment.array("strategy0.heartbeat")[heartbeat.STATE]
        assert not client.alive
        for call in (client.ticks, client.reports, client.stops, client.positions, client.beat):
            with pytest.raises(ClientClosed):
                call()
        with Client(instance_name, 0) as again:
            assert again.alive


@pytest.mark.jitless
def test_client_ended_instance_is_gone(instance_name):
    """When the supervisor ends the instance, every call of its clients raises InstanceGone."""
    with running(instance_name):
        client = Client(instance_name, 0)
        assert client.alive
    assert not client.alive
    with pytest.raises(InstanceGone, match="has ended"):
        client.ticks()
    client.close()


@pytest.mark.jitless
def test_client_restarted_instance_is_another_one(instance_name):
    """A client of an earlier epoch finds its instance gone although the name runs again, and a new client attaches."""
    with running(instance_name):
        client = Client(instance_name, 0)
    with running(instance_name), Client(instance_name, 0) as new:
        assert client.epoch < new.epoch
        assert not client.alive
        with pytest.raises(InstanceGone):
            client.submit("AAPL", BUY, 1)
        assert new.alive
        client.close()
        assert new.alive


@pytest.mark.jitless
def test_client_file_without_an_owner_is_no_instance(instance_name):
    """What a crash left can be mapped, but nobody works on it: attaching is refused."""
    with running(instance_name) as instance:
        instance.segment.close()
        with pytest.raises(InstanceGone, match="has ended"):
            Client(instance_name, 0)


@pytest.mark.jitless
def test_client_unknown_instance_is_refused():
    """Where there is no such instance, one line says so."""
    with pytest.raises(InstanceGone, match="no instance 'test-never'"):
        Client("test-never")


@pytest.mark.jitless
def test_client_warm_up_touches_no_instance(instance_name):
    """The kernels can be compiled before there is any instance."""
    warm_up()
    with running(instance_name) as instance:
        warm_up()
        assert 0 == len(requests_of(instance, 0))


@pytest.mark.processes
def test_client_killed_process_frees_its_slot_and_its_ids_go_on(instance_name):
    """After kill -9 the slot is free at once, what it had asked for counts once, and the next life continues the ids."""
    with running(instance_name) as instance:
        process = spawn("-c", HOLDER.format(then=""), instance_name, "0")
        first = [int(word) for word in process.stdout.readline().split()]
        assert [order_id_of(0, seq) for seq in range(3)] == first
        with pytest.raises(SlotTaken, match=f"pid {process.pid} "):
            Client(instance_name, 0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with Client(instance_name, 0) as client:
            assert order_id_of(0, 3) == client.submit("AAPL", BUY, 5)
            instance.settle()
            assert [1, 2, 3, 4] == requests_of(instance, 0)["request_id"].tolist()
            assert 35 == client.position("AAPL").quantity_lots


@pytest.mark.processes
def test_client_forked_child_holds_no_slot(instance_name):
    """A child that a strategy forked outlives it without its slot, and cannot send in its name."""
    then = """
import os
if os.fork() == 0:
    try:
        client.submit("AAPL", 1, 10)
    except Exception as error:
        print(type(error).__name__, os.getpid(), flush=True)
    sys.stdin.read()
"""
    with running(instance_name):
        process = spawn("-c", HOLDER.format(then=then), instance_name, "0")
        process.stdout.readline()
        said, child = process.stdout.readline().split()
        assert "ClientClosed" == said
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(int(child), 0)
        with Client(instance_name, 0) as client:
            assert client.alive
        os.kill(int(child), signal.SIGKILL)
        process.communicate()


@pytest.mark.processes
def test_client_killed_owner_is_noticed(instance_name):
    """When the owner of the instance is killed, its clients find it gone though its file is still there."""
    owner = """
import sys
from tests.pipeline.client_instance import Instance
instance = Instance(sys.argv[1])
print("up", flush=True)
sys.stdin.read()
"""
    process = spawn("-c", owner, instance_name)
    assert "up" == process.stdout.readline().strip()
    with Client(instance_name, 0) as client:
        assert client.alive
        process.send_signal(signal.SIGKILL)
        process.communicate()
        until(lambda: not client.alive, "the owner's lock is gone")
        with pytest.raises(InstanceGone):
            client.ticks()
        client._attachment.segment.unlink()


assert BTCUSDT == 1, "the second instrument"
