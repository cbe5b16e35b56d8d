"""Kill a computation before or after any store it makes: how crash-point tests reach every instruction that counts.

With the JIT off every kernel is Python, and every store into an array is one STORE_SUBSCR. A trace function that sees each
opcode counts those stores inside the files named, and raises SimulatedKill at the one wanted:

    point 2 * k        before store k
    point 2 * k + 1    after store k, before anything else

SimulatedKill is a BaseException, so that no `except Exception` survives it. What the killed process kept privately is gone
with it: the caller drops every object it had opened and opens new ones, as a new process would.

Stores made inside numpy (np.copyto, `array.fill`) are one call and are not seen: what is tested this way stores by subscript.
"""

import dis
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from shm.jit import JIT_ENABLED

ROOT = Path(__file__).resolve().parent.parent
_STORES = {dis.opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in dis.opmap}


class SimulatedKill(BaseException):
    """The process died here."""


class _StoreTracer:
    """Counts stores in the files named, and raises at one point of them."""

    def __init__(self, files: Sequence[str], point: int | None, explore: Callable[[str], None] | None = None) -> None:
        assert not JIT_ENABLED, "compiled kernels cannot be stopped between two stores: set NUMBA_DISABLE_JIT=1"
        self.point = point
        self.store_count = 0
        self.where = ""
        self._explore = explore
        self._prefixes = tuple(str(ROOT / name) for name in files)
        self._offsets: dict[CodeType, frozenset[int]] = {}
        self._after = False

    def _store_offsets(self, code: CodeType) -> frozenset[int]:
        offsets = self._offsets.get(code)
        if offsets is None:
            offsets = frozenset(place.offset for place in dis.get_instructions(code) if place.opcode in _STORES)
            self._offsets[code] = offsets
        return offsets

    def _kill(self, frame: FrameType) -> None:
        self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}"
        raise SimulatedKill(self.where)

    def _look_ahead(self, frame: FrameType) -> None:
        """Let the caller see what would come of a kill at this point."""
        sys.settrace(None)
        assert self._explore is not None
        self._explore(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} in {frame.f_code.co_name}")
        sys.settrace(self.enter)

    def enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Trace function of a new frame: look at each opcode of a frame whose code makes stores in our files."""
        if not frame.f_code.co_filename.startswith(self._prefixes):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self.step

    def step(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Trace function of one opcode that is about to run."""
        if event == "opcode" and self._explore is not None:
            if self._after or frame.f_lasti in self._store_offsets(frame.f_code):
                self._look_ahead(frame)
            self._after = frame.f_lasti in self._store_offsets(frame.f_code)
            self.store_count += self._after
        elif event == "opcode":
            if self._after:
                self._after = False
                self._kill(frame)
            if frame.f_lasti in self._store_offsets(frame.f_code):
                if self.point == 2 * self.store_count:
                    self._kill(frame)
                self._after = self.point == 2 * self.store_count + 1
                self.store_count += 1
        return self.step


def _traced(run: Callable[[], object], tracer: _StoreTracer) -> bool:
    # A coverage measurement traces as well: it gets its trace function back.
    outer = sys.gettrace()
    sys.settrace(tracer.enter)
    try:
        run()
    except SimulatedKill:
        return True
    finally:
        sys.settrace(outer)
    return False


def enumerate_points(run: Callable[[], object], files: Sequence[str] = ("shm/",)) -> int:
    """Run to the end, and count the points at which it can be killed.

    Args:
        run: What to run; it must make the same stores each time.
        files: Paths from the root of the project, files or folders with a slash, whose stores count.
    Returns:
        How many points there are: two for each store.
    """
    tracer = _StoreTracer(files, None)
    killed = _traced(run, tracer)
    assert not killed, "nothing was to be killed"
    return 2 * tracer.store_count


def explore_points(run: Callable[[], object], explore: Callable[[str], None], files: Sequence[str]) -> int:
    """Run once to the end, and at each point let the caller look at what a kill there would leave.

    Args:
        run: What to run.
        explore: Called at each point with its place, as file:line in function; it must leave all that `run` sees as it was.
        files: As for `enumerate_points`.
    Returns:
        How many points there are: two for each store.
    """
    tracer = _StoreTracer(files, None, explore)
    _traced(run, tracer)
    return 2 * tracer.store_count


def run_until(point: int, run: Callable[[], object], files: Sequence[str] = ("shm/",)) -> str:
    """Run until a point, and die there.

    Args:
        point: Which, below what `enumerate_points` returned.
        run: As for `enumerate_points`.
        files: The same.
    Returns:
        Where it died, as file:line in function; empty where it ran to its end before the point.
    """
    tracer = _StoreTracer(files, point)
    return tracer.where if _traced(run, tracer) else ""
