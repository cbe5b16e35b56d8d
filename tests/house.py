"""The rules of the house (DESIGN section 2, STYLE) as functions over sources: each returns one line for every break.

A line names file:line, what is there, and what to do about it. tests/test_house.py runs them over the tree, and over small
sources with a planted break, so that no rule is one that cannot fail. The rules of kernels are in tests/house_kernels.py.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

FOLDERS = ("shm", "pipeline", "tools", "bench", "tests", ".ci")
STAGES = ("ingest", "risk", "execution", "sidecar")
FILE_LINE_LIMIT = 400
FUNCTION_LINE_LIMIT = 70
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
# In pieces, so that this file passes its own rule.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")

#: Kernel files by name (DESIGN section 2); what they import from their own stage is held to the same rule.
KERNEL_FILES = {"stops", "atr", "positions", "checks", "breaker", "hygiene", "orders", "paper", "step"}
# tables and topology are messages' like: dtypes, numbers and names, and no more.
KERNEL_MAY_IMPORT = (
    "numpy", "numba", "shm", "pipeline.messages", "pipeline.order_ids", "pipeline.order_index", "pipeline.tables",
    "pipeline.topology",
    "typing", "math", "collections", "dataclasses", "enum", "__future__",
)  # fmt: skip
SHM_MAY_IMPORT = {"numpy", "numba", "llvmlite", "shm"} | set(sys.stdlib_module_names)
#: Who alone may import what: module, folders or files that may, what to do instead.
RESERVED = (
    ("duckdb", ("pipeline/sidecar/", "tests/"), "leave it to the sidecar"),
    ("prometheus_client", ("pipeline/sidecar/", "tests/"), "leave it to the sidecar"),
    ("pipeline.supervisor", ("pipeline/supervisor", "tools/", "bench/", "tests/"), "only commands start the supervisor"),
    ("tools", ("tools/", "tests/"), "move what is shared to pipeline or shm"),
    ("bench", ("bench/", "tests/"), "move what is shared to pipeline or shm"),
    ("tests", ("tests/",), "move what is shared out of tests"),
    ("multiprocessing.shared_memory", (), "use shm.segment: its resource tracker unlinks live segments"),
)


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        """Dotted name of the module; of the package for an __init__.py."""
        return ".".join(PurePosixPath(self.path).with_suffix("").parts).removesuffix(".__init__")

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """All functions and methods, nested ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    def within(self, *folders: str) -> bool:
        """Tell whether the file lies in one of the folders at the root."""
        return self.path.split("/")[0] in folders

    def problem(self, line: int, what: str) -> str:
        """One line about this file."""
        return f"{self.path}:{line}: {what}"


def read_tree(root: Path) -> list[Source]:
    """Read every Python file of the house, in order of path."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    return [Source(path.relative_to(root).as_posix(), path.read_text()) for path in paths]


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of each import; `from a import b` yields a.b, and relative ones are resolved."""
    package = source.module if source.path.endswith("__init__.py") else source.module.rpartition(".")[0]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def is_in(module: str, package: str) -> bool:
    """Tell whether a dotted name is the package or lies in it."""
    return module == package or module.startswith(package + ".")


def check_reserved_imports(source: Source) -> list[str]:
    """Some modules have few who may import them (DESIGN section 2)."""
    return [
        source.problem(line, f"imports {name}: {remedy}")
        for line, name in imports(source)
        for module, allowed, remedy in RESERVED
        if is_in(name, module) and not source.path.startswith(allowed or ("\0",))
    ]


def check_layers(source: Source) -> list[str]:
    """Mechanism knows nothing of trading, messages only of layout, and a stage of no other stage."""
    parts = source.path.split("/")
    problems = []
    for line, name in imports(source):
        if parts[0] == "shm" and name.split(".")[0] not in SHM_MAY_IMPORT:
            problems.append(source.problem(line, f"imports {name}: shm imports the standard library, numpy and numba only"))
        if source.path == "pipeline/messages.py" and not (is_in(name, "numpy") or is_in(name, "shm.layout")):
            problems.append(source.problem(line, f"imports {name}: messages imports numpy and shm.layout only"))
        if parts[0] == "pipeline" and parts[1] in STAGES:
            others = [stage for stage in STAGES if stage != parts[1] and is_in(name, f"pipeline.{stage}")]
            remedy = "stages meet in messages and topology"
            problems += [source.problem(line, f"imports stage {other}: {remedy}") for other in others]
    return problems


