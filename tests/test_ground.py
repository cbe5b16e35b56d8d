"""What the other tests stand on: the modes, the cache of kernels, the fixtures, and the check that CI makes of a run."""

import copy
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from shm.jit import JIT_ENABLED, njit
from tests.conftest import leftovers
from tests.kernel_cache import ROOT, cache_key, use_cache_folder

SUMMARY: dict[str, Any] = {
    "ticks": {"received": 100, "accepted": 90, "rejected": {"crossed": 4, "not_positive": 1}, "conflated": 5},
    "stops": {"armed": 3, "triggered": 1, "owed": 0},
    "restarts": {"ingest": 0, "risk": 0},
}

LEAVING = """
import subprocess, sys

def test_leaves(instance_name):
    path = f"/dev/shm/stopline-{instance_name}"
    subprocess.run([sys.executable, "-c", f"open({path!r}, 'w').write('x')"], check=True)
    print("LEFT", path)
"""


@njit
def add_one(number):
    """Return the number plus one."""
    return number + 1


def load_check() -> Any:
    """Load .ci/check_summary.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("check_summary", ROOT / ".ci" / "check_summary.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.jitless
def test_kernel_in_each_mode_is_compiled_or_plain() -> None:
    """A kernel is plain Python when NUMBA_DISABLE_JIT is set, compiled otherwise, and gives the same."""
    disabled = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    assert disabled == (not JIT_ENABLED)
    assert disabled == (not hasattr(add_one, "signatures"))
    assert 8 == add_one(7)


def test_bounds_checks_when_asked_for_are_on() -> None:
    """NUMBA_BOUNDSCHECK reaches numba, whose kernels here are kept in the folder of this run."""
    asked = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")
    assert asked == bool(numba.config.BOUNDSCHECK)
    assert Path(os.environ["NUMBA_CACHE_DIR"]) == Path(numba.config.CACHE_DIR).parent


def test_cache_key_after_change_of_a_kernel_source_differs(tmp_path: Path) -> None:
    """The folder of compiled kernels is new for other sources and for the other mode, and the same for the same."""
    for package in ("shm", "pipeline", "tests"):
        (tmp_path / package).mkdir()
    kernel = tmp_path / "pipeline" / "stops.py"
    kernel.write_text("LEVEL = 1\n")
    first = cache_key(tmp_path, bounds_checked=False)
    assert first == cache_key(tmp_path, bounds_checked=False)
    assert first.removeprefix("plain") == cache_key(tmp_path, bounds_checked=True).removeprefix("bounds")
    kernel.write_text("LEVEL = 2\n")
    second = cache_key(tmp_path, bounds_checked=False)
    assert first != second
    (tmp_path / "tests" / "oracle.py").write_text("from shm.jit import njit\n")
    assert second != cache_key(tmp_path, bounds_checked=False)


def test_cache_folder_of_many_sources_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old folders of the same mode are dropped, the current one is private and kept."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("NUMBA_BOUNDSCHECK", raising=False)
    (tmp_path / ".venv").mkdir()
    (tmp_path / "shm").mkdir()
    folders = []
    for number in range(5):
        (tmp_path / "shm" / "ring.py").write_text(f"NUMBER = {number}\n")
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        folders.append(use_cache_folder(tmp_path))
        os.utime(folders[-1], ns=(number, number))
    assert str(folders[-1]) == os.environ["NUMBA_CACHE_DIR"]
    assert 0o700 == folders[-1].stat().st_mode & 0o777
    assert set(folders[2:]) == set(folders[-1].parent.iterdir())


@pytest.mark.processes
def test_segment_left_by_a_process_fails_its_test(tmp_path: Path) -> None:
    """A test whose child leaves a segment of its instance in /dev/shm fails, and the segment is gone."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_leaving.py").write_text(LEAVING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    path = next(Path(line.split()[-1]) for line in done.stdout.splitlines() if "LEFT" in line)
    assert not path.exists()
    assert f"the test left {path} behind" in done.stdout
    assert "1 passed, 1 error" in done.stdout


def test_leftovers_of_one_instance_leave_others_out(instance_name: str) -> None:
    """Only the segment of that very instance, and what carries its name and a suffix, is counted."""
    own, with_suffix, other = (Path(f"/dev/shm/stopline-{instance_name}{end}") for end in ("", ".lock", "0"))
    try:
        for path in (own, with_suffix, other):
            path.write_bytes(b"")
        assert [own, with_suffix] == leftovers(instance_name)
    finally:
        for path in (own, with_suffix, other):
            path.unlink()


def test_summary_that_adds_up_has_no_problem() -> None:
    """A summary whose ticks are accounted for, with nothing owed and no restart, is right."""
    assert [] == load_check().summary_problems(SUMMARY)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s["ticks"].update(conflated=4), "ticks.received"),
        (lambda s: s["ticks"].update(received=0, accepted=0, rejected={}, conflated=0), "ticks.received"),
        (lambda s: s["stops"].update(owed=1), "stops.owed"),
        (lambda s: s["restarts"].update(risk=2), "restarts.risk"),
    ],
)
def test_summary_that_is_wrong_names_the_number(change: Callable[[dict[str, Any]], None], told: str) -> None:
    """Each number that cannot be right is named."""
    summary = copy.deepcopy(SUMMARY)
    change(summary)
    problems = load_check().summary_problems(summary)
    assert 1 == len(problems)
    assert problems[0].startswith(told)
