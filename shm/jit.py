"""The `njit` of the project: numba's, with the options that every kernel here needs.

`nogil` so that a kernel starves no other thread, `cache` so that only the first start compiles, `error_model="numpy"` so
that no division carries a hidden exception, `_nrt=False` so that no array is reference counted: a kernel owns none of the
arrays that it is given, and the atomic counting was four fifths of the cost of a commit (340 ns against 66). numba then
refuses to compile a kernel that allocates, which none may.

The cache folder is keyed by a hash of all kernel sources: numba checks only the file of the compiled function itself, and
would keep stale code when a kernel it calls has changed elsewhere.

Several processes may compile into one folder at once. numba numbers the files of one function's overloads, and two processes
can give one number to two of them: each then loads the other's code and crashes (numba issue 4807). Here a file's name holds
who wrote it as well, so that the worst that a race can do is that something is compiled again.
"""

import hashlib
import os
import uuid
from pathlib import Path

import numba
from numba.core import caching

ROOT = Path(__file__).resolve().parent.parent
KERNEL_PACKAGES = ("shm", "pipeline")


def source_hash() -> str:
    """Hash the names and contents of all sources that can hold kernels, with numba's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for package in KERNEL_PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return the folder of the compiled kernels of these very sources, below NUMBA_CACHE_DIR where that is set."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given) / source_hash()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "stopline" / source_hash()


def _use_cache_folder() -> None:
    """Point numba at the folder, mode 0700: what lies there is unpickled, so nobody else may write it."""
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    numba.config.CACHE_DIR = str(folder)


class OwnDataFiles(caching.IndexDataCacheFile):
    """The files of one cached function, those that this process writes under names that no other process gives."""

    def __init__(self, cache_path: str, filename_base: str, source_stamp: object) -> None:
        super().__init__(cache_path, filename_base, source_stamp)
        self._data_name_pattern = f"{filename_base}.{{number:d}}-{uuid.uuid4().hex[:12]}.nbc"


_use_cache_folder()
caching.IndexDataCacheFile = OwnDataFiles

_OPTIONS: dict[str, object] = {"nogil": True, "cache": True, "error_model": "numpy"}

#: For kernels that Python calls. `_nrt=False`: kernels only borrow arrays, so numba need not count references to them, which
#: costs compile time and run time for every array of a stage's state.
njit = numba.njit(**_OPTIONS, _nrt=False, no_cfunc_wrapper=True)
#: For kernels that only kernels call: without the wrapper that would unpack their arguments from Python, most of which is
#: the compile time of a small kernel with a large state.
njit_inner = numba.njit(**_OPTIONS, _nrt=False, no_cfunc_wrapper=True, no_cpython_wrapper=True)
#: For the short kernels that others call on their hot way, where a call would pass some thirty words of array headers.
njit_inline = numba.njit(**_OPTIONS, _nrt=False, no_cfunc_wrapper=True, forceinline=True)
#: The same for the parts of a stage's step, which only kernels call: a call would copy some three kilobytes of array headers,
#: more than a turn of the loop costs otherwise (an idle step of risk took 1.7 µs, most of it that).
njit_merged = numba.njit(**_OPTIONS, _nrt=False, no_cfunc_wrapper=True, no_cpython_wrapper=True, forceinline=True)
JIT_ENABLED = not numba.config.DISABLE_JIT
