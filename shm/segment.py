"""One instance file in /dev/shm: create, attach, attach again after a crash, refuse, unlink.

The supervisor owns the file by an flock, which the kernel releases whatever kills it. A locked file is a running instance;
a file that nobody holds was left by a crash and is taken over as it is (warm restart) when its layout is the one expected.
The file is mapped with mmap, not through multiprocessing.shared_memory: the resource tracker of Python 3.11 unlinks live
segments when any process that attached to them exits (cpython issue 82300).
"""

import errno
import fcntl
import mmap
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shm.errors import InstanceMissing, InstanceRunning, LayoutMismatch, NoAccess, NoRoom
from shm.layout import (
    HEADER,
    LAYOUT_VERSION,
    MAGIC,
    REGION,
    WORD,
    Region,
    directory_fingerprint,
    directory_of,
    dtype_fingerprint,
)

SHM_FOLDER = Path("/dev/shm")
PREFIX = "stopline-"
#: How often, and at which distance in seconds, a lock is tried: `owner_pid` of a status command holds it for an instant.
LOCK_ATTEMPTS, LOCK_PAUSE_S = 10, 0.01


def instance_path(name: str) -> Path:
    """Return the file of the instance of this name."""
    return SHM_FOLDER / f"{PREFIX}{name}"


def boot_id() -> bytes:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()


class Segment:
    """A mapped instance file.

    Attributes:
        path: The file.
        memory: int64 view of the whole file; transactions address words of it by index.
        was_warm: True when `open_owned` took over what a crash had left.
    """

    def __init__(self, path: Path, descriptor: int, size_bytes: int, read_only: bool = False) -> None:
        self.path = path
        self.was_warm = False
        self._descriptor = descriptor
        access = mmap.PROT_READ if read_only else mmap.PROT_READ | mmap.PROT_WRITE
        self._map = mmap.mmap(descriptor, size_bytes, flags=mmap.MAP_SHARED, prot=access)
        self.memory = np.frombuffer(self._map, np.int64)
        self.header = np.frombuffer(self._map, HEADER, 1)[0]
        self._directory = np.frombuffer(self._map, REGION, int(self.header["region_count"]), HEADER.itemsize)
        self._entries = {bytes(entry["name"]).decode(): entry for entry in self._directory}

    @property
    def epoch(self) -> int:
        """UTC ns at which this instance was made."""
        return int(self.header["epoch"])

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return int(self.header["size_bytes"])

    def __contains__(self, region: str) -> bool:
        return region in self._entries

    def region_names(self) -> list[str]:
        """Return the names of all regions in file order."""
        return list(self._entries)

    def array(self, region: str, dtype: np.dtype | type = np.int64) -> np.ndarray:
        """Return one region as a 1-D array of `dtype`.

        Raises:
            LayoutMismatch: No such region, or it holds another dtype.
        """
        dtype = np.dtype(dtype)
        entry = self._entries.get(region)
        if entry is None:
            raise LayoutMismatch(f"no region '{region}'", str(self.path), "stop this instance and start it again with --fresh")
        if bytes(entry["dtype_fingerprint"]) != dtype_fingerprint(dtype):
            raise LayoutMismatch(
                f"region '{region}' holds another record type",
                str(self.path),
                "start the instance with the same version, or --fresh",
            )
        return np.frombuffer(self._map, dtype, int(entry["count"]), int(entry["offset_bytes"]))

    def base(self, region: str) -> int:
        """Return the index in `memory` of the region's first word."""
        return int(self._entries[region]["offset_bytes"]) // WORD

    def close(self) -> None:
        """Give back the lock, where this process holds it, and the descriptor. The mapping ends with its last view."""
        if self._descriptor >= 0:
            _let_go(self._descriptor)
            self._descriptor = -1

    def unlink(self) -> None:
        """Remove the file; those who have it mapped keep what they have."""
        self.path.unlink(missing_ok=True)


