"""tools/top.py: the screen of a running instance from outside, which nobody inside can notice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.messages import BUY
from shm.heartbeat import State
from shm.segment import attach
from tests.kernel_cache import ROOT
from tests.pipeline.client_instance import AAPL
from tests.pipeline.control_instance import served
from tools.top import Watched, main

pytestmark = pytest.mark.jitless
#: Runs a command with its standard input as its terminal, and Ctrl-C as it is there: tests may run where it is ignored.
ON_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
TOP = [sys.executable, str(ROOT / "tools" / "top.py")]


@pytest.fixture(autouse=True)
def sockets(runtime_folder: Path) -> Path:
    """Have all control sockets in a folder of the test."""
    return runtime_folder


def test_top_once_prints_positions_stops_and_processes(instance_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal one screen is printed, with what is held and where its nearest stop lies."""
    with served(instance_name) as instance:
        instance.submit(AAPL, BUY, 100, 0)
        instance.settle()
        instance.segment.array("risk.heartbeat")[2] = State.RUNNING
        assert 0 == main(["--instance", instance_name])
    text = capsys.readouterr().out
    assert f"stopline · {instance_name}" in text
    assert "risk      running" in text
    row = next(line for line in text.splitlines() if "AAPL" in line)
    assert ["AAPL", "100", "100.02", "100.00", "99.01", "-2.00"] == row.replace("│", " ").split()[:6]
    assert "q leaves; the instance goes on" in text


def test_top_leaves_every_word_as_it_was(instance_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever watches changes nothing, and could not if it wanted to."""
    with served(instance_name) as instance:
        before = instance.segment.memory.copy()
        assert 0 == main(["--instance", instance_name, "--once"])
        assert (before == instance.segment.memory).all()
        watched = attach(instance_name, read_only=True)
        assert not watched.memory.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            watched.array("supervisor.state")[0] = 0
        watched.close()


def test_top_without_an_instance_is_one_line(instance_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not run cannot be watched."""
    assert 2 == main(["--instance", instance_name])
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: no instance '{instance_name}'" in line
    assert "start it with tools/run.py" in line


def test_top_of_a_crashed_instance_is_one_line(instance_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that nobody holds is no running instance."""
    with served(instance_name) as instance:
        path = instance.segment.path
        instance.segment.close()
        assert 2 == main(["--instance", instance_name])
        assert "a crash left its file" in capsys.readouterr().err
        assert path.exists()


def test_top_sees_the_end_of_its_instance(instance_name: str) -> None:
    """Neither an instance that ended nor another one of the same name is the one that is watched."""
    with served(instance_name):
        watched = Watched(instance_name)
        assert watched.is_running()
    assert not watched.is_running()
    with served(instance_name):
        assert not watched.is_running()
    watched.segment.close()


@pytest.mark.parametrize("leaving", ["q", "Ctrl-C", "end"])
def test_top_on_a_terminal_leaves_at_a_key_and_at_the_end(instance_name: str, leaving: str) -> None:
    """The screen goes away with a key, with Ctrl-C, and when the instance has ended, and the terminal is as it was."""
    with served(instance_name) as instance:
        ours, theirs = os.openpty()
        attach_terminal = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = [sys.executable, "-c", attach_terminal, *TOP, "--instance", instance_name]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        try:
            shown = b""
            while b"leaves; the instance goes on" not in shown:
                shown += os.read(ours, 65536)
            if leaving == "q":
                os.write(ours, b"q")
            elif leaving == "Ctrl-C":
                process.send_signal(signal.SIGINT)
            else:
                instance.segment.unlink()
            shown = b""
            while True:
                try:
                    data = os.read(ours, 65536)
                except OSError:
                    break
                if not data:
                    break
                shown += data
            assert 0 == process.wait()
            assert (leaving == "end") == (b"has ended" in shown)
            assert b"Traceback" not in shown
        finally:
            process.kill()
            process.wait()
            os.close(ours)
