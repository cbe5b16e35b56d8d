"""What does a tick cost against the number of stops, in the real risk step and beside what people write themselves?

    topology   one process, one core: a ring filled with ticks  ==>  pipeline.risk.step, its tables in a segment of its own

Every stop guards a position of its own, written into the tables as a backtest does it. A ring of ticks is filled, and only the
time counts in which risk empties it. Nobody fills exits: a stop that has fired stays in the table and in its list.

    walk    Each tick moves its instrument's price by a step at random; a fifth of the ticks are trades, the others quotes. The
            stops: trailing (30%, half by percent, half by offset), static (30%, half by price), take-profit (20%), chandelier
            (10%), ATR (10%); half of them LONG, half SHORT; 60% follow bid or ask, 20% trades, 20% the mid; a quarter of those
            that trail have an activation, a fifth of all but targets a break-even. Distances are 2% to 10% of the price (the
            multipliers of the ATR are such that theirs are too), activations and break-evens 0.5% to 3%, entries lie within 1%
            of the first price. So about one in a hundred fires, and many more begin to trail, wake or break even, each of which
            has the stops of its group looked at. One instrument alone moves 0.6% in a million ticks, as a calm share does in a
            day; each of many moves 2% in 200,000.
    trend   Only quotes, each a gain: every tick a new high. Trailing stops only, half by percent and half by offset, three
            quarters by bid or ask and the others by the mid. LONG, and SHORT in every other instrument, which falls.

A turn of the walk takes as many rings as it takes until each instrument closes a bar of a minute: one alone gets 4,000 ticks a
minute, as AIG did on a busy day, one of many 500. So every turn holds its share of bars. Stops lie in the table in the order in
which instruments take turns: those of one instrument are far apart, as they are where stops come and go.

Beside them, in turns within the same run, the same stops as plain Python objects and as numpy arrays (bench.stop_objects,
bench.stop_arrays), on the first ticks of the same rings; a test compares the triggers of all three. What counts is the time for
which the thread had its core: others who run on it do not count, steal does. `clock_p50_ns` is what passed by the clock.
"""

import gc
import shutil
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import psutil

from bench.harness import Pinned, Ratio, Result, Row, Settings, choose_cores, in_turns, per_turn_ratio
from bench.steal import Disturbance
from bench.stop_arrays import NumpyManager
from bench.stop_guard import Guard, bytes_of, regions_of
from bench.stop_mix import Case, Stream, draw_mix, draw_trailing
from bench.stop_objects import StopManager, TickTuple
from shm.segment import SHM_FOLDER

SEED = 20_260_105
TURNS, TURNS_MIN = 31, 7
#: Plain Python and numpy get so many ticks of each turn.
RIVAL_TICKS = 256
#: What the objects, the arrays and what makes them take for each stop of a case, roughly; what must stay free of each memory.
RIVAL_BYTES, SPARE_BYTES, SPARE_SHARED_BYTES = 1_500, 1 << 28, 1 << 24
# Instruments and stops of each where there are goals, and the goals.
ONE, MANY, MILLION = (1, 1_000), (1_000, 4), (10_000, 100)
MANY_NS, ONE_WALK_NS, ONE_TREND_NS, MILLION_WALK_NS, PYTHON_RATIO, STOP_BYTES = 100.0, 100.0, 1_000.0, 250.0, 200.0, 256.0

#: Case, and whether it is on the trend.
Key = tuple[Case, bool]
Times = dict[str, list[float]]


def cases_of(settings: Settings) -> list[Case]:
    """Return all cases."""
    if settings.small:
        return [Case(1, 1, 100, 64), Case(1, 20, 100, 64), Case(5, 4, 800, 64)]
    one = [Case(1, count, 100, 4_096) for count in (1, 4, 100, ONE[1])]
    return one + [Case(*counts, 800, 524) for counts in (MANY, (10_000, 10), MILLION)]


def ring_ticks_of(settings: Settings) -> int:
    """Return the capacity of the ring of ticks."""
    return settings.pick(65_536, 256)


def as_tuples(ticks: np.ndarray) -> list[TickTuple]:
    """Return what the rivals read of ticks."""
    return list(zip(*(ticks[name].tolist() for name in ("event_ns", "instrument", "kind", "a", "b")), strict=True))


