"""Watch a running instance: `tools/top.py --help`.

The screen is that of tools/run.py. The instance is mapped read-only: this process cannot change a word of it, and whoever
writes there does not notice that somebody reads.
"""

import argparse
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

# Run as a script, this file's own folder is on the path and the sources are not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console

from pipeline import topology
from pipeline.config import config_from_json
from pipeline.errors import InstanceError, UserError
from pipeline.launch import Launch
from pipeline.placement import Seat
from pipeline.view import View
from shm.errors import SharedMemoryError
from shm.segment import Segment, attach, owner_pid
from shm.wait import Strategy
from tools.status_screen import StatusScreen
from tools.terminal import harmless, say

EXIT_OK, EXIT_USER_ERROR = 0, 2
#: How often a key is looked for, in seconds; the screen draws itself as often as the instance's own one.
LOOK_S = 0.05
#: Size of one screen that is printed where there is no terminal.
PRINTED_COLUMNS, PRINTED_LINES = 120, 36
#: Bytes taken from the keyboard at once.
KEYS_MAX = 64
LEAVING = ("q", "leaves; the instance goes on")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors here."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and leave."""
        print(f"error: {message} (command line): see tools/top.py --help", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR)


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser("tools/top.py", description="Watch a running instance; q or Ctrl-C leaves, the instance goes on.",
                    allow_abbrev=False)  # fmt: skip
    parser.add_argument("--instance", default="default", metavar="NAME", help="name of the instance (default: default)")
    parser.add_argument("--once", action="store_true", help="print one screen and leave; also where there is no terminal")
    return parser


class Watched:
    """A running instance, mapped read-only.

    Args:
        name: Its name.
    Raises:
        InstanceError: It does not run, is another user's, or was made by other sources.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        try:
            self.segment: Segment = attach(name, read_only=True)
        except SharedMemoryError as error:
            raise InstanceError(error.what, error.where, error.remedy) from None
        self._inode = os.stat(self.segment.path).st_ino
        if not self.is_running():
            what, remedy = f"instance '{name}' does not run, a crash left its file", "start it again with tools/run.py"
            raise InstanceError(what, str(self.segment.path), remedy)
        self.view = View(self.segment)
        self.launch = launch_of(self.view)

    def is_running(self) -> bool:
        """Tell whether this very instance still has its supervisor."""
        try:
            return os.stat(self.segment.path).st_ino == self._inode and owner_pid(self._name) != 0
        except FileNotFoundError:
            return False

    def screen(self) -> StatusScreen:
        """Return its screen."""
        since = int(self.segment.array("supervisor.state")[topology.STARTED_NS]) / 1e9
        return StatusScreen(self.launch, self.view, since, LEAVING, is_told=False)


def launch_of(view: View) -> Launch:
    """Return how a running instance was started, from what it says about itself."""
    about = view.about
    seats = {name: Seat(seat["core"], False, Strategy(seat["wait"])) for name, seat in about["placement"].items()}
    symbols = tuple(about["feed"]["symbols"])
    config = config_from_json(about["config"])
    return Launch(config, view.instruments, view.sizes, seats, about["strategies"], symbols, ())


def watch(watched: Watched) -> str:
    """Show the screen until a key, Ctrl-C or the end of the instance; return a line for after it, empty where there is none."""
    screen = watched.screen()
    interrupted: list[int] = []
    # Noted, not raised: an exception out of a signal may come up where it is swallowed, as within a finaliser.
    signal.signal(signal.SIGINT, lambda number, _frame: interrupted.append(number))
    with single_keys():
        screen.open()
        try:
            while watched.is_running():
                if interrupted:
                    return ""
                screen.refresh()
                if _is_key("q"):
                    return ""
            return f"instance '{watched.launch.name}' has ended"
        finally:
            screen.close()


def print_once(watched: Watched) -> None:
    """Print one screen."""
    is_terminal = sys.stdout.isatty()
    size = (None, None) if is_terminal else (PRINTED_COLUMNS, PRINTED_LINES)
    console = Console(width=size[0], height=size[1])
    console.print(watched.screen().draw(), height=console.height - 1 if is_terminal else PRINTED_LINES)


@contextmanager
def single_keys() -> Iterator[None]:
    """Have the terminal hand over each key at once and show none; give it back as it was."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch an instance; return the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        watched = Watched(options.instance)
        if options.once or not sys.stdout.isatty():
            with harmless():
                print_once(watched)
            return EXIT_OK
        with harmless():
            line = watch(watched)
            if line:
                say(line)
        return EXIT_OK
    except UserError as error:
        for line in error.lines:
            say(f"error: {line}", is_error=True)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_OK


def _is_key(key: str) -> bool:
    """Wait a moment for a key, and tell whether it is this one."""
    if not sys.stdin.isatty():
        select.select([], [], [], LOOK_S)
        return False
    if not select.select([sys.stdin], [], [], LOOK_S)[0]:
        return False
    return os.read(sys.stdin.fileno(), KEYS_MAX).decode("utf-8", "replace")[:1] == key


if __name__ == "__main__":
    sys.exit(main())
