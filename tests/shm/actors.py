"""What the second process of a test does: `python -m tests.shm.actors ROLE INSTANCE NUMBER...`.

Each says "ready" when its kernels are compiled, and prints its result as JSON when it is done. A process that loses its
parent ends with the closing of its standard input, or at its kernel's deadline.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from shm import heartbeat, ring, rows, segment, transaction, wait
from shm.errors import InstanceRunning
from shm.layout import Region
from tests.crash_points import ROOT
from tests.shm import kernels
from tests.shm.records import RECORD, ROW

#: After this an actor gives up: a watchdog, far beyond what any test takes.
DEADLINE_NS = 90_000_000_000
PR_SET_NAME, PR_SET_PDEATHSIG = 15, 1
#: Regions of an instance that `own` makes.
OWN_REGIONS = [Region("words", np.dtype(np.int64), 8)]


def deadline_ns() -> int:
    """Return the monotonic moment at which a loop gives up."""
    return time.monotonic_ns() + DEADLINE_NS


def say(what: object) -> None:
    """Tell the parent one line."""
    print(json.dumps(what), flush=True)


def produce(instance: str, end: int, batch: int) -> None:
    """Publish records into ring `r` until sequence `end`."""
    mapped = segment.attach(instance)
    producer = ring.open_producer(mapped, ring.open_ring(mapped, "r", RECORD))
    kernels.produce(producer, 0, batch, 0)
    say("ready")
    say(int(kernels.produce(producer, end, batch, deadline_ns())))


def commit_rows(instance: str, end: int) -> None:
    """Commit rows of table `t` until the counter has reached `end`."""
    mapped = segment.attach(instance)
    pending = transaction.open_transaction(mapped, "w")
    table = rows.open_table(mapped, "t", ROW)
    say("ready")
    say(int(kernels.commit_rows(pending, table, mapped.array("n"), mapped.base("n"), end)))


def play_ends(mapped: segment.Segment, sends: str, reads: str, player: str) -> tuple[ring.Producer, ring.Reader, wait.Waiter]:
    """Open the two rings and the waiter of one player."""
    producer = ring.open_producer(mapped, ring.open_ring(mapped, sends, RECORD))
    reader = ring.open_reader(ring.open_ring(mapped, reads, RECORD), 0)
    bell = mapped.base(f"{player}.heartbeat") + heartbeat.BELL
    return producer, reader, wait.make_waiter(mapped.memory, bell, wait.PARK, 0)


def play(instance: str, round_count: int) -> None:
    """Answer the parent's records, parked in between."""
    mapped = segment.attach(instance)
    ends = play_ends(mapped, "back", "forth", "child")
    kernels.play(*ends, 0, False)
    say("ready")
    say([int(number) for number in kernels.play(*ends, round_count, False)])


def own(instance: str, finished: int) -> None:
    """Own an instance until killed or told to end; say what kept it from that."""
    try:
        mapped = segment.open_owned(instance, OWN_REGIONS)
    except InstanceRunning as error:
        say(str(error))
        return
    if finished:
        mapped.array("words")[:] = 7
        segment.finish(mapped)
    say("ready")
    sys.stdin.read()


def ask_owner(instance: str, count: int) -> None:
    """Ask many times who owns the instance."""
    say("ready")
    for _ in range(count):
        segment.owner_pid(instance)
    say(count)


def be_named(hex_name: str) -> None:
    """Take a name, given in hex, say when this process started, and wait."""
    start = heartbeat.process_start(os.getpid())
    ctypes.CDLL(None).prctl(PR_SET_NAME, bytes.fromhex(hex_name), 0, 0, 0)
    say(start)
    sys.stdin.read()


ROLES: dict[str, Callable] = {"produce": produce, "commit_rows": commit_rows, "play": play, "own": own, "ask_owner": ask_owner}


@contextmanager
def actor(role: str, *arguments: object) -> Iterator[subprocess.Popen]:
    """Start a role in a process of its own, and end it at the end of the block."""
    command = [sys.executable, "-m", "tests.shm.actors", role, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen) -> Any:
    """Return the next line of an actor; it must have one."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the actor died with {process.wait()}"
    return json.loads(line)


def main() -> None:
    """Play a role."""
    role, instance, *numbers = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    assert os.getppid() > 1, "the parent is gone"
    if role == "be_named":
        be_named(instance)
    else:
        ROLES[role](instance, *map(int, numbers))


if __name__ == "__main__":
    main()
