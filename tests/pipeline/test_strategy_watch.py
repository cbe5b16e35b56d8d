"""Who dies is told apart from who leaves: by the lock of the slot, and by the word that a strategy leaves with."""

import pytest

from pipeline.client import Client
from pipeline.client_slot import Attachment
from pipeline.strategy_watch import Death, StrategyWatch
from shm import heartbeat
from shm.heartbeat import State
from tests.pipeline.client_instance import SIZES, running, spawned

HOLDER = """
import sys
from pipeline.client import Client
client = Client(sys.argv[1], int(sys.argv[2]))
print("up", flush=True)
{then}
sys.stdin.readline()
client.close()
print("left", flush=True)
sys.stdin.read()
"""
#: A process that is certainly not alive: pids end before this.
NOBODY = 1 << 22


@pytest.fixture
def instance(instance_name):
    """Return an instance."""
    with running(instance_name) as instance:
        yield instance


@pytest.fixture
def watch(instance):
    """Return what watches its slots."""
    watch = StrategyWatch(instance.segment, SIZES.strategies)
    yield watch
    watch.close()


def heart(instance, slot: int = 0, **values: int) -> None:
    """Write a slot's heartbeat as a process does."""
    words = instance.segment.array(f"strategy{slot}.heartbeat")
    for name, value in values.items():
        words[getattr(heartbeat, name.upper())] = value


@pytest.mark.jitless
def test_watch_strategy_that_leaves_with_a_word_is_no_death(watch, instance_name):
    """Neither an empty slot, nor one that is held, nor one that was given back is told."""
    assert [] == list(watch.look())
    for _ in range(2):
        with Client(instance_name, 1):
            assert [] == list(watch.look())
        assert [] == list(watch.look())
    client = Client(instance_name, 1)
    client.close()
    assert [] == list(watch.look())


@pytest.mark.jitless
@pytest.mark.parametrize("seen", [True, False])
def test_watch_slot_that_is_let_go_without_a_word_is_told_once(watch, instance, instance_name, seen):
    """A lock that is gone is a death, whether the slot was ever looked at meanwhile or not; told once."""
    attachment = Attachment(instance_name)
    assert attachment.try_slot(0)
    heart(instance, pid=NOBODY, start=5, state=State.RUNNING)
    if seen:
        # Its heartbeat is not that of a live process, so that it counts as one that is still being written.
        assert [] == list(watch.look())
    attachment.close()
    assert [Death(0, NOBODY)] == list(watch.look())
    for _ in range(3):
        assert [] == list(watch.look())
    with Client(instance_name, 0):
        assert [] == list(watch.look())
    assert [] == list(watch.look())


@pytest.mark.jitless
def test_watch_live_process_that_lost_its_lock_is_told(watch, instance_name):
    """A process that still runs but holds its slot no more, and did not say so, is as good as dead."""
    client = Client(instance_name, 0)
    assert [] == list(watch.look())
    client._attachment.close()
    assert [0] == [death.slot for death in watch.look()]
    assert [] == list(watch.look())


@pytest.mark.jitless
def test_watch_successor_between_two_looks_hides_no_death(watch, instance, instance_name):
    """Where another process has the slot by the next look, the word count tells how the one before went."""
    first = Attachment(instance_name)
    assert first.try_slot(2)
    with Client(instance_name, 1):
        heart(instance, slot=2, pid=int(instance.segment.array("strategy1.heartbeat")[heartbeat.PID]),
              start=int(instance.segment.array("strategy1.heartbeat")[heartbeat.START]), state=State.RUNNING)  # fmt: skip
        assert [] == list(watch.look())
        mourned = watch._holders[2].pid
        heart(instance, slot=2, pid=NOBODY, start=9)
        assert [Death(2, mourned)] == list(watch.look())
    first.close()


@pytest.mark.jitless
def test_watch_successor_of_one_that_left_is_no_death(watch, instance, instance_name):
    """The same, where the one before has said good-bye."""
    lock = Attachment(instance_name)
    assert lock.try_slot(2)
    with Client(instance_name, 1):
        source = instance.segment.array("strategy1.heartbeat")
        heart(instance, slot=2, pid=int(source[heartbeat.PID]), start=int(source[heartbeat.START]), state=State.RUNNING)
        assert [] == list(watch.look())
        heart(instance, slot=2, pid=NOBODY, start=9, left=1)
        assert [] == list(watch.look())
    lock.close()


@pytest.mark.jitless
def test_watch_after_a_takeover_waits_for_those_that_live(watch, instance, instance_name):
    """A strategy that outlived a crash of the instance is not dead before it has come back; one that is dead is told."""
    client = Client(instance_name, 0)
    heart(instance, slot=2, pid=NOBODY, start=5, state=State.RUNNING)
    # As after a takeover: the heartbeat is left, the lock is not.
    client._attachment.close()
    again = StrategyWatch(instance.segment, SIZES.strategies)
    assert [Death(2, NOBODY)] == list(again.look())
    assert [] == list(again.look())
    with Client(instance_name, 0):
        assert [] == list(again.look())
    assert [] == list(again.look())
    again.close()


@pytest.mark.processes
@pytest.mark.parametrize("dies", [True, False])
def test_watch_real_process_is_seen_to_die_or_to_leave(watch, instance_name, dies):
    """After kill -9 the very next look tells the pid; after close() none does."""
    with spawned("-c", HOLDER.format(then=""), instance_name, "0") as process:
        assert "up" == process.stdout.readline().strip()
        assert [] == list(watch.look())
        if dies:
            process.kill()
            process.wait()
        else:
            process.stdin.write("\n")
            process.stdin.flush()
            assert "left" == process.stdout.readline().strip()
        assert ([Death(0, process.pid)] if dies else []) == list(watch.look())
