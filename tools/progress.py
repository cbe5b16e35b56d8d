"""How far a tool is, on stderr: a bar on a terminal, a line every quarter elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

PLAIN_STEP_PERCENT = 25

#: Called with (done, in all).
Report = Callable[[int, int], None]


@contextmanager
def progress_bar(title: str, is_quiet: bool = False) -> Iterator[Report]:
    """Show progress under a title, or nothing where that is wished."""
    if is_quiet:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        yield _plain_progress(title)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_progress(title: str) -> Report:
    next_percent = PLAIN_STEP_PERCENT

    def report(done: int, total: int) -> None:
        nonlocal next_percent
        percent = 100 * done // total if total else 100
        if percent >= next_percent:
            print(f"{title}: {percent}%", file=sys.stderr)
            next_percent = percent - percent % PLAIN_STEP_PERCENT + PLAIN_STEP_PERCENT

    return report
