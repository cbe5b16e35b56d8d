"""The risk worker: opens the stage on an instance and runs its kernel."""

import numpy as np

from pipeline import topology
from pipeline.config import Config
from pipeline.instruments import Instruments
from pipeline.risk.fills import STOPS_PER_POSITION_MAX
from pipeline.risk.state import Limits, open_risk
from pipeline.risk.step import has_orders, run
from pipeline.risk.stops import OWED_COUNT
from shm.heartbeat import INCARNATION
from shm.pulse import idle_pulse, make_pulse
from shm.rows import snapshot
from shm.segment import Segment
from shm.wait import Waiter


def limits_from(config: Config, instruments: Instruments) -> Limits:
    """Turn the configured limits into ticks, lots and ppm; one int64 per instrument."""
    stops = config.risk.stops
    wanted = stops.enforce_stops
    return Limits(
        order_lots=np.array(config.risk.order_lots_max(instruments), np.int64),
        order_tick_lots=np.array(config.risk.order_tick_lots_max(instruments), np.int64),
        position_tick_lots=np.array(config.risk.position_tick_lots_max(instruments), np.int64),
        default_stop_ppm=stops.default_stop_ppm if wanted else 0,
        trailing_stop_ppm=stops.trailing_stop_ppm if wanted and stops.trailing_stop_enabled else 0,
        retry_ns=stops.exit_retry_ns,
        retry_ns_max=stops.exit_retry_ns_max,
    )


class RiskStage:
    """Risk as a worker runs it (see pipeline.worker)."""

    name = "risk"

    def __init__(self, segment: Segment, config: Config, waiter: Waiter) -> None:
        about = topology.read_about(segment)
        sizes = topology.Sizes(**about["sizes"])
        self.state = open_risk(segment, sizes, limits_from(config, Instruments.from_json(about["instruments"])))
        self.waiter = waiter
        self.incarnation = int(self.state.heartbeat.words[INCARNATION])
        self.scratch = np.zeros(2 * STOPS_PER_POSITION_MAX, np.int64)

    def warm_up(self) -> None:
        """Load the kernels by one turn of the loop."""
        run(self.state, idle_pulse(self.state.heartbeat, self.waiter), self.scratch)

    def run(self, until_ns: int) -> int:
        """Run the kernel until monotonic `until_ns`, or until the supervisor says otherwise."""
        return int(run(self.state, make_pulse(self.state.heartbeat, self.waiter, self.incarnation, until_ns), self.scratch))

    def drained(self) -> bool:
        """Tell whether nothing waits, no exit is owed, and no order works."""
        if has_orders(self.state) or self.state.book.counts[OWED_COUNT] > 0:
            return False
        rows = snapshot(self.state.positions)
        return not (rows["working_buy_lots"].any() or rows["working_sell_lots"].any())

    def close(self) -> None:
        """Nothing is held but the mapping, which ends with the process."""
