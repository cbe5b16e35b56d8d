"""What processes log: one JSON object a line, with the chain of causes, and nothing that stops a process that logs."""

import logging
import os
import resource
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from pipeline.child import Child
from pipeline.errors import DatabaseError, LaunchError, RiskCheckError
from pipeline.log import (
    FILE_BYTES_MAX,
    FRAMES_MAX,
    LOGGER,
    MESSAGE_MAX,
    LineHandler,
    error_entry,
    line_of,
    log,
    logging_to_file,
    open_log,
    read_lines,
)

#: A program that logs, says something in plain text and ends as it is told.
PROGRAM = """
import ctypes, sys, threading
from pipeline.errors import LaunchError
from pipeline.log import log, log_to_stderr
log_to_stderr("probe")
print("a library speaks", file=sys.stderr, flush=True)
if sys.argv[1] == "error":
    log.error("%s", LaunchError("port 9108 is in use", "metrics", "choose another"))
    log.info("and goes on")
elif sys.argv[1] == "raise":
    {}["key"]
elif sys.argv[1] == "thread":
    thread = threading.Thread(target=lambda: 1 / 0, name="server")
    thread.start()
    thread.join()
elif sys.argv[1] == "crash":
    ctypes.string_at(0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose supervisor.log this process logs into."""
    with logging_to_file("supervisor", tmp_path):
        yield tmp_path


def entries(path: Path) -> list[dict]:
    """Return the objects of a log."""
    return [orjson.loads(line) for line in path.read_text().splitlines()]


def record_of(message: object, *args: object) -> logging.LogRecord:
    """Return a record as a logging call makes it."""
    return logging.LogRecord(LOGGER, logging.ERROR, "x.py", 1, message, args, None)


