"""How long from the moment a tick is due until execution holds the exit that it caused, through the live processes?

    topology   ingest ==ticks==> risk ==orders==> execution, with sidecar, demo strategy, supervisor and standby,
               seated and waiting as `tools/run.py` does it on this machine

The feed is the simulator at a fixed rate. Stops are as tight as the settings allow, the paper venue answers at once and the
demo goes in again soon, so that exits are frequent. The times come from the instance's own histograms: `ingest_to_risk` and
`tick_to_order` count from the moment at which the tick was due, so an ingest that comes late is part of them.
The first second after the demo's start is left out.
"""

import os

from bench import ring as ring_bench
from bench.harness import Ratio, Result, Row, Settings, choose_cores, quantile_values
from bench.live import Live, since
from bench.steal import Disturbance
from shm.wait import Strategy

RATES = (1_000, 10_000, 50_000)
HOPS = ("ingest_to_risk", "risk_to_execution", "tick_to_order")
P50_SHARED_NS_MAX, P50_OWN_NS_MAX = 20_000, 2_000
#: Cores at which ingest, risk and execution have one each that nothing else runs on.
CORES_FOR_EACH = 4
OVERRIDES = {
    # Far more orders than anyone's limit lets pass in a second; what they lose makes no odds.
    **{
        f"{section}.{limit}": "unlimited"
        for section in ("risk", "risk.strategy")
        for limit in ("max_orders_per_second", "max_trades_per_day", "max_daily_loss", "max_weekly_loss", "max_drawdown")
    },
    "risk.stops.min_stop_percent": 0.0001,
    "risk.stops.default_stop_percent": 0.001,
    "risk.stops.trailing_stop_percent": 0.0001,
    "execution.paper.latency_us": 0,
    "strategies.demo.hold_seconds": 0.1,
    "strategies.demo.pause_seconds": 0.05,
    "strategies.demo.quantity": "1",
}


def measure(rate: int, warm_s: float, seconds: float) -> tuple[list[Row], list[str]]:
    """Return the quantiles of every hop at a rate, and how each worker sat and waited."""
    with Live(f"rate-{rate}", OVERRIDES | {"feed.simulator.rate": float(rate)}) as live:
        live.wait_for_strategies()
        live.watch(warm_s)
        before, cpu_before = live.histograms(), live.cpu_ns()
        live.watch(seconds)
        after, cpu_after = live.histograms(), live.cpu_ns()
        seats = live.supervisor.launch.seats
    rows = [Row(f"{rate:,}/s {name}", quantile_values(since(before[name], after[name]))) for name in HOPS]
    cpu = {f"{name}_cpu_percent": round((cpu_after[name] - cpu_before[name]) / seconds / 1e7, 1) for name in cpu_after}
    rows.append(Row(f"{rate:,}/s processors", cpu))
    told = [f"{name} on core {seat.core} {Strategy(seat.wait).name.lower()}s" for name, seat in seats.items()]
    return rows, told


def run(settings: Settings) -> Result:
    """Measure tick to order at several rates."""
    cores = sorted(os.sched_getaffinity(0))
    result = Result("tick_to_order", "", "since the tick was due", cores=cores)
    yardstick = ring_bench.bounce_ns(settings) if len(choose_cores(2)) > 1 else None
    with Disturbance(cores) as disturbance:
        for rate in RATES[: settings.pick(len(RATES), 1)]:
            rows, seats = measure(rate, settings.pick(10, 5) / 10, settings.pick(200, 15) / 10)
            result.rows += rows
            result.topology = ", ".join(seats)
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    slowest = rows_named(result, f"{RATES[0]:,}/s tick_to_order")
    goal_ns = P50_OWN_NS_MAX if len(cores) >= CORES_FOR_EACH else P50_SHARED_NS_MAX
    result.ratios.append(Ratio(f"tick to order p50 at {RATES[0]:,}/s, ns", slowest["p50_ns"], at_most=goal_ns))
    if yardstick is not None:
        result.ratios.append(Ratio("tick to order p50 / two bare hops", round(slowest["p50_ns"] / (2 * yardstick), 1)))
    return result


def rows_named(result: Result, what: str) -> dict[str, float]:
    """Return the values of one row."""
    return next(dict(row.values) for row in result.rows if row.what == what)