class Contest:
    """One case, on the walk or on the trend: the step and its rivals take turns."""

    def __init__(self, case: Case, trends: bool, settings: Settings) -> None:
        rng = np.random.default_rng(SEED)
        terms = draw_trailing(case, rng) if trends else draw_mix(case, rng)
        self.ring_ticks, self.rival_ticks = ring_ticks_of(settings), settings.pick(RIVAL_TICKS, 32)
        # A trend has no trades, so it has no bars either.
        self.rings = 1 if trends else -(-case.bar_ticks * case.instruments // self.ring_ticks)
        self.turns = settings.pick(max(TURNS_MIN, TURNS // self.rings), 2)
        self.stream = Stream(case, trends, rng)
        self.guard = Guard(case, terms, self.ring_ticks)
        self.rivals: dict[str, StopManager | NumpyManager] = {"python": StopManager(case, terms)}
        self.rivals["numpy"] = NumpyManager(case, terms)
        self.last: list[TickTuple] = []
        self.clock_ns: list[float] = []

    def time_step(self) -> float:
        """Return ns per tick of a turn of the real step, and keep what passed by the clock."""
        elapsed_ns = np.zeros(2, np.int64)
        for _ in range(self.rings):
            ticks = self.stream.next_ticks(self.ring_ticks)
            elapsed_ns += self.guard.time_ticks(ticks)
        self.last = as_tuples(ticks[: self.rival_ticks])
        core_ns, clock_ns = (elapsed_ns / (self.rings * self.ring_ticks)).tolist()
        self.clock_ns.append(clock_ns)
        return float(core_ns)

    def time_rival(self, name: str) -> float:
        """Return ns per tick of a rival on ticks of the last ring."""
        take = self.rivals[name].take
        start_ns = time.thread_time_ns()
        take(self.last)
        return (time.thread_time_ns() - start_ns) / len(self.last)

    def measure(self) -> Times:
        """Return ns per tick of each, turn by turn."""
        measures: dict[str, Callable[[], float]] = {"step": self.time_step}
        measures |= {name: partial(self.time_rival, name) for name in self.rivals}
        for one in measures.values():
            one()
        # What the rivals are made of would be looked at again and again.
        gc.freeze()
        try:
            return dict(zip(measures, in_turns(list(measures.values()), self.turns), strict=True))
        finally:
            gc.unfreeze()


def missing_room(case: Case, settings: Settings) -> str:
    """Return why a case has no room on this machine, or nothing."""
    shared = sum(region.count * region.dtype.itemsize for region in regions_of(case, ring_ticks_of(settings)))
    needed = shared + RIVAL_BYTES * case.stops + SPARE_BYTES
    if shared + SPARE_SHARED_BYTES > shutil.disk_usage(SHM_FOLDER).free:
        return f"it needs {(shared + SPARE_SHARED_BYTES) >> 20:,} MiB in {SHM_FOLDER}"
    if needed > psutil.virtual_memory().available:
        return f"it needs {needed >> 20:,} MiB of memory"
    return ""


def hold(case: Case, trends: bool, settings: Settings) -> tuple[Times, dict[str, float], dict[str, float]]:
    """Hold one contest.

    Returns:
        The times turn by turn, the row that sums them up, and what a stop takes in memory.
    """
    contest = Contest(case, trends, settings)
    times = contest.measure()
    step = times["step"]
    values = {
        "stops": case.stops,
        "p50_ns": round(statistics.median(step), 1),
        "p99_ns": round(float(np.percentile(step, 99)), 1),
        "best_ns": round(min(step), 1),
        "clock_p50_ns": round(statistics.median(contest.clock_ns[1:]), 1),
        "python_p50_ns": round(statistics.median(times["python"])),
        "numpy_p50_ns": round(statistics.median(times["numpy"])),
        "fired": len(contest.guard.fired()),
    }
    memory, segment = bytes_of(contest.guard.risk.book), contest.guard.segment
    del contest
    segment.close()
    return times, values, memory


def run(settings: Settings) -> Result:
    """Measure all cases."""
    cores = choose_cores(1)
    result = Result("stops", "one process on one core", "ns per tick of pipeline.risk.step, of the core's time", cores=cores)
    times: dict[Key, Times] = {}
    memory: dict[str, float] = {}
    with Disturbance(cores) as disturbance, Pinned(cores[0]):
        for case in cases_of(settings):
            for trends in (False, True):
                what = f"{case.instruments:,} × {case.stops_each:,}, {'trend' if trends else 'walk'}"
                missing = missing_room(case, settings)
                if missing:
                    result.rows.append(Row(f"{what}: left out, {missing}", {}))
                    continue
                times[case, trends], values, memory = hold(case, trends, settings)
                result.rows.append(Row(what, values))
    result.ratios = goals_of(times)
    if memory:
        result.rows.append(Row("memory", memory))
        result.ratios.append(Ratio("bytes a stop", round(memory["bytes_per_stop"], 1), at_most=STOP_BYTES))
    result.steal_percent, result.preemption_count = disturbance.steal_percent, disturbance.preemption_count
    return result


def goals_of(times: dict[Key, Times]) -> list[Ratio]:
    """Return the goals of what was measured."""
    goals = {
        (MANY, False): MANY_NS,
        (MANY, True): MANY_NS,
        (ONE, False): ONE_WALK_NS,
        (ONE, True): ONE_TREND_NS,
        (MILLION, False): MILLION_WALK_NS,
    }
    ratios = []
    for (case, trends), found in times.items():
        counts = case.instruments, case.stops_each
        what = f"{case.instruments:,} × {case.stops_each:,} on the {'trend' if trends else 'walk'}"
        if (counts, trends) in goals:
            median = round(statistics.median(found["step"]), 1)
            ratios.append(Ratio(f"{what}, ns", median, at_most=goals[counts, trends]))
        if counts == ONE:
            for name, goal in (("python", PYTHON_RATIO), ("numpy", None)):
                ratios.append(Ratio(f"{what}, {name} / step", round(per_turn_ratio(found[name], found["step"])), at_least=goal))
    return ratios
