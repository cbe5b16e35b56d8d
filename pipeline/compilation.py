"""The first start of new sources: one process compiles every kernel while a person sees how far it is."""

import json
import select
import time
from collections.abc import Callable, Iterator

from pipeline.child import Child
from pipeline.errors import LaunchError
from pipeline.launch import Launch
from pipeline.warm import is_cold

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
    child = Child("compiler", "pipeline.warm", [], launch.log_folder / "compiler.log", talks=True)
    try:
        child.say(json.dumps(about))
        for number, stage in enumerate(_stages(child, is_stopped), start=1):
            tell(f"compiling kernels, first start only ({number} of {len(about['warm'])}: {stage})…")
        code = child.process.wait()
    finally:
        child.kill()
        child.reap()
    if code != 0:
        raise LaunchError(f"kernels do not compile: {child.last_words()}", str(child.log), "read the log")
    tell(f"kernels compiled in {time.monotonic() - began:.0f} s; the next start only loads them")


def _stages(child: Child, is_stopped: Callable[[], bool]) -> Iterator[str]:
    """Yield the name of each stage as the compiler begins it."""
    output = child.process.stdout
    assert output is not None, "it was started with a pipe"
    while True:
        if is_stopped():
            raise KeyboardInterrupt
        if select.select([output], [], [], LOOK_S)[0]:
            line = output.readline()
            if not line:
                return
            yield line.decode().strip()
