"""The execution worker: opens the stage on an instance, settles what was under way, and runs its kernel."""

from decimal import Decimal

import numpy as np

from pipeline import topology
from pipeline.config import Config
from pipeline.execution.fees import Fees, make_fees
from pipeline.execution.open_orders import NEVER, NEXT_DUE_NS
from pipeline.execution.orders import recover
from pipeline.execution.state import open_execution
from pipeline.execution.step import has_orders, run
from pipeline.instruments import Instruments
from pipeline.money import money_of
from shm.heartbeat import INCARNATION, open_heartbeat
from shm.pulse import idle_pulse, make_pulse
from shm.segment import Segment
from shm.wait import Waiter


def fees_from(config: Config, instruments: Instruments) -> Fees:
    """Return the configured fees of the paper venue."""
    money, paper = money_of(instruments, config.account), config.execution.paper
    micros = money.fee_micros(instruments, Decimal(paper.fee_per_unit))
    return make_fees(np.array(money.value_units, np.int64), paper.fee_ppm, np.array(micros, np.int64))


class ExecutionStage:
    """Execution as a worker runs it (see pipeline.worker)."""

    name = "execution"

    def __init__(self, segment: Segment, config: Config, waiter: Waiter) -> None:
        about = topology.read_about(segment)
        fees = fees_from(config, Instruments.from_json(about["instruments"]))
        self.state = open_execution(segment, topology.Sizes(**about["sizes"]), config.execution.paper.latency_ns, fees)
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
