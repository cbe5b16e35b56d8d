"""A strategy inside an @njit function, beside the same one in plain Python: both trade against the real stages."""

import numpy as np
import pytest

from pipeline.client import Client, order_id_of
from pipeline.messages import (
    BUY,
    CANCEL_ORDER,
    FILLED,
    LIMIT,
    MARKET,
    QUOTE,
    REJECT_ENTRIES_BLOCKED,
    REQUEST_REFUSED,
    SELL,
    SUBMIT,
)
from pipeline.strategy_kernel import (
    FULL,
    ask_ticks,
    bid_ticks,
    buy,
    cancel_order,
    last_ticks,
    next_event,
    next_report,
    next_tick,
    position_lots,
    read_position,
    sell,
    send_order,
    ticks_waiting,
    working_lots,
)
from pipeline.topology import ENTRIES_ALLOWED
from shm.jit import njit
from tests.pipeline.client_instance import AAPL, BTCUSDT, SIZES, calm, requests_of, running
from tests.rig import quotes

pytestmark = pytest.mark.jitless

#: Below the first the example buys, from the second on it sells.
LOW, HIGH = 9_990, 10_010
#: A fall through LOW, and a rise through HIGH.
WAVE = [(AAPL, 10_000, 10_002), (AAPL, 9_980, 9_982), (AAPL, 9_979, 9_981), (AAPL, 10_005, 10_007), (AAPL, 10_020, 10_022)]


@njit
def trade_dips(desk, instrument, low_ticks, high_ticks, lots):
    """Buy when the ask falls below a price, sell when the bid has risen to another; return how many orders that took."""
    sent = 0
    while next_tick(desk):
        tick = desk.tick[0]
        if tick["kind"] != QUOTE or tick["instrument"] != instrument or working_lots(desk, instrument) != 0:
            continue
        held = position_lots(desk, instrument)
        if held == 0 and tick["b"] < low_ticks:
            sent += buy(desk, instrument, lots, 0) != FULL
        elif held > 0 and tick["a"] >= high_ticks:
            sent += sell(desk, instrument, held, 0) != FULL
    return sent


def trade_dips_plainly(client: Client, symbol: str, low: str, high: str, quantity: str) -> int:
    """Do the same in plain Python, with symbols and decimals."""
    instruments, index = client.instruments, client.instruments.index(symbol)
    low_ticks, high_ticks = instruments.price_ticks(index, low), instruments.price_ticks(index, high)
    sent = 0
    for tick in client.ticks():
        if tick["kind"] != QUOTE or tick["instrument"] != index:
            continue
        position = client.position(symbol)
        if position.is_working or client.requests_waiting:
            continue
        if position.is_flat and tick["b"] < low_ticks:
            client.submit(symbol, BUY, quantity)
            sent += 1
        elif position.quantity > 0 and tick["a"] >= high_ticks:
            client.submit(symbol, SELL, position.quantity)
            sent += 1
    return sent


def play(instance, act) -> list[int]:
    """Give the wave quote by quote, let a strategy look after each, and return its position after each."""
    held = []
    for _, bid, ask in WAVE:
        instance.feed(quotes([(AAPL, bid, ask)]))
        act()
        instance.settle()
        held.append(int(instance.positions()["quantity_lots"][AAPL]))
    return held


def test_strategy_in_a_kernel_trades_as_the_plain_one(instance_name):
    """The same wave makes the same orders: one buy at the dip, one sale at the top."""
    found = []
    for is_kernel in (True, False):
        with running(instance_name) as instance, Client(instance_name, 0) as client:
            index = client.instruments.index("AAPL")
            # The defaults would leave the position at the dip's bottom.
            if is_kernel:
                held = play(instance, lambda client=client, index=index: trade_dips(client.desk(), index, LOW, HIGH, 100))
            else:
                held = play(instance, lambda client=client: trade_dips_plainly(client, "AAPL", "99.90", "100.10", "100"))
            orders = requests_of(instance, 0)[["side", "quantity_lots", "instrument"]].tolist()
            found.append((held, orders, client.position("AAPL").realised_tick_lots))
    assert found[0] == found[1]
    assert ([0, 100, 100, 100, 0], [(BUY, 100, AAPL), (SELL, 100, AAPL)]) == found[0][:2]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130])
def test_desk_ticks_come_once_and_in_order(instance_name, count):
    """What is read a batch at a time comes tick by tick, whatever the batch; rejected ones are passed over."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        desk, got = client.desk(), []
        rows = calm(count)
        rows["a"][rows["instrument"] == AAPL] = 10_000 - np.arange(count)[rows["instrument"] == AAPL] % 5
        for k in range(0, count, 30):
            instance.feed(rows[k : k + 30])
            while next_tick(desk):
                got.append((int(desk.tick[0]["instrument"]), int(desk.tick[0]["a"]), int(desk.tick[0]["kind"])))
        assert rows[["instrument", "a"]].tolist() == [(a, b) for a, b, kind in got if kind == QUOTE]
        assert 0 == client.ticks_missed
        assert not next_tick(desk)
        assert 0 == ticks_waiting(desk)


def test_desk_ticks_waiting_counts_those_copied_already(instance_name):
    """After the first of five there are four, though they lie in the desk's own memory by then."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        desk = client.desk()
        before = ticks_waiting(desk)
        instance.feed(calm(5))
        count = ticks_waiting(desk)
        assert before + 5 <= count
        assert next_tick(desk)
        assert count - 1 == ticks_waiting(desk)


