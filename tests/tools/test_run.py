"""tools/run.py: mistakes are one line each, workers may die, and nothing is left behind."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import topology
from pipeline.log import read_lines
from pipeline.messages import BUY, MARKET, REQUEST, SELL, SUBMIT
from pipeline.tables import MARK
from pipeline.view import View
from shm import heartbeat, ring
from shm.segment import Segment, attach, open_owned
from tests.kernel_cache import ROOT
from tests.tools.test_ctl_run import NO_DEMO, changed_config
from tools.run import main

RUN = [sys.executable, str(ROOT / "tools" / "run.py")]
#: Time for kernels to compile on a machine that never did, on top of the run itself.
PATIENCE_S = 280


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in which the run takes place."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(folder: Path) -> Path:
    """Return the shipped configuration without the demo, with a crash one second in."""
    return changed_config(folder, NO_DEMO | {"scenario_start_seconds = 5.0": "scenario_start_seconds = 1.0"})


class Run:
    """One tools/run.py of its own."""

    def __init__(self, folder: Path, instance: str, config: Path, *flags: str) -> None:
        self.instance = instance
        self.summary_path = folder / "summary.json"
        standard = ["--instance", instance, "--config", str(config), "--metrics-port", "0", "--summary", str(self.summary_path)]
        self.process = subprocess.Popen(
            [*RUN, *standard, *flags], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []

    def close(self) -> None:
        """End it at once, and let go of its output."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def wait_for(self, text: str) -> str:
        """Read on until a line holds the text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}:\n" + "\n".join(self.lines))

    def end(self, number: signal.Signals | None = signal.SIGINT) -> int:
        """Have it stop, and return its exit code."""
        if number is not None:
            self.process.send_signal(number)
        output, _ = self.process.communicate()
        self.lines += output.splitlines()
        return self.process.returncode

    def summary(self) -> dict:
        """Return what it wrote."""
        found: dict = json.loads(self.summary_path.read_text(encoding="utf-8"))
        return found

    def descendants(self) -> list[psutil.Process]:
        """Return its processes."""
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def started(folder: Path, instance_name: str, config: Path) -> Iterator[Run]:
    """Return a run of a flash crash at 2,000 ticks/s that is ready; whatever is left of it is killed."""
    run = Run(folder, instance_name, config, "--scenario", "flash-crash", "--rate", "2000")
    try:
        run.wait_for("ready after")
        yield run
    finally:
        run.close()
        run.process.wait()
        assert run.process.stdout is not None
        run.process.stdout.close()
        # Where the test killed the supervisor, or failed.
        Path(f"/dev/shm/stopline-{instance_name}").unlink(missing_ok=True)


def until(condition: Callable[[], object]) -> None:
    """Wait for what must happen; the test's own deadline ends it where it does not."""
    while not condition():
        select.select([], [], [], 0.01)


def ask(segment: Segment, side: int, quantity_lots: int) -> None:
    """Send, as strategy 0, one market order for each of the first six instruments, once all have a price."""
    marks = segment.array("marks", MARK)
    until(marks["bid_ticks"][:6].all)
    requests = ring.open_ring(segment, "requests.strategy0", REQUEST)
    producer = ring.open_producer(segment, requests)
    first = ring.claim(producer, 6)
    for k in range(6):
        slot = requests.slots[(first + k) & (len(requests.slots) - 1)]
        slot["request_id"], slot["instrument"], slot["kind"], slot["order_type"] = first + k + 1, k, SUBMIT, MARKET
        slot["side"], slot["quantity_lots"] = side, quantity_lots
    ring.publish(producer)


