"""Where the tests keep compiled kernels, so that no test ever runs stale or unchecked code.

numba's own index knows neither the sources of the kernels that a kernel calls nor NUMBA_BOUNDSCHECK. So the folder's name
says both, and is new whenever a source that can hold kernels changes. Set before numba is imported; child processes inherit it.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Older folders are deleted, but for the newest few: another run of the tests may still be at work in one.
KEPT_COUNT = 3


def kernel_sources(root: Path) -> Iterator[Path]:
    """Yield every source that can hold kernels: all of shm and pipeline, and where tests, benches and tools use njit."""
    for package in ("shm", "pipeline"):
        yield from sorted((root / package).rglob("*.py"))
    for package in ("tests", "bench", "tools"):
        yield from (path for path in sorted((root / package).rglob("*.py")) if b"njit" in path.read_bytes())


def cache_key(root: Path, bounds_checked: bool) -> str:
    """Name the folder for these sources, this numba and this mode."""
    digest = hashlib.sha256(version("numba").encode())
    for path in kernel_sources(root):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return f"{'bounds' if bounds_checked else 'plain'}-{digest.hexdigest()[:16]}"


def use_cache_folder(root: Path = ROOT) -> Path:
    """Set NUMBA_CACHE_DIR for this run and its children, unless it is set already, and drop the oldest folders."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given)
    bounds_checked = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")
    venv = root / ".venv"
    base = venv if venv.is_dir() else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stopline"
    folder = base / "numba-tests" / cache_key(root, bounds_checked)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.utime(folder)
    mode = folder.name.split("-")[0]
    ours = sorted(folder.parent.glob(f"{mode}-*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in ours[KEPT_COUNT:]:
        shutil.rmtree(old, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


if __name__ == "__main__":
    print(use_cache_folder())
