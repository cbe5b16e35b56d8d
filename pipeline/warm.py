"""Every kernel compiled once, before any worker starts: after that, the workers only load.

    python -m pipeline.warm PART < about.json

prints a line when it begins a stage. Risk takes about as long as all the others, so there are two parts, for two cores. The
stages are built on a scratch instance of the smallest sizes: a kernel's types do not depend on how long its arrays are.
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
from llvmlite import binding

from pipeline.child import die_with_supervisor
from pipeline.client_kernels import warm_up as warm_up_client
from pipeline.config import Config, config_from_json, with_overrides
from pipeline.errors import UserError
from pipeline.ingest.feeds.simulator import Simulator, SimulatorSettings
from pipeline.instruments import Instrument, Instruments
from pipeline.log import log, log_to_stderr
from pipeline.messages import TICK
from pipeline.stage import stage_class
from pipeline.topology import Sizes, regions, set_up, write_about
from shm import heartbeat
from shm.errors import SharedMemoryError
from shm.jit import JIT_ENABLED, cache_folder, source_hash
from shm.segment import Segment, finish, open_owned
from shm.wait import PARK, make_waiter

#: Slots and rows of the scratch instance.
SCRATCH_SIZE = 64
PARK_AFTER_NS = 1_000_000
#: Parts of the work: the stages of each that it has of these; `None` = all others, and what is no stage.
PARTS: dict[str, tuple[str, ...] | None] = {"risk": ("risk",), "others": None}


def marker(about: dict) -> Path:
    """Return the file whose presence says that all kernels of these sources, settings and processor are compiled."""
    parts = (
        source_hash(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten(), sys.version,
        about["sizes"]["strategies"], *about["warm"],
    )  # fmt: skip
    return cache_folder() / f"complete-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def is_cold(about: dict) -> bool:
    """Tell whether a start would have to compile."""
    return JIT_ENABLED and not marker(about).exists()


def warm_stages(about: dict, names: Sequence[str]) -> Iterator[str]:
    """Load or compile the kernels of these stages, yielding the name of each when it is done.

    Args:
        about: What the instance to come says about itself.
        names: Which stages.
    """
    with tempfile.TemporaryDirectory(prefix="stopline-") as folder, _scratch(about) as segment:
        config = _harmless(config_from_json(about["config"]), folder)
        for name in names:
            bell = segment.base(f"{name}.heartbeat") + heartbeat.BELL
            stage = stage_class(name)(segment, config, make_waiter(segment.memory, bell, PARK, PARK_AFTER_NS))
            try:
                stage.warm_up()
            finally:
                stage.close()
            yield name


@contextlib.contextmanager
def _scratch(about: dict) -> Iterator[Segment]:
    """Give an instance that nobody else sees: its file has no name once it is open."""
    given = Sizes(**about["sizes"])
    scratch = dict.fromkeys(Sizes._fields, SCRATCH_SIZE)
    scratch |= {"instruments": given.instruments, "strategies": given.strategies, "books": 0, "series": given.instruments}
    sizes = Sizes(**scratch)
    segment = open_owned(f"warm-{os.getpid()}", regions(sizes, about["blob_bytes"]), fresh=True)
    segment.unlink()
    try:
        set_up(segment, sizes, {})
        write_about(segment, about | {"sizes": sizes._asdict()})
        finish(segment)
        yield segment
    finally:
        segment.close()


def _harmless(config: Config, folder: str) -> Config:
    """Return the settings with which a stage touches nothing that a real one uses."""
    overrides = {"sidecar.metrics_port": 0, "sidecar.database": f"{folder}/warm.duckdb"}
    return with_overrides(config, overrides)


def warm_up_simulator() -> None:
    """Load or compile the kernels of the simulator, the only feed that has any, for the start after a replay."""
    instruments = Instruments([Instrument("X", Decimal("0.01"), Decimal(1))])
    settings = SimulatorSettings(scenario_mask=np.ones(1, np.bool_))
    simulator = Simulator(instruments, np.array([10_000], np.int64), settings, live=True)
    simulator.seek(0)
    simulator.fill(np.zeros(1, TICK))
    simulator.close()


def leave_marker(about: dict) -> None:
    """Say in the cache folder that all kernels of these sources and settings are compiled."""
    path = marker(about)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.replace(path)


def names_of(about: dict, part: str) -> list[str]:
    """Return the stages of an instance that belong to a part."""
    wanted = PARTS[part]
    named = {name for names in PARTS.values() if names is not None for name in names}
    return [name for name in about["warm"] if (name not in named if wanted is None else name in wanted)]


def main(arguments: Sequence[str]) -> int:
    """Compile one part of all that the description of an instance on standard input needs."""
    die_with_supervisor()
    (part,) = arguments
    log_to_stderr(f"compiler-{part}")
    about = json.load(sys.stdin)
    names = names_of(about, part)
    try:
        for name in names:
            print(name, flush=True)
            for _ in warm_stages(about, [name]):
                pass
    except (UserError, SharedMemoryError) as error:
        log.error("%s", error, exc_info=error)
        return 2
    if PARTS[part] is None:
        # The control socket sends as a strategy does.
        warm_up_client()
        if about["config"]["feed"]["kind"] != "simulator":
            warm_up_simulator()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
