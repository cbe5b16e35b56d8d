"""Heartbeats: a worker's words, and when a process started."""

import os
import time

import pytest

from shm import heartbeat
from tests.shm.actors import actor, heard
from tests.shm.conftest import MakeSegment


@pytest.mark.jitless
def test_beat_shows_in_the_workers_block(make_segment: MakeSegment) -> None:
    """Progress is the worker's word; those of the supervisor lie on another pair of lines."""
    segment = make_segment([heartbeat.region("risk")])
    block = heartbeat.open_heartbeat(segment, "risk")
    heartbeat.beat(block, 17)
    assert (17, 17) == (int(block.words[heartbeat.PROGRESS]), int(segment.memory[block.base + heartbeat.PROGRESS]))
    assert heartbeat.INCARNATION - heartbeat.PID >= 16
    assert heartbeat.BELL - heartbeat.COMMAND >= 15


@pytest.mark.jitless
def test_process_start_of_this_process_is_in_the_past_and_steady() -> None:
    """Two looks agree, and the start lies before now on the boot clock."""
    ticks_now = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
    start = heartbeat.process_start(os.getpid())
    assert 0 < start <= ticks_now
    assert start == heartbeat.process_start(os.getpid())


@pytest.mark.jitless
def test_process_start_of_no_process_is_0() -> None:
    """A pid that nobody has started at no time."""
    assert 0 == heartbeat.process_start(2**22 + 1)


@pytest.mark.processes
@pytest.mark.parametrize("name", [b"a) b (c", b")))", b"x y z", b"\xff\xfe\x80", b"\n1 2 3\n", "grün".encode()])
def test_process_start_of_an_oddly_named_process_is_the_same_as_before(name: bytes) -> None:
    """A name is any bytes: blanks, parentheses, line ends, no text at all."""
    with actor("be_named", name.hex()) as process:
        start = heard(process)
        assert start == heartbeat.process_start(process.pid)
    assert isinstance(start, int)
    assert start >= heartbeat.process_start(os.getpid())