def attach(name: str, read_only: bool = False) -> Segment:
    """Map a running instance.

    Args:
        name: Instance name.
        read_only: Map it so that this process cannot write a word of it.
    Raises:
        InstanceMissing: There is no such file, or it is not finished.
        LayoutMismatch: It was made by another version or before the last boot; the message names the field.
        NoAccess: It belongs to another user.
    """
    path = instance_path(name)
    try:
        descriptor = _open(path, 0, "attach as the user who started the instance", read_only)
    except FileNotFoundError:
        raise InstanceMissing(f"no instance '{name}'", str(path), "start it with tools/run.py") from None
    try:
        _check_header(path, _read_header(descriptor), os.fstat(descriptor).st_size)
        return Segment(path, descriptor, os.fstat(descriptor).st_size, read_only)
    except BaseException:
        os.close(descriptor)
        raise


def open_owned(name: str, regions: Sequence[Region], fresh: bool = False) -> Segment:
    """Create the instance, or take over the one that a crash left, and hold its lock.

    Args:
        name: Instance name.
        regions: What the file must hold, in order.
        fresh: Do not take over; start from nothing.
    Raises:
        InstanceRunning: A live supervisor holds it.
        LayoutMismatch: What the crash left differs from `regions`; the message names the first difference.
        NoRoom: /dev/shm cannot hold it.
        NoAccess: The file cannot be made here.
    """
    path = instance_path(name)
    directory, size_bytes = directory_of(regions)
    descriptor = _lock(path, name)
    try:
        old = _read_header(descriptor)
        finished = old is not None and int(old["magic"]) == MAGIC
        if finished and not fresh:
            _check_header(path, old, os.fstat(descriptor).st_size)
            segment = Segment(path, descriptor, os.fstat(descriptor).st_size)
            _check_directory(path, segment._directory, directory)
            segment.was_warm = True
        else:
            if finished:
                # Another process may still map the old file: leave it that one, and make a new one.
                path.unlink(missing_ok=True)
                os.close(descriptor)
                descriptor = -1
                descriptor = _lock(path, name)
            segment = _lay_out(path, descriptor, directory, size_bytes)
        segment.header["owner_pid"] = os.getpid()
        return segment
    except BaseException:
        if descriptor >= 0:
            _let_go(descriptor)
        raise


def open_private(regions: Sequence[Region]) -> Segment:
    """Make an instance without a name: nobody else can attach, and nothing of it stays, whatever kills the process.

    Args:
        regions: What it must hold, in order.
    Raises:
        NoRoom: There is not enough memory.
    """
    directory, size_bytes = directory_of(regions)
    # Not memfd_create: what lies in the folder is held to its size, and a run that is too large is refused instead of killed.
    descriptor = os.open(SHM_FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # The path is for messages alone: no instance has such a name.
        return _lay_out(SHM_FOLDER / f"{PREFIX}(private)", descriptor, directory, size_bytes)
    except BaseException:
        os.close(descriptor)
        raise


def owner_pid(name: str) -> int:
    """Return the pid of the live supervisor of an instance, 0 where nobody holds its lock, -1 where it is not written yet."""
    try:
        descriptor = _open(instance_path(name), 0, "")
    except (OSError, NoAccess):
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return 0
    except BlockingIOError:
        header = _read_header(descriptor)
        return (int(header["owner_pid"]) if header is not None else 0) or -1
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int, remedy: str, read_only: bool = False) -> int:
    """Open an instance file: a regular file of this very user, for whoever else owns it could change it under us.

    Raises:
        FileNotFoundError: There is none, and `flags` do not make one.
        NoAccess: It is another user's, a link, a folder, or cannot be opened.
        NoRoom: Not even an empty file can be made.
    """
    try:
        access = os.O_RDONLY if read_only else os.O_RDWR
        descriptor = os.open(path, access | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoRoom("no room for even an empty file", str(path), "free memory in /dev/shm") from None
        raise NoAccess(f"cannot be opened, {error.strerror}", str(path), remedy) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise NoAccess("not a file of this user", str(path), remedy)
    return descriptor


def _let_go(descriptor: int) -> None:
    """Unlock and close: closing alone does not unlock, since the mapping holds a duplicate of the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Take the owner's lock; False where another process holds it for good."""
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)
    return False


