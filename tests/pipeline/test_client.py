"""The client against real stages: orders, positions, stops, what it reads, its slot, and the end of the instance."""

from decimal import Decimal

import pytest

from pipeline import topology
from pipeline.client import (
    Client,
    RequestError,
    RequestsFull,
    order_id_of,
)
from pipeline.errors import InstrumentError
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
    STOP_ARMED,
)
from shm import ring
from tests.pipeline.client_instance import AAPL, SIZES, calm, requests_of, running
from tests.rig import quotes


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
