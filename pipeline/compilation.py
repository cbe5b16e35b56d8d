"""The first start of new sources: two processes compile every kernel while a person sees how far they are."""

import json
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.child import Child
from pipeline.errors import LaunchError
from pipeline.launch import Launch
from pipeline.warm import PARTS, is_cold, leave_marker

#: How often it is looked whether the person still waits, in seconds.
LOOK_S = 0.1


def compile_kernels(launch: Launch, tell: Callable[[str], None], is_stopped: Callable[[], bool]) -> None:
    """Have all kernels compiled, unless they are already.

    Args:
        launch: What will be started.
        tell: Called with each line for the person who waits.
        is_stopped: Whether that person wants to wait no longer.
    Raises:
        LaunchError: they do not compile.
        KeyboardInterrupt: the person stopped it.
    """
    about = launch.about()
    if not is_cold(about):
        return
    began = time.monotonic()
    children = [
        Child(f"compiler-{part}", "pipeline.warm", [part], launch.log_folder / f"compiler-{part}.log", talks=True)
        for part in PARTS
    ]
    try:
        for child in children:
            child.say(json.dumps(about))
        for stage in _stages(children, is_stopped):
            tell(f"compiling kernels, first start only: {stage}…")
        failed = [child for child in children if child.process.wait() != 0]
    finally:
        for child in children:
            child.kill()
            child.reap()
    if failed:
        raise LaunchError(f"kernels do not compile: {failed[0].last_words()}", str(failed[0].log), "read the log")
    leave_marker(about)
    tell(f"kernels compiled in {time.monotonic() - began:.0f} s; the next start only loads them")


def _stages(children: list[Child], is_stopped: Callable[[], bool]) -> Iterator[str]:
    """Yield the name of each stage as a compiler begins it, until all have ended."""
    outputs: list[Any] = [child.process.stdout for child in children]
    while outputs:
        if is_stopped():
            raise KeyboardInterrupt
        for output in select.select(outputs, [], [], LOOK_S)[0]:
            line = output.readline()
            if line:
                yield line.decode().strip()
            else:
                outputs.remove(output)
