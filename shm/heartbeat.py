"""One block of words for each process: who it is, how it is, whether it still moves, and what it is told.

    words (int64)    0  pid              the worker                      written by the worker
                     1  start            its start time, clock ticks     (a pid alone may be another process by now)
                     2  state            BOOT ... FAILED
                     3  progress         grows with every turn of its loop, in the kernel
                     4  beat_ns          monotonic, when it last came back to Python
                     5  wait             the wait strategy it chose
                     6  cpu_ns           processor time used by it and those before it
                     7  port             where the sidecar serves its metrics
                     8  left             strategies: how often it gave its slot back, instead of dying
                    16  incarnation      which start of this worker counts   written by the supervisor
                    17  command          RUN, DRAIN or STOP
                    32  bell             1 while the worker is parked        set by the worker, cleared by who wakes it

The bell is the one word with two writers: both store constants, and the futex needs it.
"""

from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shm.atomics import store_relaxed
from shm.jit import njit_inline
from shm.layout import Region
from shm.segment import Segment

PID, START, STATE, PROGRESS, BEAT_NS, WAIT, CPU_NS, PORT, LEFT = range(9)
INCARNATION, COMMAND = 16, 17
BELL = 32
WORD_COUNT = 48


class State(IntEnum):
    """The life of a worker."""

    NONE, BOOT, COMPILING, READY, RUNNING, DRAINED, STOPPED, FAILED, FENCED = range(9)


class Command(IntEnum):
    """What the supervisor asks of a worker."""

    WAIT, RUN, DRAIN, STOP = range(4)


class Heartbeat(NamedTuple):
    """A worker's block, as kernels take it."""

    words: np.ndarray
    base: int  #: index of words[0] in the segment's memory


def region(name: str) -> Region:
    """Return the region of a worker's block."""
    return Region(f"{name}.heartbeat", np.dtype(np.int64), WORD_COUNT)


def open_heartbeat(segment: Segment, name: str) -> Heartbeat:
    """Return the block of the worker of this name in a mapped instance."""
    return Heartbeat(segment.array(f"{name}.heartbeat"), segment.base(f"{name}.heartbeat"))


def process_start(pid: int) -> int:
    """Return a process's start time in clock ticks since boot, 0 where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The second field is the name in parentheses, which may hold any bytes; the start time is the 22nd.
    return int(text.rpartition(b")")[2].split()[19])


@njit_inline
def beat(heartbeat, progress):
    """Show that the loop still moves."""
    store_relaxed(heartbeat.words, PROGRESS, progress)
