"""The execution worker: opens the stage on an instance, settles what was under way, and runs its kernel."""

from pipeline import topology
from pipeline.config import Config
from pipeline.execution.orders import recover
from pipeline.execution.state import open_execution
from pipeline.execution.step import has_input, run
from shm.heartbeat import open_heartbeat
from shm.pulse import make_pulse
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
        recover(self.state)

    def warm_up(self) -> None:
        """Load the kernels by calls that find nothing to do."""
        run(self.state, make_pulse(self.heartbeat, self.waiter, 0)._replace(command=-1))

    def run(self, until_ns: int) -> int:
        """Run the kernel until monotonic `until_ns`, or until the supervisor says otherwise."""
        run(self.state, make_pulse(self.heartbeat, self.waiter, until_ns))
        return 0

    def drained(self) -> bool:
        """Tell whether no order waits and none works at the venue."""
        return not has_input(self.state) and int(self.state.venue.open_count[0]) == 0

    def close(self) -> None:
        """Nothing is held but the mapping, which ends with the process."""
