"""Who owns an instance, between real processes: one at a time, until the kernel lets go of it."""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from subprocess import Popen

import pytest

from shm.errors import InstanceMissing, InstanceRunning
from shm.segment import attach, finish, instance_path, open_owned, owner_pid
from tests.shm.actors import OWN_REGIONS, actor, heard

pytestmark = pytest.mark.processes

RACE_COUNT = 6


@pytest.fixture
def name(instance_name: str) -> Iterator[str]:
    """Return an instance name whose file is removed afterwards."""
    yield instance_name
    instance_path(instance_name).unlink(missing_ok=True)


def kill(process: Popen) -> None:
    """End a process as nothing can be prepared for."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_open_owned_while_a_live_process_owns_it_names_its_pid(name: str) -> None:
    """A second instance is refused with the pid of the first, fresh or not; the first goes on."""
    with actor("own", name, 1) as process:
        assert "ready" == heard(process)
        for fresh in (False, True):
            with pytest.raises(InstanceRunning, match=f"instance '{name}' is already running, pid {process.pid} "):
                open_owned(name, OWN_REGIONS, fresh)
        assert (process.pid, [7] * 8) == (owner_pid(name), attach(name).array("words").tolist())


def test_open_owned_after_its_owner_was_killed_takes_over(name: str) -> None:
    """SIGKILL releases the lock and leaves the words."""
    with actor("own", name, 1) as process:
        assert "ready" == heard(process)
        reader = attach(name)
        kill(process)
    assert 0 == owner_pid(name)
    segment = open_owned(name, OWN_REGIONS)
    assert (True, [7] * 8) == (segment.was_warm, segment.array("words").tolist())
    segment.array("words")[0] = 8
    assert (8, reader.epoch) == (int(reader.array("words")[0]), segment.epoch), "who was attached goes on with the same file"
    segment.close()


def test_open_owned_after_its_owner_was_killed_before_it_finished_starts_from_nothing(name: str) -> None:
    """A file without its magic is no instance, though it has the right size."""
    with actor("own", name, 0) as process:
        assert "ready" == heard(process)
        with pytest.raises(InstanceMissing):
            attach(name)
        kill(process)
    segment = open_owned(name, OWN_REGIONS)
    assert (False, [0] * 8) == (segment.was_warm, segment.array("words").tolist())
    segment.close()


def test_open_owned_by_several_processes_at_once_is_won_by_exactly_one(name: str) -> None:
    """All start together on a new name: one is ready, all others name it."""
    with ExitStack() as stack:
        processes = [stack.enter_context(actor("own", name, 1)) for _ in range(RACE_COUNT)]
        answers = [heard(process) for process in processes]
        winner = processes[answers.index("ready")].pid
        refusals = [str(answer) for answer in answers if answer != "ready"]
    assert RACE_COUNT - 1 == len(refusals)
    # A winner that has not come to write its pid yet is no name either.
    pattern = re.compile(rf"instance '{name}' is already running, (pid {winner}|another process) \(")
    assert all(pattern.match(refusal) for refusal in refusals)


def test_open_owned_while_another_asks_for_the_owner_is_not_refused(name: str) -> None:
    """A status command looks at the lock without ever being taken for an owner."""
    segment = open_owned(name, OWN_REGIONS)
    finish(segment)
    segment.close()
    with actor("ask_owner", name, 3000) as process:
        assert "ready" == heard(process)
        for _ in range(100):
            segment = open_owned(name, OWN_REGIONS)
            segment.close()
        assert 3000 == heard(process)