def pid_of(segment: Segment, worker: str) -> int:
    """Return the pid that a worker has written into its heartbeat."""
    return int(segment.array(f"{worker}.heartbeat")[heartbeat.PID])


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_run_each_worker_killed_in_turn_comes_back_and_loses_nothing(started: Run) -> None:
    """SIGKILL of every worker in a crash: each is back, no exit is owed or sent twice, and nothing is left."""
    segment = attach(started.instance)
    ask(segment, BUY, 100)
    for worker in topology.WORKERS:
        os.kill(pid_of(segment, worker), signal.SIGKILL)
        started.wait_for(f"{worker} is back after")
        ask(segment, SELL, 50)
    processes = started.descendants()
    assert 0 == started.end(), "\n".join(started.lines)
    summary = started.summary()
    assert {"ingest": 1, "risk": 1, "execution": 1, "sidecar": 1} == summary["restarts"]
    assert summary["ticks"]["received"] > 0
    assert summary["fills"] > 0
    assert 0 == summary["stops"]["owed"]
    assert (True, True, True) == tuple(summary["venue"][key] for key in ("positions_agree", "fills_agree", "order_ids_unique"))
    assert [] == [process for process in processes if process.is_running()]
    assert "Ctrl-C" == summary["stopped_by"]
    assert summary["account"]["totals_agree"]
    logs = started.summary_path.parent / "var" / "log" / started.instance
    for worker in topology.WORKERS:
        # The process that was killed and the one that took its place stand in the same log.
        messages = [message.partition(" after ")[0] for _, message in read_lines((logs / f"{worker}.log").read_text())]
        assert [f"{worker} is ready", f"{worker} is ready", f"{worker} ended with code 0"] == messages
    told = [message for _, message in read_lines((logs / "supervisor.log").read_text())]
    assert 4 == sum("was killed by SIGKILL: restarting it" in message for message in told)


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_run_stopped_worker_is_seen_as_hung_and_replaced(started: Run) -> None:
    """A worker under SIGSTOP shows no exit, and is killed and replaced all the same."""
    segment = attach(started.instance)
    os.kill(pid_of(segment, "risk"), signal.SIGSTOP)
    assert "risk has not moved" in started.wait_for("killing it")
    started.wait_for("risk is back after")
    assert 0 == started.end(signal.SIGTERM), "\n".join(started.lines)
    assert "SIGTERM" == started.summary()["stopped_by"]


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_run_supervisor_killed_takes_all_with_it_and_is_taken_over(started: Run, config: Path, folder: Path) -> None:
    """SIGKILL of the supervisor ends every worker; the next start goes on with the same positions."""
    segment = attach(started.instance)
    ask(segment, BUY, 100)
    view = View(segment)
    until(lambda: view.counters("risk")["fills"] >= 6)
    processes = started.descendants()
    started.process.kill()
    started.process.wait()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert [] == alive
    started.close()
    again = Run(folder, started.instance, config, "--scenario", "flash-crash", "--rate", "2000")
    try:
        again.wait_for("taken over")
        again.wait_for("ready after")
        assert 0 == again.end(), "\n".join(again.lines)
    finally:
        again.close()
    assert again.summary()["fills"] >= 6
    assert again.summary()["taken_over"] is True
    assert 0 < again.summary()["ticks_before"] < again.summary()["ticks"]["received"]
    assert again.summary()["venue"]["positions_agree"] is True


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_run_worker_that_dies_too_often_halts_entries_and_ends_with_code_one(
    folder: Path, instance_name: str, config: Path
) -> None:
    """Past its limit a worker stays down, entries are blocked, and the run says that it was halted."""
    config.write_text(config.read_text(encoding="utf-8").replace("restart_limit = 5", "restart_limit = 0"), encoding="utf-8")
    run = Run(folder, instance_name, config)
    try:
        run.wait_for("ready after")
        segment = attach(instance_name)
        os.kill(pid_of(segment, "sidecar"), signal.SIGKILL)
        assert "ALERT sidecar was killed by SIGKILL" in run.wait_for("HALTED")
        assert 0 == segment.array("supervisor.state")[topology.ENTRIES_ALLOWED]
        assert 1 == run.end()
        assert run.summary()["halted"] is True
    finally:
        run.close()
        run.process.wait()


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the only line that was printed to standard error."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--config", "none.toml"], "cannot read the configuration"),
        (["--replay", "none"], "no such recording (none)"),
        (["--symbols", "AAPL,MSTF"], 'unknown symbol "MSTF" (--symbols): did you mean MSFT?'),
        (["--scenario", "crash"], "feed.simulator.scenario"),
        (["--rate", "0"], "feed.simulator.rate"),
        (["--instance", "Not Good"], "instance.name"),
        (["--duration", "0"], "--duration 0"),
        (["--summary", "none/s.json"], "--summary none/s.json"),
        (["--replay", "none", "--feed", "simulator"], "--replay with --feed simulator"),
        (["--db", "/proc/none/x.duckdb"], "the folder of the database"),
    ],
)
def test_run_wrong_flag_is_one_line_that_names_it(
    flags: list[str], expected: str, folder: Path, instance_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every mistake is told in one line, with exit code 2, before anything is made."""
    assert 2 == main([*([] if "--instance" in flags else ["--instance", instance_name]), "--metrics-port", "0", *flags])
    assert expected in one_error(capsys)


def test_run_unknown_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The parser's own errors look like all others."""
    with pytest.raises(SystemExit) as left:
        main(["--spede", "max"])
    assert 2 == left.value.code
    assert "--spede" in one_error(capsys)


def test_run_metrics_port_in_use_is_refused_before_the_start(
    folder: Path, instance_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port that another process serves is found out while there is nothing to clean up."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert 2 == main(["--instance", instance_name, "--metrics-port", str(port)])
    assert f"(127.0.0.1:{port})" in one_error(capsys)


def test_run_instance_running_already_is_refused(folder: Path, instance_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two supervisors never share an instance, and the first one keeps its file."""
    owned = open_owned(instance_name, [heartbeat.region("risk")])
    try:
        assert 2 == main(["--instance", instance_name, "--metrics-port", "0", "--quiet"])
        assert f"instance '{instance_name}' is already running" in one_error(capsys)
        assert owned.path.exists()
    finally:
        owned.unlink()
        owned.close()


def test_run_cache_folder_not_writable_is_one_line(folder: Path, instance_name: str) -> None:
    """Where compiled kernels cannot be kept, the line says which folder and what would do."""
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = "/proc/none"
    result = subprocess.run(
        [*RUN, "--instance", instance_name], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert 2 == result.returncode
    (line,) = result.stderr.splitlines()
    assert "cache of compiled kernels" in line


def test_run_no_room_in_shared_memory_is_one_line(folder: Path, instance_name: str) -> None:
    """An instance that does not fit is refused with what it needs, and leaves no file."""
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
    code = limit + f"sys.argv[0] = {RUN[1]!r}; sys.path.insert(0, {str(ROOT)!r}); from tools.run import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", code, "--instance", instance_name, "--metrics-port", "0"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 2 == result.returncode
    (line,) = result.stderr.splitlines()
    assert "MiB" in line
    assert "/dev/shm" in line


def test_run_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """All that can be given can be found."""
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    flags = "config feed replay speed scenario symbols rate seed duration instance fresh db metrics-port summary quiet"
    assert [] == [flag for flag in flags.split() if f"--{flag}" not in text]


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S)
def test_run_terminal_that_is_closed_stops_it_in_order_and_leaves_nothing(
    folder: Path, instance_name: str, config: Path
) -> None:
    """A closed window hangs up, and every line written from then on fails: the run ends as on SIGTERM all the same."""
    summary = folder / "s.json"
    ours, theirs = os.openpty()
    command = [*RUN, "--instance", instance_name, "--config", str(config), "--metrics-port", "0", "--summary", str(summary)]
    attach = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", attach, *command],
        cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        shown = b""
        while b"ready after" not in shown:
            shown += os.read(ours, 65536)
        os.close(ours)
        assert 0 == process.wait()
    finally:
        process.kill()
        process.wait()
    assert "SIGHUP" == json.loads(summary.read_text(encoding="utf-8"))["stopped_by"]
