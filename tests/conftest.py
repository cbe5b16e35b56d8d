"""What all tests share: the cache of kernels, the folder of real recordings, instance names that must leave nothing behind."""

import itertools
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.kernel_cache import ROOT, use_cache_folder

# Before any test module imports numba.
use_cache_folder()

SHARED_MEMORY = Path("/dev/shm")
INSTANCE_PREFIX = "stopline-"

# In the background of a script, or under nohup, these are ignored; what the tests start would inherit that, and hear none.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same examples on every machine and in every run; a failure prints how to repeat it.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    # The first example of a kernel compiles it, which is no fault of the data's.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("explore", parent=settings.get_profile("ci"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_instance_numbers = itertools.count()


def leftovers(instance: str) -> list[Path]:
    """Return what lies in /dev/shm in the name of one instance."""
    prefix = f"{INSTANCE_PREFIX}{instance}"
    return sorted(
        path for path in SHARED_MEMORY.glob(f"{prefix}*") if path.name == prefix or not path.name[len(prefix)].isalnum()
    )


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of real recordings, or skip the test where there is none."""
    given = os.environ.get("STOPLINE_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}: set STOPLINE_DATA to their folder")
    return folder


@pytest.fixture
def instance_name() -> Iterator[str]:
    """Return an instance name of this test alone, and fail the test if its segment is still in /dev/shm afterwards."""
    name = f"test-{os.getpid()}-{next(_instance_numbers)}"
    yield name
    left = leftovers(name)
    for path in left:
        path.unlink()
    assert [] == left, f"the test left {', '.join(map(str, left))} behind"


@pytest.fixture
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of this test alone for control sockets, and the only place where it looks for any.

    Its path is short, as a socket's must be.
    """
    with tempfile.TemporaryDirectory(prefix="stopline-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        for place in ("EVERYONES", "LOGINS"):
            monkeypatch.setattr(f"pipeline.control_path.{place}", Path(folder) / place)
        yield Path(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the real recordings as `data`, so that no test forgets it."""
    for item in items:
        if "data_folder" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
