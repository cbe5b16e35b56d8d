"""What the supervisor knows of a process: its exit, its last words; and whether kernels must be compiled."""

import os
import select
import signal
from pathlib import Path

import pytest

from pipeline.child import Child, ending
from pipeline.config import load_config, with_overrides
from pipeline.errors import LaunchError
from pipeline.launch import Launch, plan
from pipeline.warm import marker


def start(name: str, module: str, arguments: list[str], folder: Path, talks: bool = False) -> Child:
    """Start a module of the standard library as a child."""
    return Child(name, module, arguments, folder / f"{name}.log", talks)


def launch(folder: Path, **overrides: object) -> Launch:
    """Plan a start of the shipped configuration in a folder of its own."""
    values = {"sidecar.metrics_port": 0, "sidecar.database": str(folder / "x.duckdb")} | overrides
    return plan(with_overrides(load_config(), values))


def test_child_that_exits_shows_it_on_its_pidfd(tmp_path: Path) -> None:
    """An exit is seen by waiting on a descriptor, and its code is known."""
    child = start("clock", "timeit", ["-n", "1", "-r", "1", "pass"], tmp_path)
    assert select.select([child.pidfd], [], [], 60)[0]
    assert 0 == child.reap()
    assert "loop" in child.last_words()


def test_child_in_a_session_of_its_own_is_out_of_reach_of_the_terminal(tmp_path: Path) -> None:
    """Ctrl-C reaches the foreground group, to which no child belongs."""
    child = start("reader", "json.tool", [], tmp_path, talks=True)
    try:
        assert child.pid == os.getpgid(child.pid)
        assert os.getpgid(0) != os.getpgid(child.pid)
    finally:
        child.kill()
        assert -signal.SIGKILL == child.reap()


def test_child_that_is_gone_takes_signals_and_orders_without_a_fault(tmp_path: Path) -> None:
    """A process may die between two of our steps."""
    child = start("gone", "no_such_module", [], tmp_path, talks=True)
    select.select([child.pidfd], [], [], 60)
    child.kill()
    child.say("an order that nobody reads")
    assert 1 == child.reap()
    assert "No module named no_such_module" in child.last_words()


def test_child_last_words_prefer_an_error_to_what_follows_it(tmp_path: Path) -> None:
    """What a library prints while the process ends does not hide why it ended."""
    child = start("quiet", "timeit", ["-n", "1", "pass"], tmp_path)
    child.reap()
    child.log.write_text("error: port in use (x): choose another\nnoise of some library\n\n")
    assert "port in use (x): choose another" == child.last_words()
    child.log.write_text("")
    assert "it said nothing" == child.last_words()


@pytest.mark.parametrize(
    ("code", "expected"), [(0, "exited with code 0"), (-9, "was killed by SIGKILL"), (-77, "was killed by signal 77")]
)
def test_ending_of_each_kind_is_told_in_words(code: int, expected: str) -> None:
    """People know signals by their names."""
    assert expected == ending(code)


def test_marker_of_other_kernel_types_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More strategy slots make other kernels; longer rings and another feed do not: both feeds are compiled at once."""
    monkeypatch.chdir(tmp_path)
    usual = marker(launch(tmp_path).about())
    assert usual == marker(launch(tmp_path, **{"rings.ticks": 1024}).about())
    replay = launch(tmp_path).about()
    replay["config"]["feed"]["kind"] = "replay"
    assert usual == marker(replay)
    assert usual != marker(launch(tmp_path, **{"strategies.slots": 2}).about())


def test_plan_any_port_chooses_one_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted sidecar must be found where the first one was."""
    monkeypatch.chdir(tmp_path)
    planned = launch(tmp_path)
    assert 0 < planned.config.sidecar.metrics_port
    assert planned.metrics_url == f"http://127.0.0.1:{planned.config.sidecar.metrics_port}/metrics"


def test_plan_address_of_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that this machine does not have cannot be served."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaunchError, match=r"192\.0\.2\.1:9999"):
        launch(tmp_path, **{"sidecar.metrics_host": "192.0.2.1", "sidecar.metrics_port": 9999})
