"""How a process takes its place: pinned to its core, out of the way of the hot path, and deaf to the terminal."""

import os
import signal

from pipeline.log import log
from pipeline.placement import HOT_WORKERS

#: What is off the way from a tick to its order lets that go first where they share a core.
NICE_OTHERS = 10


class Termination:
    """SIGTERM counts as the command STOP; SIGINT is the supervisor's to handle."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True


def take_seat(name: str, core: int) -> None:
    """Pin this process to its core; say so and go on where that is not permitted."""
    if core >= 0:
        try:
            os.sched_setaffinity(0, {core})
        except OSError as error:
            log.warning("%s is not pinned to core %d: %s", name, core, error.strerror)
    if name not in HOT_WORKERS:
        os.nice(NICE_OTHERS)