def check_kernel_imports(sources: Iterable[Source]) -> list[str]:
    """Kernel files, and what they import of their own stage, import no configuration, logging or I/O."""
    by_module = {source.module: source for source in sources}
    stages = tuple(f"pipeline.{stage}." for stage in STAGES)
    waiting = [s for m, s in by_module.items() if m.startswith(stages) and m.rpartition(".")[2] in KERNEL_FILES]
    seen = {source.module for source in waiting}
    problems = []
    while waiting:
        source = waiting.pop(0)
        stage = ".".join(source.module.split(".")[:2])
        for line, name in imports(source):
            if any(is_in(name, allowed) for allowed in KERNEL_MAY_IMPORT):
                continue
            module = name if name in by_module else name.rpartition(".")[0]
            if not (module in by_module and is_in(module, stage)):
                remedy = "a kernel file imports numpy, numba, messages and shm; pass the rest in as a NamedTuple"
                problems.append(source.problem(line, f"imports {name}: {remedy}"))
            elif module not in seen:
                seen.add(module)
                waiting.append(by_module[module])
    return problems


def check_sizes(source: Source) -> list[str]:
    """Files and functions fit a head."""
    count = len(source.text.splitlines())
    problems = []
    if count > FILE_LINE_LIMIT:
        problems.append(source.problem(count, f"{count} lines: split the file, {FILE_LINE_LIMIT} at most"))
    for node in source.functions:
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > FUNCTION_LINE_LIMIT:
            problems.append(
                source.problem(node.lineno, f"{node.name} has {length} lines: split it, {FUNCTION_LINE_LIMIT} at most")
            )
    return problems


def check_file_name(source: Source) -> list[str]:
    """A name says what is inside."""
    words = {word for part in PurePosixPath(source.path).with_suffix("").parts for word in part.split("_")}
    return [source.problem(1, f"'{word}' in a name says nothing: name what is inside") for word in sorted(words & VAGUE_NAMES)]


def check_unfinished(source: Source) -> list[str]:
    """Work left for later is an issue, no comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source.text).readline)
    found = [(token.start[0], UNFINISHED.search(token.string)) for token in tokens if token.type == tokenize.COMMENT]
    return [source.problem(line, f"{match[0]} in a comment: finish it or open an issue") for line, match in found if match]


def check_excepts(source: Source) -> list[str]:
    """An error is handled or passes on; it is never dropped unseen."""
    problems = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            wide = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            if node.type is None:
                problems.append(source.problem(node.lineno, "bare except: name the exceptions"))
            elif wide and all(isinstance(statement, ast.Pass) for statement in node.body):
                problems.append(source.problem(node.lineno, "every exception is dropped: name those that may be, and say why"))
    return problems


def seedless_calls(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the calls that draw from an unseeded generator."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            name = ast.unparse(node.func)
            if name.rpartition(".")[2] in ("default_rng", "Random") or name.startswith("random."):
                yield node.lineno, name


def check_tests(source: Source) -> list[str]:
    """A test says in its name and one sentence what must hold, asserts it, repeats, and sleeps for nothing."""
    if not source.within("tests"):
        return []
    problems = [source.problem(line, f"{name}() without a seed: give one") for line, name in seedless_calls(source)]
    for line, name in imports(source):
        if name == "time.sleep":
            problems.append(source.problem(line, "imports sleep: wait for what must happen, with a deadline"))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep"):
            problems.append(source.problem(node.lineno, "sleeps: wait for what must happen, with a deadline"))
    if not PurePosixPath(source.path).name.startswith("test_"):
        return problems
    asserting = {node.name for node in source.functions if _asserts(node, set())}
    for node in source.functions:
        if not node.name.startswith("test_"):
            continue
        if node.name.count("_") < 3:
            problems.append(source.problem(node.lineno, f"{node.name}: name it test_<subject>_<condition>_<outcome>"))
        docstring = ast.get_docstring(node) or ""
        if not docstring.endswith((".", "!", "?")) or re.search(r"[.!?]\s+[A-Z]|\n\s*\n", docstring):
            problems.append(
                source.problem(node.lineno, f"{node.name}: give it a docstring of one sentence, with its full stop")
            )
        if not _asserts(node, asserting - {node.name}):
            problems.append(source.problem(node.lineno, f"{node.name} asserts nothing: a test must be able to fail"))
    return problems


def _asserts(function: ast.AST, asserting: set[str]) -> bool:
    """Tell whether the function asserts, expects an error, or calls what does."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in asserting | {"raises", "warns", "fail"} or called.startswith(("assert_", "check_", "expect_")):
                return True
    return False
