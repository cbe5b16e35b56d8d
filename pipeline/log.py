"""Logs of every process: one JSON object a line, appended to var/log/<instance>/<process>.log.

    {"time":"2026-03-02T14:30:00.123456789Z","level":"error","process":"risk","pid":4711,"logger":"stopline","message":"...",
     "error":{"type":"LaunchError","message":"...","fields":{...},"causes":[{...}],"traceback":["pipeline/x.py:12 start",...]}}

Everything goes through Python's own logging. A child writes to its standard error, which its parent has pointed at that file:
so what an interpreter prints that crashes, or a library, stands there as well, as plain text between the objects. No log may
stop what it tells of: a line that cannot be written is lost, and nobody waits for it.
"""

import faulthandler
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from pipeline.errors import LaunchError
from shm.jit import ROOT

#: The logger of what has none of its own.
LOGGER = "stopline"
#: A file larger than this is put aside at the next start, as `.log.1`.
FILE_BYTES_MAX = 16 << 20
#: A line holds at most so many characters of a message, frames of a traceback, and causes of an error.
MESSAGE_MAX, FRAMES_MAX, CAUSES_MAX = 4000, 20, 8

log = logging.getLogger(LOGGER)


class LineHandler(logging.Handler):
    """Writes each record as one line with one system call.

    Args:
        process: Name of this process.
        descriptor: Where to; a file is opened for appending, so that several processes may write to it.
    """

    def __init__(self, process: str, descriptor: int) -> None:
        super().__init__()
        self.process = process
        self.descriptor = descriptor
        self._is_torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what finds no room is lost, and the next line begins on a line of its own."""
        line = line_of(record, self.process)
        data = b"\n" + line if self._is_torn else line
        try:
            self._is_torn = os.write(self.descriptor, data) < len(data)
        except OSError:
            # A full disk, a closed terminal: nobody is left to tell.
            return


def line_of(record: logging.LogRecord, process: str) -> bytes:
    """Return a record as one JSON line."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    entry: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z",
        "level": record.levelname.lower(),
        "process": process,
        "pid": os.getpid(),
        "logger": record.name,
    }
    try:
        entry["message"] = record.getMessage()[:MESSAGE_MAX]
    except (TypeError, ValueError) as error:
        # The call itself is wrong: what it wanted to say is still better than nothing.
        entry["message"] = f"{record.msg} {record.args!r} ({error})"[:MESSAGE_MAX]
    if record.exc_info and record.exc_info[1] is not None:
        entry["error"] = error_entry(record.exc_info[1])
    try:
        return orjson.dumps(entry, default=str, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # An integer past 64 bits, half a surrogate pair: the standard library writes those.
        return json.dumps(entry, default=str).encode() + b"\n"


def error_entry(error: BaseException) -> dict[str, Any]:
    """Return an exception with the chain of what caused it, and where it was raised, as plain values."""
    causes: list[dict[str, Any]] = []
    cause = _cause(error)
    while cause is not None and len(causes) < CAUSES_MAX:
        causes.append(_described(cause))
        cause = _cause(cause)
    entry = _described(error)
    if causes:
        entry["causes"] = causes
    frames = [_frame(frame) for frame in traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]]
    return entry | ({"traceback": frames} if frames else {})


def read_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield (level, message) of each line of a log; a line that is no object of ours has level "" and is its own message.

    Args:
        text: Of a log, its first line perhaps cut.
    """
    for line in filter(None, map(str.strip, text.splitlines())):
        entry = None
        if line.startswith("{"):
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                entry = None
        if isinstance(entry, dict) and "message" in entry:
            yield str(entry.get("level", "")), "; ".join(filter(None, map(str.strip, str(entry["message"]).splitlines())))
        else:
            yield "", line


def log_to_stderr(process: str) -> None:
    """Have this process log to its standard error, which is its log file; called again, under another name.

    What ends the process or a thread of it is logged as well, and a crash of the interpreter leaves the stack of each thread.
    """
    faulthandler.enable()
    _install(LineHandler(process, sys.stderr.fileno()))
    sys.excepthook = _log_end
    threading.excepthook = _log_thread_end


@contextmanager
def logging_to_file(process: str, folder: Path) -> Iterator[None]:
    """Log into `<folder>/<process>.log` meanwhile.

    Raises:
        LaunchError: That file cannot be written.
    """
    path = folder / f"{process}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = open_log(path)
    except OSError as error:
        what = f"cannot write the log: {error.strerror}"
        raise LaunchError(what, str(path), "make it writable for you, or start in another folder") from error
    handler = LineHandler(process, descriptor)
    _install(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        os.close(descriptor)


def open_log(path: Path) -> int:
    """Open a log for appending, for its owner alone; one that has grown large is put aside first.

    Returns:
        The descriptor.
    Raises:
        OSError: It cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    if os.fstat(descriptor).st_size <= FILE_BYTES_MAX:
        return descriptor
    os.close(descriptor)
    path.replace(path.with_name(path.name + ".1"))
    return os.open(path, flags, 0o600)


def _install(handler: LineHandler) -> None:
    """Make this the one handler of our lines."""
    root = logging.getLogger()
    for other in [other for other in root.handlers if isinstance(other, LineHandler)]:
        root.removeHandler(other)
    root.addHandler(handler)
    # numba tells much at lower levels.
    root.setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    logging.captureWarnings(True)


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _log_thread_end(end: threading.ExceptHookArgs) -> None:
    name = end.thread.name if end.thread is not None else "?"
    error = end.exc_value if end.exc_value is not None else end.exc_type()
    log.error("thread %s: %s: %s", name, end.exc_type.__name__, error, exc_info=error)


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ if error.__suppress_context__ or error.__cause__ is not None else error.__context__


def _described(error: BaseException) -> dict[str, Any]:
    """Return what an exception says, and the values that it carries: its own as_dict, else its public attributes."""
    entry: dict[str, Any] = {"type": type(error).__name__, "message": str(error)[:MESSAGE_MAX]}
    as_dict = getattr(error, "as_dict", None)
    fields = as_dict() if callable(as_dict) else {name: value for name, value in vars(error).items() if name[0] != "_"}
    if isinstance(error, OSError) and error.errno is not None:
        fields |= {"errno": error.errno, "filename": error.filename}
    return entry | ({"fields": fields} if fields else {})


def _frame(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename.removeprefix(f'{ROOT}{os.sep}')}:{frame.lineno} {frame.name}"
