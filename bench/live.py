"""An instance of live processes for the benches: planned, started and watched by the same code as `tools/run.py`.

It runs under a name and in a folder of its own, so that it meets no other instance and leaves nothing behind.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from pipeline.config import load_config, with_overrides
from pipeline.launch import plan
from pipeline.supervisor import Supervisor
from pipeline.topology import HISTOGRAMS
from pipeline.usage import Memory, memory_of
from shm import histogram
from shm.heartbeat import State

#: A process whose memory moves by no more than this within a second has loaded what it loads.
STILL_MIB = 0.5


class Live:
    """Runs an instance for as long as its `with` block.

    Args:
        name: Ends the instance's name.
        overrides: Settings that differ from config.toml, by the path of the key.

    Attributes:
        ready_s: Seconds from the plan to the moment at which all workers run.
        told: What the supervisor had to say.
    """

    def __init__(self, name: str, overrides: Mapping[str, Any]) -> None:
        given = {
            "instance.name": f"bench-{os.getpid()}-{name}",
            "instance.fresh": True,
            "sidecar.metrics_port": 0,
            "sidecar.database": "bench.duckdb",
        }
        self.config = with_overrides(load_config(None), given | dict(overrides))
        self.told: list[str] = []
        self.ready_s = 0.0

    def __enter__(self) -> "Live":
        self._exits = contextlib.ExitStack()
        with contextlib.ExitStack() as exits:
            # Logs and the database lie where the command runs.
            exits.enter_context(contextlib.chdir(exits.enter_context(tempfile.TemporaryDirectory(prefix="stopline-bench-"))))
            began = time.monotonic()
            self.supervisor = Supervisor(plan(self.config), self.told.append)
            exits.callback(self.supervisor.close)
            self.supervisor.open()
            self.supervisor.start()
            self.ready_s = time.monotonic() - began
            self._exits = exits.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._exits.close()

    def wait_for_strategies(self, seconds_max: float = 60.0) -> None:
        """Supervise until every strategy trades too: workers do not wait for them.

        Raises:
            OSError: one does not come.
        """
        until = time.monotonic() + seconds_max
        while any(self.supervisor.state(name) != State.RUNNING for name in self.supervisor.launch.strategies):
            self.watch(0.05)
            if time.monotonic() > until:
                raise OSError(f"a strategy does not run after {seconds_max:.0f} s")

    def wait_for_standby(self, seconds_max: float = 60.0) -> None:
        """Supervise until the standby has loaded all that it will: its memory stands still for a second."""
        until = time.monotonic() + seconds_max
        seen = -1.0
        while time.monotonic() < until and (now := self.memory()["standby"].pss_mib) - seen > STILL_MIB:
            seen = now
            self.watch(1.0)

    def watch(self, seconds: float) -> None:
        """Supervise for a while.

        Raises:
            OSError: a process died; what was measured then would not be what was meant.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.supervisor.turn(min(left, 0.05))
        restarts = [line for line in self.told if "restarting" in line or "ALERT" in line]
        if restarts:
            raise OSError(f"the instance did not run undisturbed: {restarts[0]}")

    def histograms(self) -> dict[str, np.ndarray]:
        """Return a copy of the words of every histogram."""
        return {name: histogram.open_histogram(self.supervisor.segment, name).copy() for name in HISTOGRAMS}

    def counters(self, worker: str) -> dict[str, int]:
        """Return a worker's counters by name."""
        return self.supervisor.view().counters(worker)

    def memory(self) -> dict[str, Memory]:
        """Return the memory of every process, the standby and this one included."""
        return {name: memory_of(pid) for name, pid in self.supervisor.pids().items()}

    def cpu_ns(self) -> dict[str, int]:
        """Return the processor time of every worker and strategy."""
        view = self.supervisor.view()
        return {name: view.worker(name).cpu_ns for name in self.supervisor.launch.seats}


def since(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the words of a histogram of what was recorded between two copies of it."""
    words = after - before
    used = np.flatnonzero(words[histogram.COUNTS :])
    # The largest value ever may be older; that of the period is known to its bucket.
    bound = int(histogram.bucket_bounds_ns()[used[-1]]) if len(used) else 0
    words[histogram.LARGEST] = min(bound, int(after[histogram.LARGEST]))
    return words