def last_words(folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> tuple[str, str]:
    """Run the program as a child; return its last words, and its whole log."""
    (folder / "probe.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    child = Child("probe", "probe", [ending], folder / "probe.log")
    child.reap(60)
    return child.last_words(), child.log.read_text()


def test_log_line_of_a_record_has_time_level_process_and_message(folder: Path) -> None:
    """The time is UTC to the nanosecond, and the file is its owner's alone."""
    before_ns = time.time_ns()
    log.info("ready after %.1f s", 2.0)
    log.error("ALERT risk died")
    first, second = entries(folder / "supervisor.log")
    seconds, _, fraction = first["time"].partition(".")
    stamp_ns = int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp()) * 1_000_000_000 + int(fraction[:9])
    assert before_ns <= stamp_ns <= time.time_ns()
    assert (10, "Z") == (len(fraction), fraction[-1])
    expected = {
        "level": "info",
        "process": "supervisor",
        "pid": os.getpid(),
        "logger": "stopline",
        "message": "ready after 2.0 s",
    }
    assert expected == {key: first[key] for key in first if key != "time"}
    assert ("error", "ALERT risk died") == (second["level"], second["message"])
    assert 0o600 == stat.S_IMODE((folder / "supervisor.log").stat().st_mode)


def test_log_error_with_causes_shows_the_chain_with_what_each_carries() -> None:
    """Type, message and fields of the error and of each cause, the nearest first, and short frames."""
    try:
        try:
            try:
                raise OSError(28, "No space left on device", "/x/history.duckdb")
            except OSError as error:
                raise DatabaseError("cannot be written", "/x/history.duckdb", "free some", retries=2) from error
        except DatabaseError:
            raise RiskCheckError("limit", "strategy 1", "wait", check="notional", value=Decimal("1.50"), order_id=9)  # noqa: B904
    except RiskCheckError as error:
        entry = error_entry(error)
    assert ("RiskCheckError", "limit (strategy 1): wait") == (entry["type"], entry["message"])
    assert ("notional", Decimal("1.50"), 9) == tuple(entry["fields"][name] for name in ("check", "value", "order_id"))
    database, system = entry["causes"]
    assert ("DatabaseError", 2, False) == (database["type"], database["fields"]["retries"], database["fields"]["retryable"])
    assert ("OSError", {"errno": 28, "filename": "/x/history.duckdb"}) == (system["type"], system["fields"])
    assert entry["traceback"][-1].startswith("tests/pipeline/test_log.py:")
    assert entry["traceback"][-1].endswith(" test_log_error_with_causes_shows_the_chain_with_what_each_carries")


def test_log_error_raised_from_none_shows_no_cause() -> None:
    """What was hidden on purpose stays hidden."""
    try:
        try:
            raise KeyError("a")
        except KeyError:
            raise LaunchError("a", "b", "c") from None
    except LaunchError as error:
        entry = error_entry(error)
    assert "causes" not in entry


def test_log_error_deep_in_a_recursion_keeps_few_frames() -> None:
    """A stack of hundreds is cut to its innermost frames."""

    def fall(depth: int) -> None:
        if depth == 0:
            raise ValueError("bottom")
        fall(depth - 1)

    try:
        fall(300)
    except ValueError as error:
        frames = error_entry(error)["traceback"]
    assert FRAMES_MAX == len(frames)
    assert frames[-1].endswith(" fall")


@pytest.mark.parametrize(
    "message", ["a\nb\r\u2028c", "\x1b[31mred", "half \ud800 a pair", "nul \x00", "x" * (2 * MESSAGE_MAX), 2**80]
)
def test_log_line_of_a_hostile_message_is_one_line_of_json(message: object) -> None:
    """Whatever a message holds, the line is one object and of bounded length."""
    line = line_of(record_of("%s", message), "risk")
    assert 1 == line.count(b"\n")
    assert str(message)[:MESSAGE_MAX] == orjson.loads(line.replace(rb"\ud800", b"?"))["message"].replace(
        "half ? a", "half \ud800 a"
    )
    assert len(line) < 7 * MESSAGE_MAX


def test_log_call_with_wrong_arguments_is_still_a_line() -> None:
    """A mistake in the call loses neither the words nor the process."""
    entry = orjson.loads(line_of(record_of("%d lots", "many"), "risk"))
    assert entry["message"].startswith("%d lots ('many',) (")


def test_log_values_past_json_are_written_as_text() -> None:
    """A value of more than 64 bits, or of a type that JSON lacks, does not lose the line."""
    record = record_of("too much")
    error = RiskCheckError("a", "b", "c", value=2**70, limit=Path("/x"))
    record.exc_info = (type(error), error, None)
    fields = orjson.loads(line_of(record, "risk").replace(str(2**70).encode(), b'"2**70"'))["error"]["fields"]
    assert ("2**70", "/x") == (fields["value"], fields["limit"])


def test_log_on_a_full_disk_loses_lines_and_no_more(folder: Path) -> None:
    """What finds no room is lost, the process goes on, and the next line that does stands on a line of its own."""
    path = folder / "supervisor.log"
    log.info("before")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        for _ in range(3):
            log.error("no room for this")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    log.info("after")
    lines = path.read_text().splitlines()
    assert ["before", "after"] == [orjson.loads(lines[0])["message"], orjson.loads(lines[-1])["message"]]
    assert 3 == len(lines)
    assert 20 == len(lines[1])


def test_log_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A start says which file it is, and keeps the cause."""
    (tmp_path / "supervisor.log").mkdir()
    with (
        pytest.raises(LaunchError, match=r"cannot write the log: Is a directory \(.*supervisor\.log\)") as caught,
        logging_to_file("supervisor", tmp_path),
    ):
        pytest.fail("it cannot be opened")
    assert isinstance(caught.value.__cause__, IsADirectoryError)


def test_log_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    """The folder itself may be in the way."""
    (tmp_path / "log").write_text("")
    with pytest.raises(LaunchError, match="cannot write the log"), logging_to_file("supervisor", tmp_path / "log"):
        pytest.fail("it cannot be made")


def test_log_after_its_block_leaves_no_handler(tmp_path: Path) -> None:
    """Another run in the same process does not write into the log of the first."""
    with logging_to_file("supervisor", tmp_path):
        pass
    assert [] == [handler for handler in logging.getLogger().handlers if isinstance(handler, LineHandler)]


def test_log_grown_large_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    """At the limit the file goes on; one byte over, it is kept beside the new one."""
    path = tmp_path / "risk.log"
    os.close(open_log(path))
    os.truncate(path, FILE_BYTES_MAX)
    os.close(open_log(path))
    assert FILE_BYTES_MAX == path.stat().st_size
    os.truncate(path, FILE_BYTES_MAX + 1)
    os.close(open_log(path))
    assert (0, FILE_BYTES_MAX + 1) == (path.stat().st_size, (tmp_path / "risk.log.1").stat().st_size)


def test_log_lines_of_others_are_read_as_they_are() -> None:
    """Objects of other programs, cut lines and plain text are messages without a level."""
    text = 'cut"}\n\n{"a":1}\n{"level":"error","message":"two\\nlines"}\n{broken\nplain\n'
    assert [("", 'cut"}'), ("", '{"a":1}'), ("error", "two; lines"), ("", "{broken"), ("", "plain")] == list(read_lines(text))


@pytest.mark.processes
def test_child_that_logged_an_error_has_it_for_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it wrote before and after, of itself or of a library, does not hide the error; all of it stands in the file."""
    words, text = last_words(tmp_path, monkeypatch, "error")
    assert "port 9108 is in use (metrics): choose another" == words
    assert ["", "error", "info"] == [level for level, _ in read_lines(text)]
    assert "probe" == orjson.loads(text.splitlines()[1])["process"]


@pytest.mark.processes
def test_child_that_raises_logs_the_exception_with_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody caught is one object, not a page of text."""
    words, text = last_words(tmp_path, monkeypatch, "raise")
    assert "KeyError: 'key'" == words
    entry = orjson.loads(text.splitlines()[-1])
    assert ("critical", "KeyError") == (entry["level"], entry["error"]["type"])
    assert entry["error"]["traceback"][-1].endswith(" <module>")


@pytest.mark.processes
def test_child_whose_thread_raises_logs_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that dies is told by its name; the process goes on."""
    words, _ = last_words(tmp_path, monkeypatch, "thread")
    assert "thread server: ZeroDivisionError: division by zero" == words


@pytest.mark.processes
def test_child_whose_interpreter_crashes_leaves_readable_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmentation fault leaves the stack in plain text in the same file, and its first line for last words."""
    words, text = last_words(tmp_path, monkeypatch, "crash")
    assert "Fatal Python error: Segmentation fault" == words
    assert "string_at" in text


@pytest.mark.processes
def test_child_started_again_has_words_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of the one before stays, and is not taken for the new one's."""
    last_words(tmp_path, monkeypatch, "raise")
    words, text = last_words(tmp_path, monkeypatch, "none")
    assert "a library speaks" == words
    assert 3 == len(list(read_lines(text)))


@pytest.mark.processes
def test_child_without_a_log_runs_all_the_same(tmp_path: Path) -> None:
    """A process that is needed does not fail for its log."""
    child = Child("quiet", "timeit", ["-n", "1", "-r", "1", "pass"], tmp_path / "missing" / "quiet.log")
    assert 0 == child.reap(60)
    assert "its log cannot be read, No such file or directory" == child.last_words()


def test_log_recursion_limit_of_causes_is_finite() -> None:
    """Errors that name each other as their cause end."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert ["b", "a"] * 4 == [cause["message"] for cause in error_entry(first)["causes"]]
