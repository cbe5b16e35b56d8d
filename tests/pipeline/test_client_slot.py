"""A client's slot and the instance it is in: who holds it, whose death frees it, and how the end of the instance shows."""

import os
import signal

import pytest

from pipeline.client import (
    Client,
    ClientClosed,
    Fenced,
    InstanceGone,
    SlotTaken,
    order_id_of,
    warm_up,
)
from pipeline.errors import InstanceError
from pipeline.messages import BUY
from shm import heartbeat
from shm.heartbeat import State
from shm.segment import instance_path
from tests.pipeline.client_instance import requests_of, running, spawned, until

HOLDER = """
import sys
from pipeline.client import Client
client = Client(sys.argv[1], int(sys.argv[2]))
print(*[client.submit("AAPL", 1, 10) for _ in range(3)], flush=True)
{then}
sys.stdin.read()
"""

#: For HOLDER's {then}: a child that tries to send in its parent's name, then waits.
FORK = """
import os
if os.fork() == 0:
    try:
        client.submit("AAPL", 1, 10)
    except Exception as error:
        print(type(error).__name__, os.getpid(), flush=True)
    sys.stdin.read()
"""
OWNER = """
import sys
from tests.pipeline.client_instance import Instance
instance = Instance(sys.argv[1])
print("up", flush=True)
sys.stdin.read()
"""


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
    with running(instance_name) as instance, spawned("-c", HOLDER.format(then=""), instance_name, "0") as process:
        first = [int(word) for word in process.stdout.readline().split()]
        assert [order_id_of(0, seq) for seq in range(3)] == first
        with pytest.raises(SlotTaken, match=f"pid {process.pid} "):
            Client(instance_name, 0)
        process.kill()
        process.wait()
        with Client(instance_name, 0) as client:
            assert order_id_of(0, 3) == client.submit("AAPL", BUY, 5)
            instance.settle()
            assert [1, 2, 3, 4] == requests_of(instance, 0)["request_id"].tolist()
            assert 35 == client.position("AAPL").quantity_lots


@pytest.mark.processes
def test_client_forked_child_holds_no_slot(instance_name):
    """A child that a strategy forked outlives it without its slot, and cannot send in its name."""
    with running(instance_name), spawned("-c", HOLDER.format(then=FORK), instance_name, "0") as process:
        process.stdout.readline()
        said, child = process.stdout.readline().split()
        assert "ClientClosed" == said
        process.kill()
        process.wait()
        os.kill(int(child), 0)
        with Client(instance_name, 0) as client:
            assert client.alive
        os.kill(int(child), signal.SIGKILL)


@pytest.mark.processes
def test_client_killed_owner_is_noticed(instance_name):
    """When the owner of the instance is killed, its clients find it gone though its file is still there."""
    with spawned("-c", OWNER, instance_name) as process:
        assert "up" == process.stdout.readline().strip()
        with Client(instance_name, 0) as client:
            assert client.alive
            process.kill()
            process.wait()
            until(lambda: not client.alive, "the owner's lock is gone")
            with pytest.raises(InstanceGone):
                client.ticks()
            instance_path(instance_name).unlink()
