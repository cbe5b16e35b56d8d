"""Recordings: a folder of ticks that can be mapped and replayed, with the instruments they speak of.

    FOLDER/
      ticks.npy         1-D array of messages.TICK in the order in which they were received; np.load can map it
      instruments.json  the symbol table; TICK "instrument" indexes it
      recording.json    format, source, counts, first and last event time, what was left out, whether trades are numbered

A recording is whole or absent: the writer fills a hidden folder beside the target and renames it at the end, so that
neither an error, nor Ctrl-C, nor a full disk leaves half of one behind.
"""

import hashlib
import json
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from pipeline.errors import InstrumentError, RecordingError
from pipeline.instruments import Instruments
from pipeline.messages import QUOTE, STATUS, TICK, TIMER, TRADE

FORMAT = 1
TICKS_FILE, INSTRUMENTS_FILE, INFO_FILE = "ticks.npy", "instruments.json", "recording.json"
FILES = (TICKS_FILE, INSTRUMENTS_FILE, INFO_FILE)
KIND_NAMES = {QUOTE: "quote", TRADE: "trade", TIMER: "timer", STATUS: "status"}

_IMPORT_AGAIN = "import it again with tools/record.py"


def dtype_hash() -> str:
    """Hash the layout of TICK, so that a recording of another layout is refused instead of misread."""
    return hashlib.sha256(repr(TICK.descr).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Recording:
    """An open recording.

    Attributes:
        path: the folder.
        ticks: TICK array of shape (tick_count,), read only and mapped from the file.
        instruments: the symbol table of the ticks.
        info: what recording.json holds.
    """

    path: Path
    ticks: np.ndarray
    instruments: Instruments
    info: dict[str, Any]


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """Open a recording and check that its parts belong together.

    Raises:
        RecordingError: missing folder or file, bad JSON, another format or tick layout, truncated or oversized ticks.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "not a recording: it is a file" if folder.exists() else "no such recording"
        raise RecordingError(what, str(folder), "give the folder that tools/record.py import wrote")
    if not any((folder / name).exists() for name in FILES):
        raise RecordingError("not a recording", str(folder), "give the folder that tools/record.py import wrote")
    for name in FILES:
        if not (folder / name).is_file():
            raise RecordingError(f"{name} is missing", str(folder), _IMPORT_AGAIN)
    try:
        info = _load_info(folder / INFO_FILE)
        instruments = _load_instruments(folder / INSTRUMENTS_FILE)
        ticks = _map_ticks(folder / TICKS_FILE)
    except OSError as error:
        raise RecordingError(f"cannot be read: {_reason(error)}", str(folder), "check its permissions") from error
    if info["tick_count"] != len(ticks):
        what = f"{INFO_FILE} tells {info['tick_count']} ticks, {TICKS_FILE} holds {len(ticks)}"
        raise RecordingError(what, str(folder), _IMPORT_AGAIN)
    return Recording(folder, ticks, instruments, info)


def _load_info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_bytes())
    except ValueError as error:
        raise RecordingError(f"{INFO_FILE} is not JSON: {error}", str(path), _IMPORT_AGAIN) from error
    if not isinstance(info, dict) or not isinstance(info.get("tick_count"), int):
        raise RecordingError(f"{INFO_FILE} has no tick_count", str(path), _IMPORT_AGAIN)
    if info.get("format") != FORMAT:
        what = f"format is {info.get('format')!r}, this version reads {FORMAT}"
        raise RecordingError(what, str(path), _IMPORT_AGAIN)
    if info.get("dtype_hash") != dtype_hash():
        raise RecordingError("the layout of its ticks is not this version's", str(path), _IMPORT_AGAIN)
    return info


def _load_instruments(path: Path) -> Instruments:
    try:
        instruments = Instruments.load(path)
    except InstrumentError as error:
        raise RecordingError(f"{INSTRUMENTS_FILE} is no symbol table: {error.what}", error.where, _IMPORT_AGAIN) from error
    if len(instruments) == 0:
        raise RecordingError(f"{INSTRUMENTS_FILE} names no instrument", str(path), _IMPORT_AGAIN)
    return instruments


def _map_ticks(path: Path) -> np.ndarray:
    """Map the ticks after their header and the file's size were compared: a short map would end in SIGBUS."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"npy version {version}")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            header_size, file_size = file.tell(), os.fstat(file.fileno()).st_size
    except (ValueError, SyntaxError, EOFError) as error:
        raise RecordingError(f"{TICKS_FILE} has no npy header", str(path), _IMPORT_AGAIN) from error
    if len(shape) != 1 or fortran or dtype.descr != TICK.descr:
        raise RecordingError(f"{TICKS_FILE} holds no one-dimensional array of TICK", str(path), _IMPORT_AGAIN)
    expected_size = header_size + shape[0] * TICK.itemsize
    if file_size != expected_size:
        state = "truncated" if file_size < expected_size else "too long"
        what = f"{TICKS_FILE} is {state}: {file_size} bytes, its header tells {expected_size}"
        raise RecordingError(what, str(path), _IMPORT_AGAIN)
    if shape[0] == 0:
        return np.empty(0, TICK)
    # The file's dtype carries no align flag; the view gives kernels the very type that they were compiled for.
    return np.load(path, mmap_mode="r").view(TICK)


class RecordingWriter:
    """Write a recording in chunks, whole or not at all.

    Use as a context manager: leaving it closes, an exception inside it leaves nothing behind.

    Args:
        path: the folder to make.
        instruments: the symbol table that the ticks index.
        source: where the ticks come from, a short word such as "lean".
        description: one line for people.
        overwrite: replace a recording that is already there. Anything but a recording is never replaced.
    Attributes:
        left_out: counts by reason of what the source held and the recording does not; goes to recording.json.
        trades_numbered: whether `venue_seq` numbers the trades of each instrument one by one at the venue, and all that came
            are in the recording: then a gap shows that some were lost. Goes to recording.json.
    Raises:
        RecordingError: the target exists, or cannot be written (permissions, disk full).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        instruments: Instruments,
        source: str = "",
        description: str = "",
        overwrite: bool = False,
    ) -> None:
        self.path = Path(os.path.abspath(path))
        self.left_out: dict[str, int] = {}
        self.trades_numbered = False
        self._instruments, self._source, self._description = instruments, source, description
        self._overwrite = overwrite
        self._tick_count = 0
        self._first_event_ns, self._last_event_ns = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        self._kind_counts = np.zeros(256, np.int64)
        self._file: BinaryIO | None = None
        self._new_parents: list[Path] = []
        check_target(self.path, overwrite)
        self._folder = self.path.parent / f".{self.path.name}.{secrets.token_hex(4)}.partial"
        try:
            self._new_parents = [parent for parent in self.path.parents if not parent.exists()]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder.mkdir()
            self._file = (self._folder / TICKS_FILE).open("w+b")
            self._header_size = self._write_header()
        except OSError as error:
            self.abort()
            raise self._error(error) from error
        except BaseException:
            self.abort()
            raise

    def append(self, ticks: np.ndarray) -> None:
        """Append a chunk.

        Args:
            ticks: TICK array of shape (n,).
        Raises:
            RecordingError: the disk is full or the write fails.
        """
        assert ticks.dtype == TICK, "a recording holds TICK"
        assert ticks.ndim == 1, "a chunk has one dimension"
        assert self._file is not None, "append after close"
        if len(ticks) == 0:
            return
        assert ticks["instrument"].max() < len(self._instruments), "a tick of no known instrument"
        try:
            self._file.write(np.ascontiguousarray(ticks).view(np.uint8).data)
        except OSError as error:
            raise self._error(error) from error
        self._tick_count += len(ticks)
        self._kind_counts += np.bincount(ticks["kind"], minlength=256)
        self._first_event_ns = min(self._first_event_ns, int(ticks["event_ns"].min()))
        self._last_event_ns = max(self._last_event_ns, int(ticks["event_ns"].max()))

    def close(self) -> None:
        """Write the tables, flush to the disk and put the folder in its place, in one rename.

        Raises:
            RecordingError: the disk is full, or the target came into being meanwhile.
        """
        if self._file is None:
            return
        try:
            self._write_header()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None
            self._instruments.save(self._folder / INSTRUMENTS_FILE)
            (self._folder / INFO_FILE).write_text(json.dumps(self._info(), indent=2) + "\n")
            check_target(self.path, self._overwrite)
            self._put_in_place()
        except OSError as error:
            self.abort()
            raise self._error(error) from error
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove what was written so far; the target stays as it was."""
        if self._file is not None:
            # The buffered rest may not fit on the disk either; it is thrown away with the folder.
            with suppress(OSError):
                self._file.close()
            self._file = None
        shutil.rmtree(self._folder, ignore_errors=True)
        for parent in self._new_parents:
            # One that is in use by now, or was never made, stays as it is.
            with suppress(OSError):
                parent.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _write_header(self) -> int:
        """Write the npy header at the start of the file; numpy pads it so that it stays as long when the count grows."""
        assert self._file is not None
        self._file.seek(0)
        header = {"descr": TICK.descr, "fortran_order": False, "shape": (self._tick_count,)}
        np.lib.format.write_array_header_1_0(self._file, header)
        size = self._file.tell()
        assert size == getattr(self, "_header_size", size), "the final header must fit over the first one"
        return size

    def _info(self) -> dict[str, Any]:
        empty = self._tick_count == 0
        kinds = {KIND_NAMES.get(k, str(k)): int(self._kind_counts[k]) for k in np.flatnonzero(self._kind_counts).tolist()}
        return {
            "format": FORMAT,
            "source": self._source,
            "description": self._description,
            "tick_count": self._tick_count,
            "first_event_ns": None if empty else self._first_event_ns,
            "last_event_ns": None if empty else self._last_event_ns,
            "kinds": kinds,
            "symbols": [instrument.symbol for instrument in self._instruments],
            "trades_numbered": self.trades_numbered,
            "left_out": {reason: int(count) for reason, count in self.left_out.items()},
            "created_utc": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "dtype_hash": dtype_hash(),
        }

    def _put_in_place(self) -> None:
        old = self._folder.with_suffix(".old")
        try:
            if self.path.exists():
                self.path.rename(old)
            self._folder.rename(self.path)
        except BaseException:
            if old.exists() and not self.path.exists():
                old.rename(self.path)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)

    def _error(self, error: OSError) -> RecordingError:
        return RecordingError(f"cannot be written: {_reason(error)}", str(self.path), "free space or choose another folder")


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse a target that exists, unless it is a recording (or an empty folder) and may be replaced.

    Raises:
        RecordingError: as said.
    """
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise RecordingError("the target exists", str(path), "choose another, or say --overwrite to replace it")
    if path.is_symlink() or not path.is_dir() or any(entry.name not in FILES for entry in path.iterdir()):
        raise RecordingError("the target is no recording, it will not be replaced", str(path), "choose another folder")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