def test_desk_slow_reader_misses_the_oldest_and_counts_them(instance_name):
    """Of more ticks than the ring holds a desk gets the newest, whole and in order."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        desk, times = client.desk(), []
        instance.feed(calm(3 * SIZES.ticks))
        while next_tick(desk):
            times.append(int(desk.tick[0]["event_ns"]))
        assert client.ticks_missed >= 2 * SIZES.ticks
        assert sorted(times) == times
        assert 0 < len(times) <= SIZES.ticks


def test_desk_crossed_quotes_are_no_ticks(instance_name):
    """What hygiene rejects is not shown to a strategy."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        desk = client.desk()
        instance.feed(quotes([(AAPL, 10_005, 10_001), (AAPL, 10_000, 10_001)]))
        bids = []
        while next_tick(desk):
            bids.append(int(desk.tick[0]["a"]))
        assert 10_005 not in bids
        assert 10_000 in bids


def test_desk_orders_are_written_as_the_client_writes_them(instance_name):
    """Field by field both ways give the same request, and their ids go on from each other."""
    with running(instance_name) as instance, Client(instance_name, 1) as client:
        desk = client.desk()
        ids = [
            client.submit_lots(BTCUSDT, SELL, 7, 900_000),
            int(send_order(desk, BTCUSDT, SELL, 7, 900_000)),
            client.submit_lots(AAPL, BUY, 3),
            int(buy(desk, AAPL, 3, 0)),
            int(sell(desk, AAPL, 4, 10_100)),
        ]
        assert [order_id_of(1, seq) for seq in range(5)] == ids
        requests = requests_of(instance, 1)
        assert [1, 2, 3, 4, 5] == requests["request_id"].tolist()
        assert (requests["sent_ns"] > 0).all()
        requests["request_id"], requests["sent_ns"] = 0, 0
        assert requests[0] == requests[1]
        assert requests[2] == requests[3]
        assert [(SUBMIT, LIMIT, SELL, 4, 10_100, 1)] == requests[4:][
            ["kind", "order_type", "side", "quantity_lots", "price_ticks", "strategy"]
        ].tolist()
        assert MARKET == requests[3]["order_type"]


def test_desk_full_ring_says_so(instance_name):
    """Where risk takes nothing, orders and cancels return FULL and nothing is written over."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        desk = client.desk()
        assert [order_id_of(0, seq) for seq in range(SIZES.requests)] == [
            int(buy(desk, AAPL, 1, 0)) for _ in range(SIZES.requests)
        ]
        assert FULL == buy(desk, AAPL, 1, 0)
        assert FULL == cancel_order(desk, 1)
        assert SIZES.requests == len(requests_of(instance, 0))
        instance.settle()
        assert FULL != buy(desk, AAPL, 1, 0)


def test_desk_cancel_names_its_order(instance_name):
    """A cancel carries the order's id and nothing that was left of the order before."""
    with running(instance_name) as instance, Client(instance_name, 0) as client:
        desk = client.desk()
        order_id = send_order(desk, BTCUSDT, BUY, 5, 800_000)
        assert 2 == cancel_order(desk, order_id)
        request = requests_of(instance, 0)[-1]
        assert (CANCEL_ORDER, order_id, 0, 0, 0) == tuple(
            request[name] for name in ("kind", "value", "quantity_lots", "price_ticks", "side")
        )


def test_desk_reads_positions_and_prices_as_the_client_does(instance_name):
    """Lots held, lots at work and the last prices are those of the rows."""
    with running(instance_name) as instance, Client(instance_name, 1) as client:
        desk = client.desk()
        assert (10_000, 10_002, 0) == (bid_ticks(desk, AAPL), ask_ticks(desk, AAPL), last_ticks(desk, AAPL))
        assert (900_000, 900_010) == (bid_ticks(desk, BTCUSDT), ask_ticks(desk, BTCUSDT))
        buy(desk, AAPL, 40, 0)
        sell(desk, BTCUSDT, 5, 0)
        instance.step("risk")
        assert [40, 5] == [working_lots(desk, index) for index in (AAPL, BTCUSDT)]
        instance.settle()
        assert [40, -5] == [position_lots(desk, index) for index in (AAPL, BTCUSDT)]
        assert 0 == working_lots(desk, AAPL)
        assert -5 == read_position(desk, BTCUSDT)
        assert client.position_rows(BTCUSDT, 1).tobytes() == desk.position.tobytes()


def test_desk_reports_and_events_are_its_own(instance_name):
    """Of two strategies each sees its own fills and refusals only."""
    with running(instance_name) as instance, Client(instance_name, 0) as first, Client(instance_name, 1) as second:
        desks = first.desk(), second.desk()
        ids = [int(buy(desk, AAPL, 10 + k, 0)) for k, desk in enumerate(desks)]
        instance.settle()
        for k, desk in enumerate(desks):
            kinds = []
            while next_report(desk):
                assert ids[k] == desk.report[0]["order_id"]
                kinds.append(int(desk.report[0]["kind"]))
            assert FILLED in kinds
            while next_event(desk):
                assert k == desk.event[0]["strategy"]
        instance.segment.array("supervisor.state")[ENTRIES_ALLOWED] = 0
        refused = buy(desks[1], BTCUSDT, 1, 0)
        instance.settle()
        assert not next_event(desks[0])
        assert next_event(desks[1])
        event = desks[1].event[0]
        assert (REQUEST_REFUSED, REJECT_ENTRIES_BLOCKED, refused) == (event["kind"], event["reason"], event["order_id"])


def test_desk_is_another_one_after_a_restart(instance_name):
    """A strategy that asks for its desk each time goes on in the new instance."""
    with running(instance_name):
        client = Client(instance_name, 0)
        before = client.desk()
        assert before is client.desk()
    with running(instance_name) as instance:
        desk = client.desk()
        assert before is not desk
        buy(desk, AAPL, 5, 0)
        instance.settle()
        assert 5 == position_lots(desk, AAPL)
        client.close()
