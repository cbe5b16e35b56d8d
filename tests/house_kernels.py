"""The rules of kernels and of public names: each returns one line for every break, see tests/house.py."""

import ast
from collections.abc import Iterable, Iterator

import numpy as np

from tests.house import Source

ARGUMENT_LIMIT = 7
#: What numba compiles, by decorator: these functions carry no annotations.
COMPILED = {
    "njit",
    "njit_inline",
    "njit_merged",
    "njit_inner",
    "jit",
    "intrinsic",
    "overload",
    "overload_method",
    "register_jitable",
    "vectorize",
    "cfunc",
    "stencil",
}
NJIT = {"njit", "jit", "njit_inner", "njit_inline", "njit_merged"}
#: Kernels of these have no wrapper for Python: calling one from there, compiled, ends the process.
BARE = {"njit_inner", "njit_merged"}
#: What a test module says that never runs compiled.
NEVER_COMPILED = "pytest.mark.skipif(JIT_ENABLED"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def decorators(node: Function) -> set[str]:
    """Return the bare names of a function's decorators: njit for @njit, @njit(...) and @numba.njit."""
    targets = [item.func if isinstance(item, ast.Call) else item for item in node.decorator_list]
    return {ast.unparse(target).rpartition(".")[2] for target in targets}


def compiled_by_call(source: Source) -> set[str]:
    """Return the names of functions that are compiled by a call, as in `step = njit(_step)`."""
    return {
        argument.id
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in NJIT
        for argument in node.args
        if isinstance(argument, ast.Name)
    }


def kernels(source: Source) -> Iterator[Function]:
    """Yield the functions that become kernels."""
    by_call = compiled_by_call(source)
    for node in source.functions:
        if decorators(node) & NJIT or node.name in by_call:
            yield node


def is_public(name: str) -> bool:
    """Tell whether a name is meant for others."""
    return not name.startswith("_")


def check_kernel_bodies(source: Source) -> list[str]:
    """A kernel takes few arguments, raises and catches nothing, and says what it is for."""
    problems = []
    for node in kernels(source):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if len(arguments) > ARGUMENT_LIMIT:
            what = f"kernel {node.name} takes {len(arguments)} arguments: group them in a NamedTuple, {ARGUMENT_LIMIT} at most"
            problems.append(source.problem(node.lineno, what))
        for inner in ast.walk(node):
            if isinstance(inner, ast.Raise):
                problems.append(source.problem(inner.lineno, f"kernel {node.name} raises: return a code or count it"))
            elif isinstance(inner, ast.Try | ast.TryStar):
                problems.append(source.problem(inner.lineno, f"kernel {node.name} has a try: return codes instead"))
        if source.within("shm", "pipeline") and is_public(node.name) and not ast.get_docstring(node):
            problems.append(source.problem(node.lineno, f"kernel {node.name} has no docstring: say what it does, with units"))
    return problems


def check_njit_origin(source: Source) -> list[str]:
    """There is one njit, of shm.jit: numba's own would miss nogil, and the cache that knows all sources."""
    if source.path == "shm/jit.py" or source.within("tests"):
        return []
    remedy = "import njit from shm.jit"
    problems = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "numba" and NJIT & {alias.name for alias in node.names}:
            problems.append(source.problem(node.lineno, f"imports numba's njit: {remedy}"))
        elif isinstance(node, ast.Attribute) and node.attr in NJIT and ast.unparse(node.value) in ("numba", "nb"):
            problems.append(source.problem(node.lineno, f"uses numba.{node.attr}: {remedy}"))
    return problems


def record_fields(sources: Iterable[Source]) -> set[str]:
    """Return the names of fields of records: first strings of the pairs listed in np.dtype([...])."""
    fields = set()
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("dtype") and node.args:
                pairs = node.args[0].elts if isinstance(node.args[0], ast.List) else []
                firsts = [pair.elts[0] for pair in pairs if isinstance(pair, ast.Tuple) and pair.elts]
                fields |= {first.value for first in firsts if isinstance(first, ast.Constant) and isinstance(first.value, str)}
    return fields


def tuple_fields(sources: Iterable[Source]) -> set[str]:
    """Return the names of fields of NamedTuples, which kernels do read as attributes."""
    return {
        statement.target.id
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("NamedTuple") for base in node.bases)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def bare_kernels(sources: Iterable[Source]) -> set[tuple[str, str]]:
    """Return module and name of each kernel that only kernels may call."""
    return {
        (source.module, node.name)
        for source in sources
        for node in source.tree.body
        if isinstance(node, ast.FunctionDef) and decorators(node) & BARE
    }


def check_bare_calls(source: Source, bare: set[tuple[str, str]]) -> list[str]:
    """Python calls no kernel that has no wrapper for it.

    Args:
        source: the file.
        bare: module and name of each such kernel.
    """
    if NEVER_COMPILED in source.text:
        return []
    named = {
        alias.asname or alias.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if (node.module, alias.name) in bare
    }
    of_kernels = {id(call) for function in kernels(source) for call in ast.walk(function)}
    return [
        f"{source.path}:{node.lineno}: {node.func.id} has no wrapper for Python: call it from a kernel, or make it @njit"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in named
        if id(node) not in of_kernels
    ]


def check_record_access(source: Source, fields: set[str]) -> list[str]:
    """Fields of records are read by subscript: with the JIT off, attributes fail.

    Args:
        source: the file.
        fields: record_fields less tuple_fields of the whole tree; names that arrays have themselves are never reported.
    """
    suspects = fields - set(dir(np.ndarray))
    return [
        source.problem(inner.lineno, f"kernel {node.name} reads .{inner.attr} of a record: write [{inner.attr!r}]")
        for node in kernels(source)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute) and inner.attr in suspects
    ]


def public_definitions(source: Source) -> Iterator[Function | ast.ClassDef]:
    """Yield what a module offers: its public functions and classes."""
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and is_public(node.name):
            yield node


def check_docstrings(source: Source) -> list[str]:
    """Modules, and their public functions and classes, say what they are for."""
    if not source.within("shm", "pipeline", "tools", "bench"):
        return []
    problems = []
    if source.text.strip() and not ast.get_docstring(source.tree):
        problems.append(source.problem(1, "the module has no docstring: say what it is"))
    for node in public_definitions(source):
        if source.within("shm", "pipeline") and not ast.get_docstring(node):
            problems.append(source.problem(node.lineno, f"{node.name} has no docstring: say what it is for"))
    return problems


def check_annotations(source: Source) -> list[str]:
    """Functions and methods that are no kernels are annotated in full: mypy checks no body of one that is not."""
    if not source.within("shm", "pipeline", "tools", "bench"):
        return []
    by_call = compiled_by_call(source)
    problems = []
    owners: list[ast.Module | ast.ClassDef] = [source.tree]
    owners += [node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)]
    for owner in owners:
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if decorators(node) & COMPILED or node.name in by_call:
                continue
            missing = _unannotated(node, is_method=isinstance(owner, ast.ClassDef))
            if missing:
                problems.append(source.problem(node.lineno, f"{node.name} lacks annotations of {', '.join(missing)}: add them"))
    return problems


def _unannotated(node: Function, is_method: bool) -> list[str]:
    """Return the arguments without annotation, and "return" where that is missing."""
    arguments = [*node.args.posonlyargs, *node.args.args]
    if is_method and "staticmethod" not in decorators(node):
        arguments = arguments[1:]
    arguments += [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
    missing = [argument.arg for argument in arguments if argument.annotation is None]
    return missing + (["return"] if node.returns is None and node.name != "__init__" else [])
