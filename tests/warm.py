"""Compile what most tests share, on both cores, before pytest starts: python -m tests.warm

Each of the two modes that compile has its own kernels (tests.kernel_cache). Without this the first tests of both of pytest's
workers would compile the same at the same time.
"""

import json
import os
import subprocess
import sys
import time

from tests.kernel_cache import ROOT, use_cache_folder

use_cache_folder()

from pipeline.config import load_config
from pipeline.launch import plan
from pipeline.warm import PARTS, is_cold, leave_marker

#: What only tests compile: a backtest's loop, and the steps of the stages one by one.
EXTRAS = (
    "from pipeline.backtest.warm import warm_up; from pipeline.config import load_config; warm_up(load_config(None), print)",
    "from tests.rig import Rig, quotes; rig = Rig(quotes([(0, 10, 11)])); rig.submit(0, 1, 1); rig.settle()",
)


def run_all(commands: list[list[str]], text: str) -> None:
    """Run commands side by side, each with this text as its input.

    Raises:
        SystemExit: One failed.
    """
    running = [subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, cwd=ROOT) for command in commands]
    for process in running:
        assert process.stdin is not None, "it was started with a pipe"
        process.stdin.write(text.encode())
        process.stdin.close()
    if any(process.wait() for process in running):
        raise SystemExit("kernels do not compile")


def main() -> None:
    """Compile, unless it is done already; what only real processes need, only where those are tested."""
    about = plan(load_config(None)).about()
    if not is_cold(about):
        return
    began = time.monotonic()
    is_checked = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")
    if not is_checked:
        run_all([["-m", "pipeline.warm", part] for part in PARTS], json.dumps(about))
    run_all([["-c", extra] for extra in EXTRAS], "")
    leave_marker(about)
    print(f"kernels compiled in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
