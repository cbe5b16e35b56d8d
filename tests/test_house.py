"""The rules of the house hold on the tree, and each of them catches a planted break."""

import re
import tomllib
from collections.abc import Callable

import pytest

from tests import house, house_kernels
from tests.house import Source
from tests.kernel_cache import ROOT

SOURCES = house.read_tree(ROOT)
RECORD_FIELDS = house_kernels.record_fields(SOURCES) - house_kernels.tuple_fields(SOURCES)


def check_record_access(source: Source) -> list[str]:
    """Apply the rule with the fields of this tree."""
    return house_kernels.check_record_access(source, RECORD_FIELDS)


BARE_KERNELS = house_kernels.bare_kernels(SOURCES)


def check_bare_calls(source: Source) -> list[str]:
    """Apply the rule with the kernels of this tree."""
    return house_kernels.check_bare_calls(source, BARE_KERNELS)


RULES: list[Callable[[Source], list[str]]] = [
    house.check_reserved_imports,
    house.check_layers,
    house.check_sizes,
    house.check_file_name,
    house.check_unfinished,
    house.check_excepts,
    house.check_tests,
    house_kernels.check_kernel_bodies,
    house_kernels.check_njit_origin,
    house_kernels.check_docstrings,
    house_kernels.check_annotations,
    check_record_access,
    check_bare_calls,
]

KERNEL = "from shm.jit import njit\n\n\n@njit\ndef {}:\n    "
TEST = 'def test_ring_full_refuses():\n    "{}"\n    {}\n'

#: Rule, path, source with one break, line of the break.
PLANTED = [
    (house.check_reserved_imports, "tools/top.py", "import duckdb\n", 1),
    (house.check_reserved_imports, "pipeline/risk/worker.py", "from prometheus_client import Counter\n", 1),
    (house.check_reserved_imports, "pipeline/client.py", "from pipeline import supervisor\n", 1),
    (house.check_reserved_imports, "pipeline/risk/worker.py", "import os\nfrom .. import supervisor\n", 2),
    (house.check_reserved_imports, "shm/ring.py", "import tools.run\n", 1),
    (house.check_reserved_imports, "pipeline/worker.py", "from tests.oracle import stops\n", 1),
    (house.check_reserved_imports, "bench/ring.py", "from multiprocessing import shared_memory\n", 1),
    (house.check_layers, "shm/ring.py", "import psutil\n", 1),
    (house.check_layers, "shm/ring.py", "from pipeline.messages import TICK\n", 1),
    (house.check_layers, "pipeline/messages.py", "from shm.ring import Ring\n", 1),
    (house.check_layers, "pipeline/risk/worker.py", "from pipeline.ingest.hygiene import accept\n", 1),
    (house.check_sizes, "shm/ring.py", "a = 1\n" * 401, 401),
    (house.check_sizes, "shm/ring.py", "def publish():\n" + "    a = 1\n" * 70, 1),
    (house.check_file_name, "shm/ring_utils.py", "", 1),
    (house.check_file_name, "pipeline/common/ring.py", "", 1),
    (house.check_unfinished, "shm/ring.py", "a = 1\n# TO" + "DO: more\n", 2),
    (house.check_excepts, "tools/run.py", "try:\n    a = 1\nexcept:\n    raise\n", 3),
    (house.check_excepts, "tools/run.py", "try:\n    a = 1\nexcept Exception:\n    pass\n", 3),
    (house.check_tests, "tests/test_ring.py", TEST.format("", "assert 1 == len('a')"), 1),
    (house.check_tests, "tests/test_ring.py", TEST.format("A full ring refuses", "assert 1 == len('a')"), 1),
    (house.check_tests, "tests/test_ring.py", TEST.format("A ring. It refuses.", "assert 1 == len('a')"), 1),
    (house.check_tests, "tests/test_ring.py", TEST.format("A full ring refuses.", "len('a')"), 1),
    (house.check_tests, "tests/test_ring.py", 'def test_ring():\n    "A ring holds."\n    assert 1 == len("a")\n', 1),
    (house.check_tests, "tests/oracle.py", "import time\ntime.sleep(1)\n", 2),
    (house.check_tests, "tests/oracle.py", "from time import sleep\n", 1),
    (house.check_tests, "tests/oracle.py", "import numpy as np\nrng = np.random.default_rng()\n", 2),
    (house_kernels.check_kernel_bodies, "shm/ring.py", KERNEL.format("_a(b, c, d, e, f, g, h, i)") + "return b\n", 5),
    (house_kernels.check_kernel_bodies, "shm/ring.py", KERNEL.format("_a(b)") + "raise ValueError\n", 6),
    (house_kernels.check_kernel_bodies, "shm/ring.py", KERNEL.format("_a(b)") + "try: b()\n    finally: b()\n", 6),
    (house_kernels.check_kernel_bodies, "shm/ring.py", KERNEL.format("claim(b)") + "return b\n", 5),
    (house_kernels.check_kernel_bodies, "shm/ring.py", "def _a(b):\n    raise ValueError\n\n\na = njit(_a)\n", 2),
    (house_kernels.check_kernel_bodies, "shm/ring.py", "@njit_inner\ndef _a(b):\n    raise ValueError\n", 3),
    (house_kernels.check_njit_origin, "shm/ring.py", "from numba import njit\n", 1),
    (house_kernels.check_njit_origin, "bench/ring.py", "import numba\n\nhop = numba.njit(len)\n", 3),
    (house_kernels.check_docstrings, "shm/ring.py", "a = 1\n", 1),
    (house_kernels.check_docstrings, "pipeline/client.py", '"A client."\n\n\nclass Client:\n    pass\n', 4),
    (house_kernels.check_annotations, "tools/run.py", "def main(arguments) -> int:\n    return 0\n", 1),
    (house_kernels.check_annotations, "shm/ring.py", "class Ring:\n    def read(self):\n        return 0\n", 2),
    (
        house_kernels.check_annotations,
        "bench/ring.py",
        "def _hop() -> int:\n    return 0\n\n\ndef _rate(*counts):\n    return 0\n",
        5,
    ),
    (check_record_access, "pipeline/risk/stops.py", KERNEL.format("_a(tick)") + "return tick.event_ns\n", 6),
    (check_bare_calls, "tests/desk.py", "from pipeline.risk.step import step\n\nstep(1, 2, 3)\n", 3),
]

