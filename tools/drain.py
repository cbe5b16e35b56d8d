"""An ordered stop: nothing new goes in, all that is under way comes out, and only then do the processes end.

    entries blocked > strategies stop > their orders are taken back > ingest ends the feed (and keeps time moving)
    > risk has no exit owed or working > execution has no order left > all reports are read > ingest, risk, execution stop
    > sidecar stores the rest and stops

Each step has the deadline of the configuration. What does not meet it is killed, and told.
"""

import time
from collections.abc import Callable, Sequence

from pipeline.supervisor import Supervisor
from pipeline.view import View
from shm.heartbeat import Command, State

HOT = ("ingest", "risk", "execution")
#: While draining, the next step should not wait for a look every 50 ms.
DRAIN_TURN_S = 0.005
#: The second signal means: at once.
SIGNALS_AT_ONCE = 2


class Drain:
    """The stop of one instance.

    Attributes:
        problems: A line for each step that missed its deadline.
        was_cut_short: A person could not wait.
    """

    def __init__(self, supervisor: Supervisor, view: View) -> None:
        self.problems: list[str] = []
        self.was_cut_short = False
        self._supervisor = supervisor
        self._view = view

    def run(self, before_stop: Callable[[], None] = lambda: None) -> None:
        """Stop everything in order.

        Args:
            before_stop: Called once while all processes are still there and idle, to take their measure.
        """
        supervisor = self._supervisor
        supervisor.block_entries()
        supervisor.dismiss_standby()
        self._stop(supervisor.launch.strategies)
        for name in supervisor.launch.strategies:
            supervisor.let_go(name)
        supervisor.take_back_orders()
        self._drain("ingest", lambda: True)
        self._drain("risk", lambda: True)
        self._drain("execution", self._all_read)
        before_stop()
        self._stop([name for name in HOT if name in supervisor.launch.workers])
        if "sidecar" in supervisor.launch.workers:
            self._drain("sidecar", lambda: True)
            self._stop(["sidecar"])

    def _drain(self, name: str, is_done: Callable[[], bool]) -> None:
        """Have one worker finish its work, while all others run on."""
        supervisor = self._supervisor
        supervisor.command(name, Command.DRAIN)
        if not self._wait(lambda: supervisor.is_lost(name) or (supervisor.state(name) == State.DRAINED and is_done())):
            self._fail(f"{name} is not drained after {self._seconds} s")
        if supervisor.is_lost(name):
            self._fail(f"{name} is down and was not drained")

    def _stop(self, names: Sequence[str] | dict[str, str]) -> None:
        """Have processes end, one after the other; those that do not are killed."""
        supervisor = self._supervisor
        for name in names:
            supervisor.command(name, Command.STOP)
            supervisor.terminate(name)
            if not self._wait(lambda name=name: not supervisor.is_up(name)):  # type: ignore[misc]
                self._fail(f"{name} did not stop within {self._seconds} s and was killed")
                supervisor.kill(name)

    def _all_read(self) -> bool:
        """Tell whether no order and no report is on its way between risk and execution."""
        on_the_way = (("orders", "execution"), ("reports", "risk"))
        return all(ring.depth == 0 for ring in self._view.rings() if (ring.ring, ring.reader) in on_the_way)

    def _wait(self, is_done: Callable[[], bool]) -> bool:
        """Watch on until something is done; False when its time is over or the person cannot wait."""
        deadline = time.monotonic() + self._supervisor.launch.config.supervisor.drain_ns / 1e9
        while not is_done():
            self._supervisor.turn(DRAIN_TURN_S)
            if self._supervisor.stop_signals >= SIGNALS_AT_ONCE:
                self.was_cut_short = True
            if self.was_cut_short or time.monotonic() > deadline:
                return is_done()
        return True

    def _fail(self, problem: str) -> None:
        if self.was_cut_short:
            return
        self.problems.append(problem)
        self._supervisor.tell(problem)

    @property
    def _seconds(self) -> str:
        return f"{self._supervisor.launch.config.supervisor.drain_seconds}"
