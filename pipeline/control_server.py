"""The control socket's transport: lines in, lines out, and nothing that a peer does or leaves undone can hold it up.

It has no thread and never blocks. The supervisor's selector calls it when something can be read, written or accepted, and
`turn` does the rest: at most one question of each connection a turn, and what is overdue. While a connection waits for its
answer, or has not taken the last one, nothing more is read from it. Times and sizes are bounded:

    question      8,192 bytes, within 5 s of its first byte; a longer line is answered with an error, then closed
    answer        taken within 5 s, or the connection is closed
    idle          closed after 60 s
    connections   16; one more replaces the one that has been idle longest, if for a second, else is turned away

Only processes of this user and of root are heard: the socket is 0600 in a folder of 0700, and the kernel is asked who called.
"""

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.control_path import SOCKET_MODE, Peer, make_folder, peer_of
from pipeline.control_protocol import LINE_BYTES_MAX, ControlError, encode, failure
from pipeline.errors import LaunchError

CONNECTIONS_MAX = 16
#: Connections taken in one turn, so that a flood of them does not keep the supervisor from its work.
ACCEPTS_MAX = 32
LINE_NS, WRITE_NS, IDLE_NS = 5_000_000_000, 5_000_000_000, 60_000_000_000
#: A connection that has been idle for so long makes room for another where there is none.
EVICT_NS = 1_000_000_000
#: After accepting has failed, when to try again.
PAUSE_NS = 1_000_000_000

#: Sends one answer; after it the next question of that connection is taken.
Reply = Callable[[Mapping[str, Any]], None]


#: Called with a line, who sent it, and what to call with the answer, at once or later.
Handler = Callable[[bytes, Peer, Reply], None]


