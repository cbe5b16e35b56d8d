"""One turn of a worker's loop: show that it moves, see what it is told, and wait a little where there was nothing to do."""

from typing import NamedTuple

import numpy as np

from shm.atomics import load_acquire, monotonic_ns
from shm.heartbeat import COMMAND, INCARNATION, PROGRESS, Heartbeat, beat
from shm.jit import njit_inline
from shm.wait import Waiter, idle, worked

# What turn() says.
GO_ON, PARK_NOW, LEAVE = 0, 1, 2
#: Busy turns between two looks at the clock.
CLOCK_TURNS = 64


class Pulse(NamedTuple):
    """What a worker's loop needs besides its stage."""

    heartbeat: Heartbeat
    waiter: Waiter
    incarnation: int  #: which start of this worker we are
    command: int  #: the command in force when the loop was entered
    until_ns: int  #: monotonic time at which to go back to Python, where signals are handled
    local: np.ndarray  #: private: turns since the last look at the clock


def make_pulse(heartbeat: Heartbeat, waiter: Waiter, incarnation: int, until_ns: int) -> Pulse:
    """Return a pulse for one stay in the kernel, under the command that now stands in the heartbeat."""
    return Pulse(heartbeat, waiter, incarnation, int(heartbeat.words[COMMAND]), int(until_ns), np.zeros(1, np.int64))


def idle_pulse(heartbeat: Heartbeat, waiter: Waiter) -> Pulse:
    """Return a pulse that sends a loop back to Python after one turn: for loading its kernels."""
    return make_pulse(heartbeat, waiter, -1, 0)


@njit_inline
def turn(pulse, work_done):
    """End one turn of the loop.

    Args:
        pulse: Pulse.
        work_done: What the stage's step returned; 0 = there was nothing to do.
    Returns:
        GO_ON; PARK_NOW: prepare, look at all inputs once more, park; LEAVE: go back to Python.
    """
    words = pulse.heartbeat.words
    beat(pulse.heartbeat, words[PROGRESS] + 1)
    # Acquire: pairs with the supervisor's plain stores; a fenced worker must not write another record.
    if load_acquire(words, COMMAND) != pulse.command or load_acquire(words, INCARNATION) != pulse.incarnation:
        return LEAVE
    pulse.local[0] += 1
    if work_done > 0:
        worked(pulse.waiter)
        if pulse.local[0] < CLOCK_TURNS:
            return GO_ON
    elif idle(pulse.waiter):
        return LEAVE if monotonic_ns() >= pulse.until_ns else PARK_NOW
    elif pulse.local[0] < CLOCK_TURNS:
        return GO_ON
    pulse.local[0] = 0
    return LEAVE if monotonic_ns() >= pulse.until_ns else GO_ON
