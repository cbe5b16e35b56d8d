"""Where compiled kernels are kept: a folder for these very sources, of this user alone."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash_points import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the sources."""
    for package in ("shm", "pipeline"):
        shutil.copytree(ROOT / package, tmp_path / "tree" / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "tree"


def folder_of(tree: Path, **environment: str) -> Path:
    """Return the cache folder that a process in this tree uses, which it has made."""
    given = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    program = "import numba, shm.jit; print(numba.config.CACHE_DIR)"
    return Path(
        subprocess.run(
            [sys.executable, "-c", program], cwd=tree, env=given | environment, capture_output=True, text=True, check=True
        ).stdout.strip()
    )


@pytest.mark.processes
def test_cache_folder_changes_with_any_source_and_only_then(tree: Path, tmp_path: Path) -> None:
    """A kernel in another file changes the folder; the same sources find it again."""
    cache = str(tmp_path / "cache")
    first = folder_of(tree, XDG_CACHE_HOME=cache)
    assert first == folder_of(tree, XDG_CACHE_HOME=cache)
    with (tree / "pipeline" / "messages.py").open("a") as file:
        file.write("# another line\n")
    second = folder_of(tree, XDG_CACHE_HOME=cache)
    (tree / "shm" / "extra.py").write_text("")
    third = folder_of(tree, XDG_CACHE_HOME=cache)
    assert 3 == len({first, second, third})
    assert {Path(cache) / "stopline"} == {first.parent, second.parent, third.parent}


@pytest.mark.processes
def test_cache_folder_is_of_its_owner_alone(tree: Path, tmp_path: Path) -> None:
    """What lies there is unpickled: nobody else may write it, whatever the umask."""
    previous = os.umask(0)
    try:
        folder = folder_of(tree, XDG_CACHE_HOME=str(tmp_path / "cache"))
    finally:
        os.umask(previous)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


@pytest.mark.processes
def test_cache_folder_given_by_the_environment_holds_one_for_each_sources(tree: Path, tmp_path: Path) -> None:
    """NUMBA_CACHE_DIR says where, but never brings kernels of other sources back."""
    mine = str(tmp_path / "mine")
    first = folder_of(tree, NUMBA_CACHE_DIR=mine)
    (tree / "shm" / "extra.py").write_text("")
    second = folder_of(tree, NUMBA_CACHE_DIR=mine)
    assert first != second
    assert {tmp_path / "mine"} == {first.parent, second.parent}


@pytest.mark.processes
def test_cache_folder_written_by_two_processes_at_once_gives_each_its_own_code(tree: Path, tmp_path: Path) -> None:
    """Overloads of one kernel that two processes compile at the same time are never mixed up."""
    (tree / "pipeline" / "twice.py").write_text("from shm.jit import njit\n\n\n@njit\ndef twice(x):\n    return x + x\n")
    program = "import sys; from pipeline.twice import twice; print(twice({}))"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "mine"), "NUMBA_DISABLE_JIT": "0"}
    arguments = ("3", "2.5", "True", "1j")

    def start(argument: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program.format(argument)]
        return subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True)

    for _ in range(2):
        running = [start(argument) for argument in arguments]
        assert ["6", "5.0", "2", "2j"] == [process.communicate()[0].strip() for process in running]