#: Rule, path, source that is right although it looks like a break.
RIGHT = [
    (house.check_reserved_imports, "pipeline/sidecar/store.py", "import duckdb\n"),
    (house.check_reserved_imports, "tools/run.py", "from pipeline.supervisor import Supervisor\nfrom tools import top\n"),
    (house.check_layers, "shm/ring.py", "import os\nimport numpy as np\nfrom shm.layout import LINE\n"),
    (house.check_layers, "pipeline/risk/worker.py", "from pipeline.risk.stops import step\nfrom .checks import check\n"),
    (house.check_unfinished, "shm/ring.py", "a = 'TO" + "DO'\n"),
    (house.check_excepts, "tools/run.py", "try:\n    a = 1\nexcept FileNotFoundError:\n    pass\n"),
    (house.check_tests, "tests/test_ring.py", TEST.format("A full ring refuses.", "with pytest.raises(OSError): len('a')")),
    (house.check_tests, "tests/oracle.py", "import numpy as np\nrng = np.random.default_rng(7)\n"),
    (house_kernels.check_kernel_bodies, "shm/ring.py", "def open_ring():\n    raise OSError\n"),
    (house_kernels.check_annotations, "shm/ring.py", "@njit\ndef claim(ring):\n    return ring\n"),
    (house_kernels.check_annotations, "shm/ring.py", "def claim(ring):\n    return ring\n\n\nfast = njit(claim)\n"),
    (check_record_access, "pipeline/risk/stops.py", KERNEL.format("_a(tick)") + 'return tick["event_ns"], tick.shape\n'),
    (check_bare_calls, "tests/desk.py", "from pipeline.risk.step import one_step as step\n\nstep(1, 2, 3)\n"),
    (
        check_bare_calls,
        "pipeline/backtest/lockstep.py",
        "from pipeline.risk.step import step\n" + KERNEL.format("a(b)") + "return step(b, 1, b)\n",
    ),
]