class Connection:
    """One peer."""

    def __init__(self, channel: socket.socket, peer: Peer, now_ns: int) -> None:
        self.channel = channel
        self.peer = peer
        self.input = bytearray()
        self.output = bytearray()
        self.is_waiting = False  #: for an answer that takes time
        self.is_ended = False  #: nothing more comes from it
        self.since_ns = now_ns  #: when it began to be as it is: idle, within a line, or taking an answer
        self.watched = 0  #: what the selector looks for

    @property
    def has_line(self) -> bool:
        """Whether a whole question has come."""
        return b"\n" in self.input

    @property
    def can_ask(self) -> bool:
        """Whether a question can be taken: those before it are answered, and their answers taken."""
        return self.has_line and not self.output and not self.is_waiting

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is under way."""
        return not (self.is_waiting or self.output or self.has_line)

    @property
    def wanted(self) -> int:
        """What the selector shall look for: one thing at a time."""
        if self.output:
            return selectors.EVENT_WRITE
        return 0 if self.is_waiting or self.is_ended or self.has_line else selectors.EVENT_READ

    @property
    def deadline_ns(self) -> int:
        """When it is closed unless something changes."""
        return self.since_ns + (WRITE_NS if self.output else LINE_NS if self.input else IDLE_NS)


class ControlServer:
    """The listening socket of one instance and its connections.

    Args:
        path: Of the socket.
        handle: What answers a line.
    """

    def __init__(self, path: Path, handle: Handler) -> None:
        self.path = path
        self._handle = handle
        self._connections: list[Connection] = []
        self._selector: selectors.BaseSelector | None = None
        self._is_listening = False
        self._resume_ns = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._inode = 0
        try:
            make_folder(path.parent)
            self._bind()
        except BaseException:
            self._listener.close()
            raise

    def _bind(self) -> None:
        """Take the path; a socket that nobody serves any more is replaced."""
        if _is_served(self.path):
            raise LaunchError(
                "another process serves the control socket", str(self.path), "stop it, or choose another --instance NAME"
            )
        try:
            if self.path.is_socket():
                self.path.unlink()
            self._listener.bind(os.fspath(self.path))
            # Nobody can have connected in between: it does not listen yet, and the folder is ours alone.
            self.path.chmod(SOCKET_MODE)
        except OSError as error:
            what = f"cannot make the control socket: {error.strerror}"
            raise LaunchError(what, str(self.path), "remove what lies there, or set XDG_RUNTIME_DIR") from None
        self._inode = self.path.lstat().st_ino

    def listen(self, selector: selectors.BaseSelector) -> None:
        """Begin to take connections. What the selector finds is to be called: its data is a function of the event mask."""
        self._selector = selector
        self._listener.listen(ACCEPTS_MAX)
        self._resume()

    @property
    def is_busy(self) -> bool:
        """Whether a question waits to be taken in the next turn."""
        return any(connection.can_ask for connection in self._connections)

    def turn(self) -> None:
        """Take one question of each connection, close what is overdue, and look for what each waits for next."""
        now_ns = time.monotonic_ns()
        for connection in list(self._connections):
            if connection.can_ask:
                self._take_line(connection)
            self._settle(connection, now_ns)
        if self._selector is not None and not self._is_listening and now_ns >= self._resume_ns:
            self._resume()

    def close(self) -> None:
        """Drop every connection, and remove the socket where it is still ours. Twice is as once."""
        for connection in list(self._connections):
            self._drop(connection)
        if self._is_listening and self._selector is not None:
            self._selector.unregister(self._listener)
            self._is_listening = False
        self._selector = None
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            if self._inode and self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        self._inode = 0

    # ── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _resume(self) -> None:
        assert self._selector is not None, "listen() comes first"
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._is_listening = True

    def _accept(self, _events: int) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                channel, _address = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                # No descriptor or no memory is left: the connection stays in the queue, and would wake us again and again.
                assert self._selector is not None, "it called us"
                self._selector.unregister(self._listener)
                self._is_listening, self._resume_ns = False, time.monotonic_ns() + PAUSE_NS
                return
            self._admit(channel)

    def _admit(self, channel: socket.socket) -> None:
        """Take a connection in, or turn it away with one line that says why."""
        channel.setblocking(False)
        peer, now_ns = peer_of(channel), time.monotonic_ns()
        if peer.uid not in (0, os.geteuid()):
            _turn_away(
                channel, ControlError(f"user {peer.uid} may not", "ask as the user who started the instance", "not_allowed")
            )
            return
        if len(self._connections) >= CONNECTIONS_MAX:
            oldest = min((c for c in self._connections if c.is_idle), key=lambda c: c.since_ns, default=None)
            if oldest is None or now_ns - oldest.since_ns < EVICT_NS:
                what = f"{CONNECTIONS_MAX} connections are open"
                _turn_away(channel, ControlError(what, "close one, or try again in a second", "too_many_connections"))
                return
            self._drop(oldest)
        connection = Connection(channel, peer, now_ns)
        self._connections.append(connection)
        self._settle(connection, now_ns)

    def _ready(self, connection: Connection, events: int) -> None:
        """Do what the selector says can be done."""
        # Another event of the same look may have dropped it.
        if connection not in self._connections:
            return
        if events & selectors.EVENT_WRITE and connection.output:
            self._write(connection)
        elif events & selectors.EVENT_READ and connection.wanted == selectors.EVENT_READ:
            self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.channel.recv(LINE_BYTES_MAX + 1 - len(connection.input))
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        if not connection.input:
            connection.since_ns = time.monotonic_ns()
        connection.input += data
        connection.is_ended = not data
        if len(connection.input) > LINE_BYTES_MAX and not connection.has_line:
            connection.input.clear()
            connection.is_ended = True
            error = ControlError(f"the line is longer than {LINE_BYTES_MAX} bytes", "send shorter ones", "line_too_long")
            self._reply(connection, {"ok": False, "error": failure(error)})

    def _take_line(self, connection: Connection) -> None:
        line, _, rest = bytes(connection.input).partition(b"\n")
        connection.input[:] = rest
        connection.since_ns = time.monotonic_ns()
        if line.strip():
            connection.is_waiting = True
            self._handle(line, connection.peer, partial(self._reply, connection))

    def _reply(self, connection: Connection, answer: Mapping[str, Any]) -> None:
        """Begin to send an answer; where the peer has gone meanwhile, there is nobody to tell."""
        if connection not in self._connections:
            return
        connection.is_waiting = False
        connection.output += _encoded(answer)
        connection.since_ns = time.monotonic_ns()
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        try:
            sent = connection.channel.send(connection.output)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        del connection.output[:sent]
        if not connection.output:
            connection.since_ns = time.monotonic_ns()

    def _settle(self, connection: Connection, now_ns: int) -> None:
        """Close a connection that is done or overdue, else have the selector look for what it waits for."""
        if connection not in self._connections:
            return
        is_done = connection.is_ended and connection.is_idle
        if is_done or (not connection.is_waiting and now_ns > connection.deadline_ns):
            self._drop(connection)
            return
        self._watch(connection, connection.wanted)

    def _watch(self, connection: Connection, wanted: int) -> None:
        selector = self._selector
        if selector is None or wanted == connection.watched:
            return
        if not connection.watched:
            selector.register(connection.channel, wanted, partial(self._ready, connection))
        elif wanted:
            selector.modify(connection.channel, wanted, partial(self._ready, connection))
        else:
            selector.unregister(connection.channel)
        connection.watched = wanted

    def _drop(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._watch(connection, 0)
            connection.channel.close()


def _turn_away(channel: socket.socket, error: ControlError) -> None:
    with channel, contextlib.suppress(OSError):
        channel.send(encode({"ok": False, "error": failure(error)}))


def _is_served(path: Path) -> bool:
    """Tell whether a process listens at a socket that is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            # Its queue is full, so somebody holds it.
            return True
        except OSError:
            return False
        return True


def _encoded(answer: Mapping[str, Any]) -> bytes:
    """Write an answer; one that cannot be written is a defect of ours, and must not end the supervisor."""
    try:
        return encode(answer)
    except TypeError as error:
        return encode({"ok": False, "error": failure(ControlError(str(error), "this is a defect: please report it", "defect"))})
