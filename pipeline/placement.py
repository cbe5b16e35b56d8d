"""Which core each process gets, and how it waits there.

    cores at hand   seats in the pool, in order of the pool
    1               all share it
    2               ingest and others | risk and execution
    3               others | ingest | risk and execution
    4               others | ingest | risk | execution
    5 or more       nobody (left to the system) | ingest | risk | execution | others

"Others" are the sidecar and the strategies: they may wait, the path from tick to order may not. Where cores are few, risk and
execution share one with each other and with nobody else: both yield while data flows, so that a tick from ingest's core is seen
and its order handed on without a wake-up, while the others may hold their core for whole slices of milliseconds.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.config import Config
from pipeline.topology import WORKERS
from shm.wait import Strategy, choose

#: Not pinned: the kernel's scheduler decides.
ANY_CORE = -1
#: Workers on the way from a tick to its order: they get a core of their own where there is one.
HOT_WORKERS = ("ingest", "risk", "execution")

#: Place in the pool of (ingest, risk, execution, others), by the number of cores in it; the last row holds for more too.
SEATS = {1: (0, 0, 0, 0), 2: (0, 1, 1, 0), 3: (1, 2, 2, 0), 4: (1, 2, 3, 0), 5: (1, 2, 3, 4)}


class Seat(NamedTuple):
    """Where one process runs and how it waits."""

    core: int  #: ANY_CORE = not pinned
    shares_core: bool
    wait: Strategy


def cores_at_hand() -> list[int]:
    """Return the cores this process may use, one thread of each physical core before the second ones."""
    allowed = sorted(os.sched_getaffinity(0))
    first = [core for core in allowed if core == min(_siblings(core) & set(allowed))]
    return first + [core for core in allowed if core not in first]


def place(config: Config, strategies: Sequence[str], cores: Sequence[int]) -> tuple[dict[str, Seat], list[str]]:
    """Give every process a seat.

    Args:
        config: What is wanted.
        strategies: Names of the strategies that will run.
        cores: The cores at hand, in order of preference; at least one.
    Returns:
        The seats by name, and a line for each wish that cannot be met.
    """
    notes = []
    wanted = {name: getattr(config.workers, name).core for name in WORKERS}
    for name, core in wanted.items():
        if core != ANY_CORE and core not in cores:
            notes.append(f"{name} is not pinned: core {core} is not among those this process may use ({_listed(cores)})")
    pool = [core for core in config.workers.core_pool or cores if core in cores]
    if config.workers.core_pool and len(pool) < len(config.workers.core_pool):
        notes.append(f"workers.cores: only {_listed(pool) or 'none'} of {_listed(config.workers.core_pool)} may be used here")
    pool = pool or list(cores)
    # A core that was given to a worker by name is no other's while there are enough without it.
    free = [core for core in pool if core not in wanted.values()] or pool
    chosen = {name: _automatic(name, free) for name in (*WORKERS, *strategies)}
    for name, core in wanted.items():
        if core != ANY_CORE:
            chosen[name] = core if core in cores else ANY_CORE
    workers = [name for name in WORKERS if name != "sidecar" or config.sidecar.enabled]
    if len(set(cores)) < len(workers):
        notes.append(
            f"{len(workers)} workers share {_count(len(set(cores)))}: latency is that of the scheduler, not of the code"
        )
    return {name: _seat(name, chosen, config) for name in (*workers, *strategies)}, notes


def parking(seats: Mapping[str, Seat]) -> dict[str, bool]:
    """Return for each process whether it may park, and so wants its bell rung."""
    return {name: seat.wait == Strategy.PARK for name, seat in seats.items()}


def _automatic(name: str, pool: Sequence[int]) -> int:
    seats = SEATS[min(len(pool), max(SEATS))]
    return pool[seats[HOT_WORKERS.index(name)] if name in HOT_WORKERS else seats[-1]]


def _seat(name: str, chosen: Mapping[str, int], config: Config) -> Seat:
    core = chosen[name]
    shares = core == ANY_CORE or sum(other == core for other in chosen.values()) > 1
    wanted = Strategy[getattr(config.workers, name).wait.upper()] if name in WORKERS else Strategy.AUTO
    # Only the hot path earns a whole core's burning; the others sleep when they have nothing to do.
    return Seat(core, shares, choose(wanted, shares or name not in HOT_WORKERS))


def _siblings(core: int) -> set[int]:
    """Return the hardware threads of a core's physical core, itself included."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return {core}
    siblings = {core}
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        siblings |= set(range(int(low), int(high or low) + 1))
    return siblings


def _listed(cores: Sequence[int]) -> str:
    return ", ".join(str(core) for core in cores)


def _count(cores: int) -> str:
    return "one core" if cores == 1 else f"{cores} cores"