def name_of(value: object) -> str | None:
    """Name a parameter in the test's id by its rule or its path."""
    return getattr(value, "__name__", None) or (value if isinstance(value, str) and value.endswith(".py") else "")


@pytest.mark.parametrize("rule", [*RULES, house.check_kernel_imports], ids=name_of)
def test_tree_under_each_rule_has_no_break(rule: Callable) -> None:
    """The whole tree keeps the rule."""
    problems = rule(SOURCES) if rule is house.check_kernel_imports else [p for source in SOURCES for p in rule(source)]
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize(("rule", "path", "text", "line"), PLANTED, ids=name_of)
def test_rule_with_planted_break_names_file_and_line(rule: Callable, path: str, text: str, line: int) -> None:
    """A planted break is reported once, at its file and line, with what to do."""
    problems = rule(Source(path, text))
    assert 1 == len(problems), problems
    assert problems[0].startswith(f"{path}:{line}: ")
    assert re.search(r"[:,] \S", problems[0].removeprefix(f"{path}:{line}: "))


@pytest.mark.parametrize(("rule", "path", "text"), RIGHT, ids=name_of)
def test_rule_with_right_source_reports_nothing(rule: Callable, path: str, text: str) -> None:
    """What only looks like a break is left alone."""
    assert [] == rule(Source(path, text))


def test_rules_without_planted_break_do_not_exist() -> None:
    """Every rule over one file has a planted break, so that none is one that cannot fail."""
    assert set(RULES) == {rule for rule, *_ in PLANTED}


def test_kernel_imports_through_own_stage_are_followed() -> None:
    """A kernel file may use a file of its stage, which is then held to the same rule."""
    stops = Source("pipeline/risk/stops.py", "from pipeline.risk.levels import level\n")
    levels = Source("pipeline/risk/levels.py", "import numpy as np\nimport logging\n")
    worker = Source("pipeline/risk/worker.py", "import logging\n")
    problems = house.check_kernel_imports([stops, levels, worker])
    assert 1 == len(problems)
    assert problems[0].startswith("pipeline/risk/levels.py:2: imports logging:")


def test_kernel_imports_of_configuration_are_reported() -> None:
    """A kernel file that reads the configuration is a break."""
    hygiene = Source("pipeline/ingest/hygiene.py", "from pipeline.config import Config\nfrom pipeline.messages import TICK\n")
    config = Source("pipeline/config.py", "")
    assert 1 == len(house.check_kernel_imports([hygiene, config]))


def test_record_fields_of_dtypes_and_tuples_are_told_apart() -> None:
    """Fields are collected from dtypes, and those of NamedTuples, read as attributes, from classes."""
    source = Source("shm/rows.py", 'ROW = np.dtype([("seq", "i8")])\n\n\nclass Rows(NamedTuple):\n    commit: int\n')
    assert {"seq"} == house_kernels.record_fields([source])
    assert {"commit"} == house_kernels.tuple_fields([source])
    assert {"event_ns", "price_ticks"} <= house_kernels.record_fields(SOURCES)


def test_files_other_than_python_hold_no_unfinished_work() -> None:
    """Texts, settings and scripts at the root hold no note of work left for later."""
    names = ["Makefile", "pyproject.toml", "config.toml", "README.md", ".ci/run", "tools/setup.sh"]
    texts = {name: (ROOT / name).read_text() for name in names if (ROOT / name).exists()}
    found = [(name, match[0]) for name, text in texts.items() for match in house.UNFINISHED.finditer(text)]
    assert [] == found


def test_lock_for_each_named_dependency_has_one_hashed_pin() -> None:
    """Every package that pyproject.toml names is pinned once, every pin has a hash, and no address is in the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for group in project["optional-dependencies"].values() for line in group)]
    lock = (ROOT / "requirements.lock").read_text()
    entries = [entry for entry in re.split(r"^(?=[a-z])", lock, flags=re.MULTILINE) if "==" in entry]
    names = [entry.partition("==")[0] for entry in entries]
    assert sorted(set(names)) == sorted(names)
    assert {re.split(r"[>=<;\s]", line)[0] for line in wanted} <= set(names)
    assert [] == [entry for entry in entries if "--hash=sha256:" not in entry]
    assert "://" not in lock
