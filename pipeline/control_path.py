"""Where the control socket of an instance lies, and how those of running instances are found.

    $XDG_RUNTIME_DIR/stopline/<instance>.sock    where that folder is there and this user's
    /tmp/stopline-<uid>/<instance>.sock          else

The folder is 0700 and this user's own, or nothing is opened in it: /tmp is everyone's, and whoever owns the folder could put
a socket of his own there. Both ends ask the kernel who the other one is. Who looks for an instance looks in both places, since
a service often lacks the variable that a login shell has.
"""

import os
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import LaunchError

#: sockaddr_un has 108 bytes, and the path in it ends with a zero.
PATH_BYTES_MAX = 107
FOLDER_MODE, SOCKET_MODE = 0o700, 0o600
SUFFIX = ".sock"
#: struct ucred: pid, uid, gid.
CREDENTIALS = "iII"


class Peer(NamedTuple):
    """Who is at the other end, as the kernel says."""

    pid: int
    uid: int


def peer_of(channel: socket.socket) -> Peer:
    """Ask the kernel who opened a connection."""
    pid, uid, _ = struct.unpack(
        CREDENTIALS, channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(CREDENTIALS))
    )
    return Peer(pid, uid)


def own_folder() -> Path:
    """Return the folder in which this user's instances have their sockets; it need not be there yet."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    return runtime / "stopline" if _is_runtime_folder(runtime) else _fallback()


def known_folders() -> list[Path]:
    """Return every folder in which a running instance of this user may have its socket, the likeliest first."""
    login = Path(f"/run/user/{os.geteuid()}")
    folders = [own_folder(), *([login / "stopline"] if _is_runtime_folder(login) else []), _fallback()]
    return list(dict.fromkeys(folders))


def socket_path(instance: str) -> Path:
    """Return where an instance that starts now has its socket.

    Raises:
        LaunchError: The path is longer than a socket's may be.
    """
    path = own_folder() / f"{instance}{SUFFIX}"
    length = len(os.fsencode(path))
    if length > PATH_BYTES_MAX:
        what = f"the path of the control socket has {length} bytes, at most {PATH_BYTES_MAX} are possible"
        raise LaunchError(what, str(path), "set XDG_RUNTIME_DIR to a shorter folder, or choose a shorter --instance NAME")
    return path


def make_folder(folder: Path) -> None:
    """Make the folder of the sockets, or see that the one that is there is this user's alone.

    Raises:
        LaunchError: It cannot be made, or is somebody else's, a link, or a file.
    """
    try:
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    except OSError as error:
        what = f"cannot make the folder of the control socket: {error.strerror}"
        raise LaunchError(what, str(folder), "set XDG_RUNTIME_DIR to a folder of yours") from None
    if not is_private(folder):
        # Ours, but open to others: a umask or a person's doing, which can be mended.
        if _is_own_folder(folder):
            folder.chmod(FOLDER_MODE)
            return
        what = "the folder of the control socket is not a folder of this user"
        raise LaunchError(what, str(folder), "remove it, or set XDG_RUNTIME_DIR to a folder of yours")


def is_private(folder: Path) -> bool:
    """Tell whether a folder is this user's, no link, and closed to everyone else."""
    return _is_own_folder(folder) and stat.S_IMODE(folder.lstat().st_mode) & 0o077 == 0


def sockets_of(instance: str) -> list[Path]:
    """Return the sockets of this name that are there, whether anybody serves them or not."""
    return [path for path in all_sockets() if path.name == f"{instance}{SUFFIX}"]


def all_sockets() -> list[Path]:
    """Return every control socket in this user's folders, served or not."""
    folders = [folder for folder in known_folders() if is_private(folder)]
    return [path for folder in folders for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_socket()]


def _fallback() -> Path:
    return Path(f"/tmp/stopline-{os.geteuid()}")


def _is_runtime_folder(folder: Path) -> bool:
    """Tell whether a folder is what XDG_RUNTIME_DIR must name: there, absolute, and this user's."""
    try:
        return folder.is_absolute() and folder.is_dir() and folder.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _is_own_folder(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
