"""What can go wrong with shared memory, for a person to act on: what happened, where, and what would do."""


class SharedMemoryError(Exception):
    """Base of every error of this package.

    Args:
        what: What is wrong, one clause.
        where: The file, region or field it concerns.
        remedy: What the reader can do about it.
    """

    def __init__(self, what: str, where: str, remedy: str) -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} ({self.where}): {self.remedy}"


class InstanceRunning(SharedMemoryError):
    """A live process owns the instance."""


class InstanceMissing(SharedMemoryError):
    """There is no such instance."""


class LayoutMismatch(SharedMemoryError):
    """The file was laid out by other code, another topology or another boot; it names the field that differs."""


class NoRoom(SharedMemoryError):
    """The file system cannot hold the instance."""


class NoAccess(SharedMemoryError):
    """The file cannot be created or opened by this user."""
