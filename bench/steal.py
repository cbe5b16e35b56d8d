"""What else happened on the machine while a bench ran: time stolen by the hypervisor, and how often we were put aside."""

import resource
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_STEAL_FIELD = 7
_FIELD_COUNT = 8


def _clock_ticks(text: str, cores: Sequence[int]) -> tuple[int, int]:
    """Return (stolen, all) clock ticks of these cores since boot, from the text of /proc/stat."""
    wanted = {f"cpu{core}" for core in cores}
    stolen = total = 0
    for line in text.splitlines():
        name, *fields = line.split()
        if name in wanted:
            # Guest time is already counted as user time, so only the first eight fields are added up.
            numbers = [int(field) for field in fields[:_FIELD_COUNT]]
            stolen += numbers[_STEAL_FIELD]
            total += sum(numbers)
    return stolen, total


class Disturbance:
    """Watches the cores of a bench for as long as its `with` block runs.

    Attributes:
        steal_percent: Part of the cores' time that the hypervisor gave to others.
        preemption_count: How often this process lost its core before its time.
    """

    def __init__(self, cores: Sequence[int]) -> None:
        self.cores = list(cores)
        self.steal_percent = 0.0
        self.preemption_count = 0

    def __enter__(self) -> "Disturbance":
        self._ticks = _clock_ticks(Path("/proc/stat").read_text(), self.cores)
        self._preemptions = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stolen, total = _clock_ticks(Path("/proc/stat").read_text(), self.cores)
        elapsed = total - self._ticks[1]
        self.steal_percent = round(100.0 * (stolen - self._ticks[0]) / elapsed, 2) if elapsed > 0 else 0.0
        self.preemption_count = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - self._preemptions
