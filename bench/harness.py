"""What every bench needs: cores to run on, a description of the machine, repetitions, and results that compare within one run.

A bench is a module with one function `run(settings) -> Result`. Absolute times of one machine say little about another, and
on a shared one they drift; so each bench measures its yardstick beside the thing itself, in turns within the same run, and
states the ratio. Where messages go out at a rate, latency counts from the moment at which each was due, not from when a late
sender got round to it (no coordinated omission).
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from shm import histogram
from shm.atomics import monotonic_ns, sleep_ns, yield_core
from shm.jit import njit

# How a sender waits for the next due time.
PACE_SPIN, PACE_YIELD, PACE_SLEEP = 1, 2, 3


@dataclass(frozen=True)
class Settings:
    """How much to measure. `small` is for the test suite: every path runs, the numbers mean nothing."""

    small: bool = False

    def pick(self, full: int, small: int) -> int:
        """Return the first in a full run, the second in a small one."""
        return small if self.small else full


@dataclass(frozen=True)
class Row:
    """One line of a result: what was measured, and its numbers by name with the unit in the name."""

    what: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Ratio:
    """A comparison within one run, with its goal where there is one."""

    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Return whether the goal was reached; true where there is none."""
        above = self.at_most is not None and self.value > self.at_most
        below = self.at_least is not None and self.value < self.at_least
        return not (above or below)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "met": self.met}


@dataclass
class Result:
    """What one bench found out."""

    name: str
    topology: str
    method: str
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    cores: list[int] = field(default_factory=list)
    steal_percent: float = 0.0
    preemption_count: int = 0
    skipped: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "ratios": [ratio.as_dict() for ratio in self.ratios]}


def physical_core(core: int) -> tuple[str, str]:
    """Return (package, core) of a processor: two that give the same are hyperthreads of one core."""
    folder = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        return (folder / "physical_package_id").read_text().strip(), (folder / "core_id").read_text().strip()
    except OSError:
        return "", str(core)


def choose_cores(count: int) -> list[int]:
    """Return `count` processors on different physical cores, the highest first: interrupts tend to go to the lowest.

    Returns:
        Fewer than `count` where the machine or our affinity has fewer.
    """
    chosen: dict[tuple[str, str], int] = {}
    for core in sorted(os.sched_getaffinity(0), reverse=True):
        chosen.setdefault(physical_core(core), core)
    return list(chosen.values())[:count]


class Pinned:
    """Keeps this process on one core for as long as the `with` block runs."""

    def __init__(self, core: int) -> None:
        self.core = core

    def __enter__(self) -> "Pinned":
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.core})
        return self

    def __exit__(self, *_error: object) -> None:
        os.sched_setaffinity(0, self._before)


def describe_machine() -> dict[str, Any]:
    """Return what a reader must know to compare the numbers with those of another machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {
        "cpu": facts.get("model name", platform.processor() or "unknown"),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in facts.get("flags", "").split(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numba": version("numba"),
        "numpy": version("numpy"),
    }


def in_turns(measures: Sequence[Callable[[], float]], repetitions: int) -> list[list[float]]:
    """Repeat several measurements in turns, so that a drift of the machine meets all of them.

    Returns:
        The values of each measurement, in order.
    """
    values: list[list[float]] = [[] for _ in measures]
    for _ in range(repetitions):
        for kept, measure in zip(values, measures, strict=True):
            kept.append(measure())
    return values


def per_turn_ratio(values: Sequence[float], yardsticks: Sequence[float]) -> float:
    """Return the median over the turns of value / yardstick, each pair taken within one turn."""
    return statistics.median(value / yardstick for value, yardstick in zip(values, yardsticks, strict=True))


def new_histogram() -> np.ndarray:
    """Return the words of an empty private histogram."""
    return np.zeros(histogram.WORD_COUNT, np.int64)


def quantile_values(words: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Return p50 to max of a histogram, named with their unit, and the count."""
    found = histogram.summary(words)
    return {
        f"{prefix}p50_ns": found.p50,
        f"{prefix}p90_ns": found.p90,
        f"{prefix}p99_ns": found.p99,
        f"{prefix}p99.9_ns": found.p999,
        f"{prefix}max_ns": found.max,
        f"{prefix}count": found.count,
    }


@njit
def wait_until(due_ns, pace):
    """Wait for the moment at which the next message is due.

    Args:
        due_ns: CLOCK_MONOTONIC.
        pace: PACE_SPIN burns the core; PACE_YIELD offers it meanwhile; PACE_SLEEP leaves it, and may come back late.
    Returns:
        The time at which the wait ended; never before `due_ns`.
    """
    while True:
        now_ns = monotonic_ns()
        if now_ns >= due_ns:
            return now_ns
        if pace == PACE_SLEEP:
            sleep_ns(due_ns - now_ns)
        elif pace == PACE_YIELD:
            yield_core()


@njit
def read_clock(count):
    """Read the clock `count` times; returns the last reading, so that none is left out."""
    last = 0
    for _ in range(count):
        last = monotonic_ns()
    return last


def clock_cost_ns(count: int = 100_000) -> float:
    """Return what one reading of the clock costs inside a kernel."""
    read_clock(1)
    best = min(_timed_ns(lambda: read_clock(count)) for _ in range(5))
    return best / count


def _timed_ns(call: Callable[[], object]) -> int:
    start_ns = time.monotonic_ns()
    call()
    return time.monotonic_ns() - start_ns
