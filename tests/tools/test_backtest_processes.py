"""tools/backtest.py in a process of its own: from any folder, and interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.backtests import on_disk, ticks_of
from tests.kernel_cache import ROOT

TICKS = ticks_of((10 * k, 0, bid, bid + 2) for k, bid in enumerate((1000, 1004, 990, 1010)))
STOPS = "stop_id,symbol,side,kind,percent\n1,S0,long,static,0.5\n"
USUAL = ["rec", "--stops", "stops.csv", "--events", "out.csv"]
#: Its kernels run as plain Python: a few ticks are not worth compiling for.
PLAIN = {**os.environ, "NUMBA_DISABLE_JIT": "1"}

pytestmark = pytest.mark.processes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a recording and a stops file, in which the command runs."""
    on_disk(tmp_path / "rec", TICKS)
    (tmp_path / "stops.csv").write_text(STOPS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [["tools/backtest.py"], ["-m", "tools.backtest"]])
def test_backtest_command_runs_as_script_and_as_module(folder: Path, command: list[str]) -> None:
    """The script runs from any folder, the module from the root."""
    is_script = command[0] != "-m"
    start = [sys.executable, str(ROOT / command[0])] if is_script else [sys.executable, *command]
    arguments = [str(folder / name) if name in ("rec", "stops.csv", "out.csv") else name for name in USUAL]
    done = subprocess.run(
        [*start, *arguments],
        cwd=folder if is_script else ROOT,
        env=PLAIN,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (0, True) == (done.returncode, "1 row in" in done.stdout), done.stderr
    assert "playing rec: 100%" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_backtest_command_interrupted_leaves_nothing(folder: Path, number: signal.Signals, code: int) -> None:
    """A signal in the middle of a run ends it at once, and nothing is written."""
    on_disk(folder / "long", np.tile(TICKS, 50_000))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "backtest.py"), "long", *USUAL[1:], "--quiet"],
        env=PLAIN,
    )
    try:
        # It has begun when it has made its instance, which has no name.
        while "/dev/shm/#" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert process.poll() is None
        process.send_signal(number)
        assert code == process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert {"rec", "stops.csv", "long"} == {path.name for path in folder.iterdir()}