def _lock(path: Path, name: str) -> int:
    """Open or make the file and take its lock; a file that was unlinked in between is left and tried again."""
    while True:
        descriptor = _open(path, os.O_CREAT, "choose another --instance, or remove what lies there")
        if not _try_lock(descriptor):
            header = _read_header(descriptor)
            os.close(descriptor)
            pid = int(header["owner_pid"]) if header is not None else 0
            holder = f"pid {pid}" if pid > 0 else "another process"
            raise InstanceRunning(
                f"instance '{name}' is already running, {holder}", str(path), "stop it, or choose another --instance NAME"
            )
        try:
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _read_header(descriptor: int) -> np.ndarray | None:
    data = os.pread(descriptor, HEADER.itemsize, 0)
    return np.frombuffer(data, HEADER, 1)[0] if len(data) == HEADER.itemsize else None


def _check_header(path: Path, header: np.ndarray | None, size_bytes: int) -> None:
    """Refuse a file that this code cannot map, naming the field."""
    if header is None or int(header["magic"]) != MAGIC:
        raise InstanceMissing("not a finished instance file", str(path), "start the instance again")
    fresh = "start again with --fresh (its state is lost), or remove the file"
    for field, here in (("layout_version", LAYOUT_VERSION), ("size_bytes", size_bytes), ("boot_id", boot_id())):
        there = header[field].item()
        if there != here:
            raise LayoutMismatch(f"{field} is {there!r} in the file and {here!r} here", str(path), fresh)


def _check_directory(path: Path, there: np.ndarray, here: np.ndarray) -> None:
    """Refuse a file whose regions differ, naming the first difference."""
    fresh = "start with the configuration it was made with, or with --fresh (its state is lost)"
    names_there, names_here = ([bytes(name).decode() for name in rows["name"]] for rows in (there, here))
    if names_there != names_here:
        odd = sorted(set(names_there) ^ set(names_here)) or ["their order"]
        raise LayoutMismatch(f"regions differ: {', '.join(odd)}", str(path), fresh)
    for theirs, ours in zip(there, here, strict=True):
        for field in ("count", "itemsize_bytes", "dtype_fingerprint"):
            if theirs[field] != ours[field]:
                region = bytes(ours["name"]).decode()
                values = f"{theirs[field].item()!r} in the file and {ours[field].item()!r} here"
                raise LayoutMismatch(f"region '{region}': {field} is {values}", str(path), fresh)


def _lay_out(path: Path, descriptor: int, directory: np.ndarray, size_bytes: int) -> Segment:
    """Reserve the memory, then write header and directory, the magic last."""
    try:
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG):
            raise
        status = os.statvfs(SHM_FOLDER)
        free_mib = status.f_bavail * status.f_frsize / 2**20
        raise NoRoom(
            f"needs {size_bytes / 2**20:.0f} MiB and {free_mib:.0f} MiB are free", str(path),
            "enlarge /dev/shm (mount -o remount,size=...), or make [rings] and [tables] in the configuration smaller",
        ) from None  # fmt: skip
    header = np.zeros(1, HEADER)
    header["layout_version"] = LAYOUT_VERSION
    header["size_bytes"] = size_bytes
    header["epoch"] = time.time_ns()
    header["region_count"] = len(directory)
    header["boot_id"] = boot_id()
    header["fingerprint"] = directory_fingerprint(directory)
    os.pwrite(descriptor, header.tobytes() + directory.tobytes(), 0)
    segment = Segment(path, descriptor, size_bytes)
    return segment


def finish(segment: Segment) -> None:
    """Declare a new instance complete, once its tables are filled. Before this nobody can attach."""
    segment.header["magic"] = MAGIC
