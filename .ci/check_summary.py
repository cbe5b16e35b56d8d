"""Run tools/run.py for a few seconds and check what it says and what it leaves: `check_summary.py [flags of run.py]`.

The run is a child of this process, which adopts whatever the run leaves behind (PR_SET_CHILD_SUBREAPER): so a process that
outlives it is seen, whatever its name or session.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
PR_SET_CHILD_SUBREAPER = 36
WAIT_SECONDS = 600.0
LINGER_SECONDS = 2.0


def summary_problems(summary: dict[str, Any]) -> list[str]:
    """Return one line for each number of the summary that cannot be right."""
    ticks = summary["ticks"]
    rejected = sum(ticks["rejected"].values())
    accounted = ticks["accepted"] + rejected + ticks["conflated"]
    problems = []
    if ticks["received"] <= 0:
        problems.append("ticks.received is 0: no data flowed")
    if ticks["received"] != accounted:
        parts = f"accepted {ticks['accepted']} + rejected {rejected} + conflated {ticks['conflated']}"
        problems.append(f"ticks.received is {ticks['received']}, but {parts} = {accounted}")
    if summary["stops"]["owed"] != 0:
        problems.append(f"stops.owed is {summary['stops']['owed']}: a fired stop has no exit")
    problems += [f"restarts.{worker} is {count}: a worker died" for worker, count in summary["restarts"].items() if count]
    return problems


def run_and_check(arguments: list[str], instance: str) -> list[str]:
    """Run the pipeline and return one line for each thing that is wrong."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "summary.json"
        flags = ["--instance", instance, "--db", f"{folder}/stopline.duckdb", "--metrics-port", "0", "--summary", str(path)]
        command = [sys.executable, "tools/run.py", *flags, *arguments]
        try:
            code = subprocess.run(command, cwd=ROOT, check=False, timeout=WAIT_SECONDS).returncode
        except subprocess.TimeoutExpired:
            code = None
        # What only waits to be reaped is reaped here; what is still alive after that has outlived the run.
        _, left = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=LINGER_SECONDS)
        problems = [f"process {process.pid} outlived the run: {process.name()}" for process in left]
        for process in left:
            process.kill()
        if code != 0:
            ending = "did not end" if code is None else f"ended with code {code}"
            problems.append(f"tools/run.py {ending}")
        if path.exists():
            problems += summary_problems(json.loads(path.read_text()))
        else:
            problems.append("tools/run.py wrote no summary")
    segments = list(Path("/dev/shm").glob(f"stopline-{instance}*"))
    problems += [f"{segment} was left behind" for segment in segments]
    for segment in segments:
        segment.unlink()
    return problems


def main(arguments: list[str]) -> int:
    """Print what is wrong, one line each, and return the exit code."""
    problems = run_and_check(arguments, instance=f"ci-{os.getpid()}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if not problems:
        print("the run's summary adds up; no process and no segment was left")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
