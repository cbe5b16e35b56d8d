"""Kill the sidecar at chosen points and start it again, over and over, on one instance and one database.

    python -m tests.pipeline.sidecar_crash FOLDER SEED

Two kinds of kill: at the n-th source line that the sidecar runs (so between any two of its own steps), and from outside while
it flushes at full speed (so within DuckDB's commit too). After each kill a sidecar runs to the end. Prints JSON: how many
records were published to each ring, and how many kills there were. This process never opens the database: it forks, and a fork
must not inherit one.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.sidecar.streams import GatingStream, TickStream
from pipeline.topology import SIDECAR_COUNTERS, reader_index
from shm import counters, heartbeat
from tests.pipeline.sidecar_instance import SIZES, Instance, made_instance, records_of

RINGS = ("ticks", "orders", "reports", "events", "notes")
LINE_KILLS, OUTSIDE_KILLS = 24, 4
FLUSHES = SIDECAR_COUNTERS.index("flushes")


def live_and_die(instance: Instance, kill_at_line: int) -> int:
    """Be a sidecar from start to end, and kill this process at that line; return how many lines there were."""
    lines = 0

    def count_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if "/pipeline/sidecar/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines += 1
            if lines == kill_at_line:
                os.kill(os.getpid(), signal.SIGKILL)
        return count_line

    sys.settrace(count_line)
    stage = instance.stage()
    while not stage.drained():
        stage.run(time.monotonic_ns() + 10_000_000)
    stage.close()
    sys.settrace(None)
    return lines


def live_on(instance: Instance) -> None:
    """Be a sidecar until killed."""
    stage = instance.stage()
    while True:
        stage.run(time.monotonic_ns() + 10_000_000)


def in_fork(work: Any, *arguments: Any) -> int:
    """Start work in a process of its own; return its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work(*arguments)
            code = 0
        finally:
            os._exit(code)
    return pid


def send_more(instance: Instance, sent: dict[str, int], count: int) -> None:
    """Publish more records to every ring, as far as there is room; no more ticks than orders, so that none is overrun."""
    for ring in ("notes", "events", "reports", "orders"):
        came = instance.send(ring, records_of(ring, count, sent[ring]))
        sent[ring] += came
    sent["ticks"] += instance.send("ticks", records_of("ticks", came, sent["ticks"]))


def finish(instance: Instance) -> None:
    """Run a sidecar to the end, unharmed."""
    _, status = os.waitpid(in_fork(live_and_die, instance, -1), 0)
    assert status == 0, f"a sidecar after a kill ended with {status}"


def count_lines(instance: Instance) -> int:
    """Return how many lines a sidecar's whole life has."""
    reader, writer = os.pipe()
    pid = in_fork(lambda: os.write(writer, str(live_and_die(instance, -1)).encode()))
    os.waitpid(pid, 0)
    os.close(writer)
    return int(os.read(reader, 32))


def main(folder: Path, seed: int) -> dict[str, object]:
    """Kill and restart; return what was published."""
    rng = random.Random(seed)
    sent = dict.fromkeys(RINGS, 0)
    killed = 0
    with made_instance(folder, f"test-sidecar-crash-{os.getpid()}", flush_ms=10) as instance:
        load_kernels(instance)
        send_more(instance, sent, 5)
        line_count = count_lines(instance)
        for point in range(LINE_KILLS):
            send_more(instance, sent, 5)
            line = 1 + (point * line_count + rng.randrange(line_count)) // LINE_KILLS
            _, status = os.waitpid(in_fork(live_and_die, instance, line), 0)
            killed += os.WIFSIGNALED(status)
            finish(instance)
        flushes = counters.open_counters(instance.segment, "sidecar").words[counters.STRIDE * FLUSHES :]
        for _ in range(OUTSIDE_KILLS):
            wanted = int(flushes[0]) + rng.randrange(1, 6)
            pid = in_fork(live_on, instance)
            try:
                while int(flushes[0]) < wanted:
                    send_more(instance, sent, rng.randrange(1, 60))
                    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the sidecar ended by itself"
            finally:
                # Its output pipe is ours: left alive, it would keep whoever reads that waiting.
                os.kill(pid, signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        finish(instance)
        return {"sent": sent, "killed": killed, "lines": line_count, "epoch": instance.segment.epoch}


def load_kernels(instance: Instance) -> None:
    """Load the compiled kernels once, for all forks to come."""
    for ring in RINGS:
        index = reader_index(ring, "sidecar", SIZES.strategies)
        stream = TickStream if ring == "ticks" else GatingStream
        if stream is TickStream:
            ticks = TickStream(instance.producers[ring].ring, index, True)
            ticks.warm_up()
            ticks.resume(ticks.progress)
        else:
            gating = GatingStream(ring, instance.producers[ring].ring, index)
            gating.resume(gating.progress)
            gating.read()
    heartbeat.beat(heartbeat.open_heartbeat(instance.segment, "sidecar"), 0)
    bank = counters.open_counters(instance.segment, "sidecar")
    counters.add(bank, 0, 0)
    counters.put(bank, 0, 0)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
