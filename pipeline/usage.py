"""What processes take from the machine: memory, processor time, and how much of it a hypervisor stole."""

import os
from pathlib import Path
from typing import NamedTuple

MEBIBYTE_KIB = 1024
#: Fields of the first line of /proc/stat, after its name: guest time is counted in user time already.
STEAL, TOTAL = 7, 8


class Memory(NamedTuple):
    """Memory of one process in MiB. Pages that several share count in full in `rss` and in proportion in `pss`."""

    pss_mib: float
    rss_mib: float


def memory_of(pid: int) -> Memory:
    """Return the memory of a process, zeros where it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return Memory(0.0, 0.0)
    kib = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in text.splitlines()[1:])}
    return Memory(kib["Pss"] / MEBIBYTE_KIB, kib["Rss"] / MEBIBYTE_KIB)


def cpu_seconds_of(pid: int) -> float:
    """Return the processor time of a process in seconds, 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Steal:
    """Share of the processors' time that the hypervisor gave to others since this was made."""

    def __init__(self) -> None:
        self._before = _ticks()

    def percent(self) -> float:
        """Return it in percent of all time of all cores."""
        before, now = self._before, _ticks()
        total = sum(now) - sum(before)
        return 100.0 * (now[STEAL] - before[STEAL]) / total if total > 0 else 0.0


def _ticks() -> list[int]:
    with open("/proc/stat", encoding="ascii") as file:
        return [int(field) for field in file.readline().split()[1:][:TOTAL]]
