"""What the shell of a process asks of a stage, and where each stage's class is."""

import importlib
from typing import Protocol

from pipeline.config import Config
from shm.segment import Segment
from shm.wait import Waiter

#: (module, class) of each worker's stage. They are imported only where they run: the sidecar's libraries are heavy.
STAGES = {
    "ingest": ("pipeline.ingest.worker", "IngestStage"),
    "risk": ("pipeline.risk.worker", "RiskStage"),
    "execution": ("pipeline.execution.worker", "ExecutionStage"),
    "sidecar": ("pipeline.sidecar.worker", "SidecarStage"),
}


class Stage(Protocol):
    """A step function over shared arrays, with what a process needs around it."""

    name: str

    def __init__(self, segment: Segment, config: Config, waiter: Waiter) -> None:
        """Open rings and tables, finish what a dead process left half applied, make private indices anew."""

    def warm_up(self) -> None:
        """Load or compile every kernel without changing anything."""

    def run(self, until_ns: int) -> int:
        """Work until the monotonic clock says `until_ns`; a negative code means that an invariant is broken."""

    def drained(self) -> bool:
        """Tell, after Command.DRAIN, whether nothing is left to do."""

    def close(self) -> None:
        """Let go of files and connections."""


def stage_class(name: str) -> type[Stage]:
    """Import the class of a worker's stage."""
    module, class_name = STAGES[name]
    found: type[Stage] = getattr(importlib.import_module(module), class_name)
    return found
