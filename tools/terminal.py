"""What a run prints to may go away under it: a closed window, a dropped connection, `| head`. That must not end the run."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

#: What writing gives where nobody can read any more.
GONE = (errno.EIO, errno.EPIPE, errno.ENXIO, errno.EBADF)


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """Let what writes to the terminal fail where the terminal is gone; what is written from then on goes nowhere.

    Raises:
        OSError: any other fault.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise
        silence()


def say(line: str, is_error: bool = False) -> None:
    """Print one line at once, where anybody is left to read it."""
    with harmless():
        print(line, file=sys.stderr if is_error else sys.stdout, flush=True)


def silence() -> None:
    """Point those of standard output and standard error that cannot be written at the null device.

    What is still in their buffers goes there too, so that Python finds nothing to complain of when it ends.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            try:
                stream.flush()
                is_gone = os.isatty(descriptor) and _is_hung_up(descriptor)
            except OSError:
                is_gone = True
            if is_gone:
                os.dup2(null, descriptor)
    finally:
        os.close(null)


def _is_hung_up(descriptor: int) -> bool:
    """Tell whether a terminal has lost its other end; reading its size fails then."""
    try:
        os.get_terminal_size(descriptor)
    except OSError:
        return True
    return False
