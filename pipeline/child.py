"""One process that the supervisor started: its pid, its exit, its log.

Each is exec'd in a session of its own: what the terminal sends (Ctrl-C, Ctrl-Z, hang-up) reaches the supervisor alone, which
then stops the others in order. That they die with it is the kernel's business: each asks for PR_SET_PDEATHSIG when it begins.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from pipeline.log import open_log, read_lines
from shm.jit import ROOT

#: Environment variable that tells a child who its supervisor is: after PR_SET_PDEATHSIG it looks whether that still lives.
SUPERVISOR_VARIABLE = "STOPLINE_SUPERVISOR_PID"
#: How much of the end of a log is looked at for the last words.
TAIL_BYTES = 65536
#: How the line begins that says why an interpreter ended: our own of old, and Python's.
ENDINGS = ("error: ", "Fatal Python error: ")
PR_SET_PDEATHSIG = 1
#: A process whose supervisor died before it could ask to die with it.
EXIT_ORPHAN = 4


class Child:
    """A process, its pidfd (readable once it has exited) and its log file."""

    def __init__(self, name: str, module: str, arguments: list[str], log: Path, talks: bool = False) -> None:
        """Start `python -m module arguments`.

        Args:
            name: What people call it.
            module: Module to run.
            arguments: Its command line.
            log: File that what it prints is appended to. Where that cannot be, it runs without: a process that is needed
                matters more than its log.
            talks: Give it a pipe to read orders from, and one to answer on.
        """
        self.name = name
        try:
            output = open_log(log)
        except OSError:
            output = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self.log_into(log)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
                env=_environment(),
                start_new_session=True,
            )
        finally:
            os.close(output)
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def log_into(self, log: Path) -> None:
        """Take note of which log is its own from now on, and where in it its words begin."""
        self.log = log
        self._log_bytes_before = log.stat().st_size if log.exists() else 0

    def say(self, line: str) -> bool:
        """Send one line to a child that talks; False where it is gone."""
        assert self.process.stdin is not None, f"{self.name} was started without a pipe"
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL; the exit shows on the pidfd."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this very process: a pidfd never means another one."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def reap(self, timeout_s: float | None = None) -> int:
        """Wait for its exit, let go of its files, and return its exit code; negative = the signal that killed it.

        Raises:
            subprocess.TimeoutExpired: it is still there.
        """
        code = self.process.wait(timeout_s)
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        return code

    def last_words(self) -> str:
        """Return its last error, else the last line that it wrote and that says something."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self._log_bytes_before, self.log.stat().st_size - TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError as error:
            return f"its log cannot be read, {error.strerror}"
        said = list(read_lines(text))
        errors = [
            message.removeprefix(ENDINGS[0])
            for level, message in said
            if level in ("error", "critical") or (not level and message.startswith(ENDINGS))
        ]
        return (errors or [message for _, message in said] or ["it said nothing"])[-1]


def die_with_supervisor() -> None:
    """Have the kernel kill this process when its supervisor dies, and leave at once where it is dead already."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    supervisor = os.environ.get(SUPERVISOR_VARIABLE)
    if supervisor is not None and os.getppid() != int(supervisor):
        sys.exit(EXIT_ORPHAN)


def ending(code: int) -> str:
    """Say how a process ended, from its exit code."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _environment() -> dict[str, str]:
    """Return our environment, with the sources to be found and no thread pools: each worker is one thread on one core."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return {
        **os.environ,
        **single,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUNBUFFERED": "1",
        SUPERVISOR_VARIABLE: str(os.getpid()),
    }
