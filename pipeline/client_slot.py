"""A strategy's place in an instance: one slot, held by a lock that the kernel takes back whatever ends the process.

The lock is an open-file-description lock on the bytes of the slot's heartbeat block. Unlike a classic POSIX lock it is not
dropped when some other descriptor of the file is closed, and unlike the mapping its descriptor is not duplicated. A child that
the strategy forks closes its copy at once, so that the lock never outlives the strategy itself.
"""

import fcntl
import os
import struct
import weakref

import numpy as np

from pipeline.errors import InstanceError
from pipeline.topology import strategy_names
from shm import heartbeat
from shm.errors import InstanceMissing, SharedMemoryError
from shm.layout import HEADER, WORD
from shm.segment import Segment, attach, instance_path

#: struct flock: type, whence, start, length, pid (0 for this kind of lock), padded as the compiler does.
FLOCK = "hhqqi0q"
LOCK_BYTES = WORD * heartbeat.WORD_COUNT
#: How often a file that was replaced between two looks is opened again.
OPEN_ATTEMPTS = 10


class InstanceGone(InstanceError):
    """The instance has ended, and none of its name runs now."""


class SlotTaken(InstanceError):
    """The strategy's slot, or every slot, is held by a live process."""


class Attachment:
    """A mapped running instance with a descriptor of our own, for locks.

    Args:
        name: The instance.
    Raises:
        InstanceGone: There is none of this name that runs.
        InstanceError: It belongs to another user, or was made by other code.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.segment, self._descriptor = _open_both(name)
        _attachments.add(self)
        if not self.alive:
            self.close()
            raise gone(name)

    @property
    def is_open(self) -> bool:
        """False after close(), and in a forked child, which holds nothing."""
        return self._descriptor >= 0

    @property
    def alive(self) -> bool:
        """Whether this very instance has a live owner and its file still has its name. Costs two system calls."""
        if self._descriptor < 0 or os.fstat(self._descriptor).st_nlink == 0:
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def try_slot(self, slot: int) -> bool:
        """Take a slot's lock; False where another client has it."""
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _flock(self.segment, slot))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def is_free(self, slot: int) -> bool:
        """Tell whether nobody holds a slot at this moment."""
        return _is_free(self._descriptor, self.segment, slot)

    def close(self) -> None:
        """Give back lock and descriptors."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self.segment.close()

    def forget(self) -> None:
        """Let go of the lock's descriptor without unlocking: for a forked child, whose parent still holds the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class SlotLocks:
    """Tells whether slots are held, for the process that owns the instance.

    Args:
        segment: The instance.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._descriptor = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    def is_free(self, slot: int) -> bool:
        """Tell whether nobody holds a slot at this moment. Costs a system call."""
        return _is_free(self._descriptor, self._segment, slot)

    def close(self) -> None:
        """Give back the descriptor. Twice is as once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def claim_slot(attachment: Attachment, wanted: int | None, count: int, planned: frozenset[str]) -> int:
    """Take a strategy's slot.

    Args:
        attachment: The instance.
        wanted: Which slot; None for the first that is free and not meant for a strategy that the supervisor starts.
        count: How many slots there are.
        planned: Names of those that the supervisor starts.
    Returns:
        The slot that is now ours.
    Raises:
        SlotTaken: It, or every one, is held by a live process.
        InstanceError: There is no such slot.
    """
    where = f"instance '{attachment.name}'"
    names = strategy_names(count)
    if wanted is None:
        for slot, name in enumerate(names):
            if name not in planned and attachment.try_slot(slot):
                return slot
        raise SlotTaken(f"all {count} strategy slots are taken", where, "stop a strategy, or raise strategies.slots")
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 0 <= wanted < count:
        remedy = f"choose 0 to {count - 1}, or raise strategies.slots in the configuration"
        raise InstanceError(f"there is no strategy slot {wanted!r}", where, remedy)
    if not attachment.try_slot(wanted):
        free = [str(slot) for slot, name in enumerate(names) if name not in planned and attachment.is_free(slot)]
        remedy = f"choose a free one: {', '.join(free)}" if free else "stop a strategy, or raise strategies.slots"
        raise SlotTaken(f"strategy slot {wanted} is taken by {_holder(attachment.segment, wanted)}", where, remedy)
    return wanted


def gone(name: str) -> InstanceGone:
    """Return the error that says that an instance is no more."""
    return InstanceGone(
        f"instance '{name}' has ended", str(instance_path(name)), "start it: the next call attaches to it again"
    )


def _is_free(descriptor: int, segment: Segment, slot: int) -> bool:
    found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _flock(segment, slot))
    return bool(struct.unpack(FLOCK, found)[0] == fcntl.F_UNLCK)


def _flock(segment: Segment, slot: int) -> bytes:
    start = WORD * segment.base(f"strategy{slot}.heartbeat")
    return struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, LOCK_BYTES, 0)


def _holder(segment: Segment, slot: int) -> str:
    words = segment.array(f"strategy{slot}.heartbeat")
    pid, start = int(words[heartbeat.PID]), int(words[heartbeat.START])
    return f"pid {pid}" if pid and heartbeat.process_start(pid) == start else "another process"


def _open_both(name: str) -> tuple[Segment, int]:
    """Map an instance and open its file once more, both of the same epoch."""
    for _ in range(OPEN_ATTEMPTS):
        try:
            segment = attach(name)
        except InstanceMissing as error:
            raise InstanceGone(error.what, error.where, error.remedy) from None
        except SharedMemoryError as error:
            raise InstanceError(error.what, error.where, error.remedy) from None
        try:
            descriptor = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            segment.close()
            continue
        header = os.pread(descriptor, HEADER.itemsize, 0)
        if len(header) == HEADER.itemsize and int(np.frombuffer(header, HEADER)[0]["epoch"]) == segment.epoch:
            return segment, descriptor
        os.close(descriptor)
        segment.close()
    raise gone(name)


_attachments: weakref.WeakSet[Attachment] = weakref.WeakSet()


def _forget_all() -> None:
    for attachment in list(_attachments):
        attachment.forget()


os.register_at_fork(after_in_child=_forget_all)
