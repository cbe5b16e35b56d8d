"""The instance file of a start: made anew, or taken over from a run that crashed."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from pipeline import topology
from pipeline.errors import InstanceError
from pipeline.launch import Launch
from pipeline.limit_rows import restricted_mask
from pipeline.placement import parking
from pipeline.risk.limits import write_limits
from pipeline.tables import SCOPE_RESTRICTED, SCOPE_WORDS
from pipeline.topology import ENTRIES_ALLOWED, RESTARTS, STARTED_NS, STARTED_UTC_NS, STATE_WORDS, WORKERS
from shm import heartbeat
from shm.heartbeat import Command, State
from shm.segment import Segment, finish, open_owned

#: A killed process that the kernel still takes apart is looked at again after this, in seconds.
LOOK_S = 0.001


def open_instance(launch: Launch) -> Segment:
    """Create the instance, or take over what a crash left of it; nobody runs on it yet.

    Raises:
        SharedMemoryError: it runs already, does not fit, or was made by other code.
        InstanceError: what is left of it belongs to other instruments or another feed.
    """
    about = launch.about()
    regions = topology.regions(launch.sizes, about["blob_bytes"])
    segment = open_owned(launch.name, regions, launch.config.instance.fresh)
    try:
        if segment.was_warm:
            _check_same(segment, about)
            _end_leftovers(segment, launch)
        absent = [worker for worker in WORKERS if worker not in launch.seats]
        topology.set_up(segment, launch.sizes, parking(launch.seats), launch.waited_for, absent)
        topology.write_about(segment, about)
        _set_words(segment, launch)
        _set_limits(segment, launch)
        finish(segment)
    except BaseException:
        # What a crash left stays for the right start; what we began ourselves does not.
        if not segment.was_warm:
            segment.unlink()
        segment.close()
        raise
    return segment


def _check_same(segment: Segment, about: dict[str, Any]) -> None:
    """Refuse to go on with what a crash left where it means something else now."""
    before = topology.read_about(segment)
    differing = [
        *_differences("feed", before["config"]["feed"], about["config"]["feed"]),
        *_differences("--symbols", before["feed"]["symbols"], about["feed"]["symbols"]),
        *_differences("instruments", _symbols(before), _symbols(about)),
        *_differences("sizes", before["sizes"], about["sizes"]),
    ]
    if not differing and before["instruments"] != about["instruments"]:
        differing = ["the instruments' sizes or currencies"]
    if not differing and _units(before) != _units(about):
        # Profit, loss and fees of the run before are counted in these.
        differing = ["the account's currency or rates"]
    if differing:
        what = f"an earlier run left this instance, and it was started with other settings: {'; '.join(differing)}"
        remedy = "start it as it was, or with --fresh (its positions and stops are lost)"
        raise InstanceError(what, str(segment.path), remedy)


def _units(about: dict[str, Any]) -> dict[str, Any]:
    """Return what money is counted in; the balance may differ: money may be paid in or out between two runs."""
    return {key: value for key, value in about["account"].items() if key != "balance_units"}


def _symbols(about: dict[str, Any]) -> str:
    return ", ".join(row["symbol"] for row in about["instruments"])


def _differences(path: str, before: Any, now: Any) -> list[str]:
    """Name each key that differs, with what it was and what it is now."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in before if key in now]
        return [text for key in keys for text in _differences(f"{path}.{key}", before[key], now[key])]
    return [f"{path} was {_shown(before)}, now {_shown(now)}"] if before != now else []


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value) or "none"


def _end_leftovers(segment: Segment, launch: Launch) -> None:
    """See that nobody of the run before still writes. They die with their supervisor; this is for the moment in between."""
    for name in launch.seats:
        words = segment.array(f"{name}.heartbeat")
        pid, start = int(words[heartbeat.PID]), int(words[heartbeat.START])
        if pid and start and heartbeat.process_start(pid) == start and not _is_zombie(pid):
            os.kill(pid, signal.SIGKILL)
            while heartbeat.process_start(pid) == start and not _is_zombie(pid):
                time.sleep(LOOK_S)


def _set_words(segment: Segment, launch: Launch) -> None:
    """Set the words that the supervisor writes as they are before anybody runs."""
    state = segment.array("supervisor.state")
    state[ENTRIES_ALLOWED] = 1
    state[STARTED_NS], state[STARTED_UTC_NS] = time.monotonic_ns(), time.time_ns()
    state[RESTARTS:STATE_WORDS] = 0
    for name in launch.seats:
        words = segment.array(f"{name}.heartbeat")
        words[heartbeat.COMMAND] = Command.WAIT
        words[heartbeat.INCARNATION] += 1
        words[heartbeat.STATE] = State.NONE
    own = segment.array("supervisor.heartbeat")
    own[heartbeat.PID], own[heartbeat.START] = os.getpid(), heartbeat.process_start(os.getpid())
    own[heartbeat.STATE] = State.RUNNING


def _set_limits(segment: Segment, launch: Launch) -> None:
    """Set the limits as the configuration has them: what was changed while an earlier run went on was meant for that run."""
    write_limits(segment, launch.limit_rows)
    scopes = segment.array("scopes").reshape(launch.sizes.scope_count, SCOPE_WORDS)
    first = topology.scope_of_instrument(launch.sizes, 0)
    scopes[first:, SCOPE_RESTRICTED] = restricted_mask(launch.config, launch.instruments)


def _is_zombie(pid: int) -> bool:
    """Tell whether a process is dead and only not reaped yet, or not there at all."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
