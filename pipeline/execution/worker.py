"""The execution worker: opens the stage on an instance, settles what was under way, and runs its kernel."""

from pipeline import topology
from pipeline.config import Config
from pipeline.execution.open_orders import NEVER, NEXT_DUE_NS
from pipeline.execution.orders import recover
from pipeline.execution.state import open_execution
from pipeline.execution.step import has_orders, run
from shm.heartbeat import INCARNATION, open_heartbeat
from shm.pulse import idle_pulse, make_pulse
from shm.segment import Segment
from shm.wait import Waiter


class ExecutionStage:
    """Execution as a worker runs it (see pipeline.worker)."""

    name = "execution"

    def __init__(self, segment: Segment, config: Config, waiter: Waiter) -> None:
        sizes = topology.Sizes(**topology.read_about(segment)["sizes"])
        self.state = open_execution(segment, sizes, config.execution.paper.latency_ns)
        self.heartbeat = open_heartbeat(segment, self.name)
        self.waiter = waiter
        self.incarnation = int(self.heartbeat.words[INCARNATION])
        recover(self.state)

    def warm_up(self) -> None:
        """Load the kernels by one turn of the loop."""
        run(self.state, idle_pulse(self.heartbeat, self.waiter))

    def run(self, until_ns: int) -> int:
        """Run the kernel until monotonic `until_ns`, or until the supervisor says otherwise."""
        return int(run(self.state, make_pulse(self.heartbeat, self.waiter, self.incarnation, until_ns)))

    def drained(self) -> bool:
        """Tell whether no order waits and time alone fills none at the venue. What rests there stays in its record."""
        return not has_orders(self.state) and int(self.state.venue.opened.local[NEXT_DUE_NS]) == NEVER

    def close(self) -> None:
        """Nothing is held but the mapping, which ends with the process."""
