"""The other process of a bench: started by exec, pinned, told what to do by shared words, and never left behind.

    words (int64)    0  turn        grows by one for each job                       written by the bench
                     1  role        which of the module's ROLES                     the bench
                     2  arguments   fourteen of them                                the bench
                    16  entered     the turn whose job has begun                    the peer
                    17  done        the turn whose job has ended                    the peer
                    18  results     fourteen of them                                the peer

A bench module has `ROLES`, a tuple of functions `(segment, arguments, results) -> None`, and `REGIONS`, what its segment
holds. Every job carries a deadline, so that neither side spins for a peer that died.
"""

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np

from shm.layout import Region
from shm.segment import Segment, attach, finish, open_owned

TURN, ROLE, ARGUMENTS, ENTERED, DONE, RESULTS = 0, 1, 2, 16, 17, 18
ARGUMENT_COUNT = 14
WORD_COUNT = 32
#: A first start compiles kernels.
START_SECONDS_MAX = 180.0
POLL_SECONDS = 0.0005
_PR_SET_PDEATHSIG = 1

Role = Callable[[Segment, list[int], np.ndarray], None]


class PeerDied(Exception):
    """The other process of a bench ended, or did not answer in time."""


class Peer:
    """The bench's handle on its other process, and the segment that both map.

    Args:
        module: Module with ROLES.
        regions: What the segment holds besides the words above.
        core: Where the peer is pinned.
    """

    def __init__(self, module: str, regions: Sequence[Region], core: int) -> None:
        self.name = f"bench-{os.getpid()}-{module.rpartition('.')[2]}-{core}"
        self.segment = open_owned(self.name, [Region("peer", np.dtype(np.int64), WORD_COUNT), *regions], fresh=True)
        finish(self.segment)
        self.words = self.segment.array("peer")
        arguments = [sys.executable, "-m", "bench.peer", module, self.name, str(core), str(os.getpid())]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        self.segment.unlink()
        self.segment.close()

    def _wait_for(self, word: int, value: int, seconds_max: float) -> None:
        until = time.monotonic() + seconds_max
        while self.words[word] != value:
            if self.process.poll() is not None:
                raise PeerDied(f"the bench's other process ended with code {self.process.returncode}")
            if time.monotonic() > until:
                raise PeerDied(f"the bench's other process did not answer within {seconds_max:.0f} s")
            time.sleep(POLL_SECONDS)

    def begin(self, role: int, *arguments: int) -> None:
        """Give the peer a job and return when it has begun."""
        assert len(arguments) <= ARGUMENT_COUNT, "the words hold no more"
        self.words[ARGUMENTS : ARGUMENTS + ARGUMENT_COUNT] = 0
        self.words[ARGUMENTS : ARGUMENTS + len(arguments)] = arguments
        self.words[ROLE] = role
        self.words[TURN] += 1
        self._wait_for(ENTERED, int(self.words[TURN]), START_SECONDS_MAX)

    def end(self) -> list[int]:
        """Wait until the job is done and return its results."""
        self._wait_for(DONE, int(self.words[TURN]), START_SECONDS_MAX)
        return [int(word) for word in self.words[RESULTS:]]

    def do(self, role: int, *arguments: int) -> list[int]:
        """Give the peer a job, and return its results when it is done: for warming up."""
        self.begin(role, *arguments)
        return self.end()


def serve(module: str, name: str, core: int, parent_pid: int) -> None:
    """Do jobs until the bench is gone. The entry of the peer's process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.sched_setaffinity(0, {core})
    roles: tuple[Role, ...] = importlib.import_module(module).ROLES
    segment = attach(name)
    words = segment.array("peer")
    served = 0
    # The signal is asked for after the start, so that the bench may have died before: hence the look at the parent.
    while os.getppid() == parent_pid:
        if words[TURN] == served:
            time.sleep(POLL_SECONDS)
            continue
        served = int(words[TURN])
        words[ENTERED] = served
        roles[int(words[ROLE])](segment, [int(word) for word in words[ARGUMENTS:ENTERED]], words[RESULTS:])
        words[DONE] = served


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
