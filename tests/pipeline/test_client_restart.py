"""An instance that ends and is started anew under its name: its clients attach again by themselves."""

import threading

import pytest

from pipeline.client import Client, InstanceGone, SlotTaken, order_id_of
from pipeline.errors import InstanceError
from pipeline.instruments import Instruments
from pipeline.messages import BUY
from shm import heartbeat
from shm.heartbeat import State
from tests.pipeline.client_instance import INSTRUMENTS, Instance, requests_of, running, spawned, until

pytestmark = pytest.mark.jitless

HOLDER = """
import sys
from pipeline.client import Client
client = Client(sys.argv[1], int(sys.argv[2]))
print("up", flush=True)
sys.stdin.read()
"""


def test_client_of_a_restarted_instance_attaches_by_its_next_call(instance_name):
    """The slot is kept, ids begin anew, and what is sent and held is that of the new instance."""
    with running(instance_name) as before:
        client = Client(instance_name, 1)
        client.submit("AAPL", BUY, 10)
        before.settle()
        epoch = client.epoch
    with running(instance_name) as after:
        assert order_id_of(1, 0) == client.submit("AAPL", BUY, 25)
        after.settle()
        assert (1, 1) == (client.restarts, client.slot)
        assert epoch < client.epoch
        assert 25 == client.position("AAPL").quantity_lots
        assert [1] == requests_of(after, 1)["request_id"].tolist()
        assert State.RUNNING == after.segment.array("strategy1.heartbeat")[heartbeat.STATE]
        assert 25 == client.reports()["quantity_lots"][-1]
        client.close()


def test_client_between_two_instances_says_gone_and_comes_back(instance_name):
    """While none runs every call says so; the first call after the start works, as `alive` does."""
    with running(instance_name):
        client = Client(instance_name, 0)
    for _ in range(2):
        assert not client.alive
        with pytest.raises(InstanceGone, match=r"has ended .*attaches to it again"):
            client.positions()
    assert 0 == client.restarts
    with running(instance_name):
        assert client.alive
        assert {} == client.positions()
        assert 1 == client.restarts
        client.close()


def test_client_that_chose_its_slot_finds_it_taken(instance_name):
    """A slot that another process holds by now is not shared, and the next call tries again."""
    with running(instance_name):
        client = Client(instance_name, 0)
    with running(instance_name):
        with Client(instance_name, 0), pytest.raises(SlotTaken):
            client.ticks()
        assert 0 == client.restarts
        client.ticks()
        assert (1, 0) == (client.restarts, client.slot)
        client.close()


def test_client_without_a_wish_takes_another_slot(instance_name):
    """Who took the first free slot takes the first free one again where its own is gone."""
    with running(instance_name):
        client = Client(instance_name)
    with running(instance_name), Client(instance_name, 0):
        client.ticks()
        assert (1, 1) == (client.restarts, client.slot)
        client.close()


def test_client_finds_other_instruments_and_stays_out(instance_name):
    """Where the numbers of instruments mean others now, no order may go out by them."""
    with running(instance_name):
        client = Client(instance_name, 0)
    swapped = Instruments(list(INSTRUMENTS)[::-1])
    with running(instance_name, about={"instruments": swapped.to_json()}) as instance:
        with pytest.raises(InstanceError, match="with other instruments"):
            client.submit("AAPL", BUY, 1)
        assert not client.alive
        assert 0 == len(requests_of(instance, 0))
        client.close()


def test_client_that_the_supervisor_started_stays_with_it(instance_name):
    """A child of a supervisor that is gone is not one of the next."""
    with running(instance_name) as instance:
        incarnation = int(instance.segment.array("strategy0.heartbeat")[heartbeat.INCARNATION])
        client = Client(instance_name, 0, incarnation=incarnation)
    with running(instance_name), pytest.raises(InstanceGone):
        client.ticks()
    client.close()


def test_client_whose_instance_ends_while_it_waits_is_told(instance_name, monkeypatch):
    """What was asked of an instance that ended is not asked of the next one."""
    instance = Instance(instance_name)
    instance.settle()
    client = Client(instance_name, 0)
    monkeypatch.setattr("pipeline.client_asking.nap", lambda: instance.end() if instance.segment.path.exists() else None)
    with pytest.raises(InstanceGone):
        client.cancel_all()
    with running(instance_name) as after:
        assert client.alive
        assert 0 == len(requests_of(after, 0))
        client.close()


def test_client_used_by_two_threads_attaches_once(instance_name):
    """The first call of either attaches, and the other goes on with it."""
    with running(instance_name):
        client = Client(instance_name, 0)
    with running(instance_name):
        threads = [threading.Thread(target=client.ticks) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 == client.restarts
        client.close()


@pytest.mark.processes
def test_client_slot_of_a_killed_process_is_free_for_one_that_comes_back(instance_name):
    """A client that could not come back because of another one does once that is dead."""
    with running(instance_name):
        client = Client(instance_name, 0)
    with running(instance_name), spawned("-c", HOLDER, instance_name, "0") as process:
        assert "up" == process.stdout.readline().strip()
        with pytest.raises(SlotTaken, match=f"pid {process.pid}"):
            client.ticks()
        process.kill()
        process.wait()
        until(lambda: client.alive, "the slot is free")
        assert 1 == client.restarts
        client.close()
