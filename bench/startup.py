"""How long does a start take, and what does a running instance take from the machine?

    topology   everything that `tools/run.py` starts with the settings of config.toml, the standby included

The kernels are compiled by a first start, which is timed too where that was still to do. Memory is proportional: a page that
several processes map counts in part for each (`pss`); `rss` counts it whole. It is looked at when all processes are up, and
again after a while of trading; a leak in any process shows as growth in between.
"""

import os
import statistics

from bench.harness import Ratio, Result, Row, Settings
from bench.live import Live
from bench.steal import Disturbance

READY_S_MAX, PSS_MIB_MAX = 6.0, 800.0


def run(settings: Settings) -> Result:
    """Measure starts, and memory over one run."""
    cores = sorted(os.sched_getaffinity(0))
    result = Result(
        "startup", "all processes of an instance", "from the plan to the moment at which all workers run", cores=cores
    )
    ready_s = []
    with Disturbance(cores) as disturbance:
        with Live("first", {}) as live:
            was_cold = any("compil" in line for line in live.told)
            result.rows.append(
                Row("first start, kernels compiled" if was_cold else "first start", {"ready_s": round(live.ready_s, 2)})
            )
        for _ in range(settings.pick(4, 0)):
            with Live("again", {}) as live:
                ready_s.append(live.ready_s)
        with Live("run", {}) as live:
            ready_s.append(live.ready_s)
            live.wait_for_standby()
            before = live.memory()
            live.watch(settings.pick(60, 1))
            after = live.memory()
    result.rows.append(
        Row("warm start", {"ready_s": round(statistics.median(ready_s), 2), "slowest_s": round(max(ready_s), 2)})
    )
    for name, used in after.items():
        growth = used.pss_mib - before[name].pss_mib if name in before else 0.0
        values = {"pss_mib": round(used.pss_mib, 1), "rss_mib": round(used.rss_mib, 1), "growth_mib": round(growth, 2)}
        result.rows.append(Row(name, values))
    total = sum(used.pss_mib for used in after.values())
    grown = total - sum(used.pss_mib for used in before.values())
    result.rows.append(Row("all processes", {"pss_mib": round(total, 1), "growth_mib": round(grown, 2)}))
    result.ratios = [
        Ratio("warm start to READY, s", round(statistics.median(ready_s), 2), at_most=READY_S_MAX),
        Ratio("memory of all processes, MiB", round(total, 1), at_most=PSS_MIB_MAX),
    ]
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    return result
