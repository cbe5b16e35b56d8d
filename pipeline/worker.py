"""The life of a worker process: attach, warm up, READY, run, beat, drain, stop.

    python -m pipeline.worker NAME INSTANCE INCARNATION    one stage
    python -m pipeline.worker --standby INSTANCE           a warm process that becomes whichever stage dies

The stage's kernel comes back to Python every 10 ms: only there are commands seen, signals handled and the beat written.
An incarnation other than its own in its heartbeat means that the supervisor has given its place to another process: it writes
nothing more, not even its state, and leaves with EXIT_FENCED.
"""

import contextlib
import gc
import json
import os
import select
import sys
import time
from pathlib import Path

import numpy as np

from pipeline.child import die_with_supervisor
from pipeline.config import config_from_json
from pipeline.errors import UserError
from pipeline.log import log, log_to_stderr, open_log
from pipeline.seat import Termination, take_seat
from pipeline.stage import Stage, stage_class
from pipeline.topology import read_about
from pipeline.warm import warm_stages
from shm import heartbeat
from shm.errors import SharedMemoryError
from shm.heartbeat import Command, State
from shm.layout import PAGE, WORD
from shm.segment import Segment, attach
from shm.wait import make_waiter

#: A kernel's turn: how late a command or a signal may be seen.
TURN_NS = 10_000_000
#: How often a worker that is ready looks whether it may run, in seconds.
LOOK_S = 0.001

#: How a worker ends.
EXIT_OK, EXIT_BROKEN, EXIT_USER_ERROR, EXIT_FENCED = range(4)


def live(name: str, segment: Segment, incarnation: int, termination: Termination) -> int:
    """Be one worker until told to stop.

    Args:
        name: Which one.
        segment: The mapped instance.
        incarnation: Which start of this worker we are.
        termination: Set by SIGTERM.
    Returns:
        The exit code.
    """
    began = time.monotonic()
    about = read_about(segment)
    config = config_from_json(about["config"])
    core, wait = about["placement"][name]["core"], about["placement"][name]["wait"]
    words = segment.array(f"{name}.heartbeat")
    if words[heartbeat.INCARNATION] != incarnation:
        return EXIT_FENCED
    cpu_ns_before = int(words[heartbeat.CPU_NS]) - time.process_time_ns()
    words[heartbeat.STATE] = State.BOOT
    words[heartbeat.PID] = os.getpid()
    words[heartbeat.START] = heartbeat.process_start(os.getpid())
    words[heartbeat.WAIT] = wait
    map_pages(segment)
    bell = segment.base(f"{name}.heartbeat") + heartbeat.BELL
    park_after_ns = getattr(config.workers, name).park_after_ns
    stage = stage_class(name)(segment, config, make_waiter(segment.memory, bell, wait, park_after_ns))
    words[heartbeat.STATE] = State.COMPILING
    stage.warm_up()
    gc.collect()
    gc.freeze()
    # Only now: loading takes whatever cores are idle, so that a restarted worker is back soon.
    take_seat(name, core)
    words[heartbeat.STATE] = State.READY
    log.info("%s is ready after %.2f s, start number %d", name, time.monotonic() - began, incarnation)
    while words[heartbeat.COMMAND] == Command.WAIT and words[heartbeat.INCARNATION] == incarnation and not termination.asked:
        words[heartbeat.BEAT_NS] = time.monotonic_ns()
        time.sleep(LOOK_S)
    code = serve(stage, words, incarnation, cpu_ns_before, termination)
    stage.close()
    log.info("%s ended with code %d", name, code)
    # Frozen objects are not collected at the end of Python, and DuckDB's module then takes its own types for leaked.
    gc.unfreeze()
    return code


def serve(stage: Stage, words: np.ndarray, incarnation: int, cpu_ns_before: int, termination: Termination) -> int:
    """Run a stage that is ready, until told to stop.

    Args:
        stage: The stage.
        words: Its heartbeat block.
        incarnation: Which start of this worker we are.
        cpu_ns_before: What to add to our processor time, so that those before us count.
        termination: Set by SIGTERM.
    Returns:
        The exit code.
    """
    state = State.RUNNING
    if words[heartbeat.INCARNATION] == incarnation:
        words[heartbeat.STATE] = state
    while not termination.asked:
        if words[heartbeat.INCARNATION] != incarnation:
            return EXIT_FENCED
        command = words[heartbeat.COMMAND]
        if command == Command.STOP:
            break
        code = stage.run(time.monotonic_ns() + TURN_NS)
        words[heartbeat.BEAT_NS] = time.monotonic_ns()
        words[heartbeat.CPU_NS] = cpu_ns_before + time.process_time_ns()
        if code < 0:
            words[heartbeat.STATE] = State.FAILED
            log.error("%s broke an invariant, code %d", stage.name, code)
            return EXIT_BROKEN
        if command == Command.DRAIN:
            reached = State.DRAINED if stage.drained() else State.RUNNING
            if reached != state:
                state = reached
                words[heartbeat.STATE] = state
    words[heartbeat.STATE] = State.STOPPED
    return EXIT_OK


def map_pages(segment: Segment) -> None:
    """Touch every page once, so that no tick waits for a page fault."""
    segment.memory[:: PAGE // WORD].max()


def stand_by(instance: str, termination: Termination) -> int:
    """Load everything, then wait for the order to become a worker that died; end of input means that none will come.

    The order is one line of JSON on standard input: name, incarnation, log. One that comes while this still loads is obeyed
    with what is loaded by then.
    """
    # Loading must not disturb the workers; unlike a nice value, this class can be left again without privilege.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    segment = attach(instance)
    for _ in warm_stages(read_about(segment), ("risk", "execution", "ingest")):
        if select.select([sys.stdin], [], [], 0)[0]:
            break
    else:
        if "sidecar" in read_about(segment)["placement"]:
            # Its libraries only: a database that was opened here might hold a thread or a lock for a stage that trades.
            stage_class("sidecar")
    map_pages(segment)
    gc.collect()
    print("ready", flush=True)
    line = sys.stdin.readline()
    if not line:
        return EXIT_OK
    order = json.loads(line)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    own = open_log(Path(order["log"]))
    for standard in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(own, standard)
    log_to_stderr(order["name"])
    return live(order["name"], segment, order["incarnation"], termination)


def main(arguments: list[str]) -> int:
    """Run one worker; the exit code says how it ended."""
    die_with_supervisor()
    termination = Termination()
    try:
        if arguments[0] == "--standby":
            log_to_stderr("standby")
            return stand_by(arguments[1], termination)
        name, instance, incarnation = arguments
        log_to_stderr(name)
        return live(name, attach(instance), int(incarnation), termination)
    except (UserError, SharedMemoryError) as error:
        log.error("%s", error, exc_info=error)
        return EXIT_USER_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
