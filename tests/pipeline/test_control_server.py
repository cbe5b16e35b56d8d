"""The control socket's transport: whatever a peer sends, keeps back, or never reads, the others are served."""

import os
import selectors
import socket
import stat
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline import control_path, control_server
from pipeline.control_path import Peer, make_folder, own_folder, socket_path, sockets_of
from pipeline.control_protocol import LINE_BYTES_MAX
from pipeline.control_server import CONNECTIONS_MAX, ControlServer, Reply
from pipeline.errors import LaunchError
from tests.pipeline.control_instance import Peer as Caller

TURNS_MAX = 5_000


class Server:
    """A control server whose handler answers with the line itself, or keeps the reply for later."""

    def __init__(self, path: Path) -> None:
        self.server = ControlServer(path, self.handle)
        self.selector = selectors.DefaultSelector()
        self.server.listen(self.selector)
        self.lines: list[bytes] = []
        self.kept: list[Reply] = []
        self.padding = ""

    def handle(self, line: bytes, _peer: Peer, reply: Reply) -> None:
        """Answer a line; one that says "later" keeps its reply."""
        self.lines.append(line)
        if line == b"later":
            self.kept.append(reply)
        else:
            reply({"line": line.decode("latin-1"), "padding": self.padding})

    def turn(self) -> None:
        """Take one turn."""
        for key, events in self.selector.select(0):
            key.data(events)
        self.server.turn()

    def until(self, is_so: Callable[[], Any]) -> None:
        """Take turns until something is so."""
        for _ in range(TURNS_MAX):
            self.turn()
            if is_so():
                return
        raise AssertionError(f"not so after {TURNS_MAX} turns")

    def is_well(self) -> bool:
        """Tell whether a new peer gets its answer."""
        with Caller(self.server.path) as peer:
            peer.send("well?")
            self.until(lambda: peer.lines() or peer.is_ended)
            return peer.lines()[0].get("line") == "well?"

    def close(self) -> None:
        """End it."""
        self.server.close()
        self.selector.close()


@pytest.fixture
def server(runtime_folder: Path) -> Iterator[Server]:
    """Return a server of a socket in a folder of its own."""
    made = Server(socket_path("test"))
    yield made
    made.close()


def test_server_line_in_two_halves_is_one_question(server: Server) -> None:
    """A question may come in pieces, and nothing happens before its end."""
    with Caller(server.server.path) as peer:
        peer.send(b"first ha")
        for _ in range(3):
            server.turn()
        assert [] == server.lines
        peer.send(b"lf\n")
        server.until(peer.lines)
        assert [b"first half"] == server.lines


def test_server_many_lines_at_once_are_answered_in_order_one_a_turn(server: Server) -> None:
    """A peer that asks ahead gets its answers in order, and no turn does more than one of them."""
    with Caller(server.server.path) as peer:
        peer.send(b"".join(b"%d\n" % k for k in range(50)))
        counts = []
        while len(peer.lines()) < 50:
            server.turn()
            counts.append(len(server.lines))
        assert [str(k) for k in range(50)] == [line["line"] for line in peer.lines()]
        assert max(after - before for before, after in pairwise(counts)) == 1


def test_server_question_behind_one_that_waits_keeps_its_place(server: Server) -> None:
    """While risk is asked for one question the next one of that peer waits, and other peers do not."""
    with Caller(server.server.path) as peer:
        peer.send(b"later\nnext\n")
        server.until(lambda: server.kept)
        assert server.is_well()
        assert [b"later", b"well?"] == server.lines
        server.kept[0]({"line": "now"})
        server.until(lambda: len(peer.lines()) == 2)
        assert ["now", "next"] == [line["line"] for line in peer.lines()]


def test_server_peer_that_hangs_up_while_it_waits_is_forgotten(server: Server) -> None:
    """An answer for a peer that has gone goes nowhere, and nothing breaks."""
    with Caller(server.server.path) as peer:
        peer.send("later")
        server.until(lambda: server.kept)
    server.turn()
    server.kept[0]({"line": "nobody hears it"})
    assert server.is_well()
    assert [] == server.server._connections or server.server._connections[0].is_idle


def test_server_peer_that_ends_its_side_still_gets_its_answers(server: Server) -> None:
    """`echo ... | nc -U` ends its side at once; it is answered, then the connection is closed."""
    with Caller(server.server.path) as peer:
        peer.send(b"one\ntwo\n")
        peer.channel.shutdown(socket.SHUT_WR)
        server.until(lambda: peer.lines() and peer.is_ended)
        assert ["one", "two"] == [line["line"] for line in peer.lines()]


def test_server_giant_line_is_refused_and_closed(server: Server) -> None:
    """A line without end is cut off at the limit, and its sender is told why."""
    with Caller(server.server.path) as peer:
        peer.send(b"x" * (LINE_BYTES_MAX + 1))
        server.until(lambda: peer.lines() and peer.is_ended)
        assert "line_too_long" == peer.lines()[0]["error"]["code"]
    assert server.is_well()


def test_server_longest_line_is_taken(server: Server) -> None:
    """The limit itself is allowed."""
    with Caller(server.server.path) as peer:
        peer.send(b"y" * LINE_BYTES_MAX + b"\n")
        server.until(peer.lines)
        assert LINE_BYTES_MAX == len(server.lines[0])


def test_server_half_line_and_hang_up_is_no_question(server: Server) -> None:
    """What has no end of line was never asked."""
    with Caller(server.server.path) as peer:
        peer.send(b'{"command": "cancel-stop"')
    server.until(lambda: not server.server._connections)
    assert [] == server.lines


@pytest.mark.parametrize(("limit", "sent"), [("LINE_NS", b"half a li"), ("IDLE_NS", b"")])
def test_server_peer_that_says_no_more_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch, limit: str, sent: bytes
) -> None:
    """A line that does not end, and a connection that is not used, have their time."""
    with Caller(server.server.path) as peer:
        peer.send(sent)
        server.turn()
        server.turn()
        assert 1 == len(server.server._connections)
        monkeypatch.setattr(control_server, limit, -1)
        server.turn()
        server.until(lambda: (peer.read(), peer.is_ended)[1])
        assert [] == server.server._connections


def test_server_peer_that_never_reads_is_held_back_then_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets as much as the socket holds; its questions stay where they are, others are served, and its time runs out."""
    server.padding = "z" * 300_000
    with Caller(server.server.path) as peer:
        peer.send(b"more\n" * 100)
        for _ in range(200):
            server.turn()
        assert 1 <= len(server.lines) < 100
        stuck = server.server._connections[0]
        assert 0 < len(stuck.output) <= 400_000
        server.padding = ""
        assert server.is_well()
        monkeypatch.setattr(control_server, "WRITE_NS", -1)
        server.turn()
        assert stuck not in server.server._connections
    monkeypatch.undo()


def test_server_thousand_connections_cost_sixteen(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood is turned away with a reason, those inside are served, and a second later newcomers get in again."""
    inside = [Caller(server.server.path) for _ in range(CONNECTIONS_MAX)]
    server.until(lambda: len(server.server._connections) == CONNECTIONS_MAX)
    for _ in range(1_000 // 20):
        flood = [Caller(server.server.path) for _ in range(20)]
        server.until(lambda flood=flood: all(peer.lines() for peer in flood))
        assert {"too_many_connections"} == {peer.lines()[0]["error"]["code"] for peer in flood}
        for peer in flood:
            peer.channel.close()
    assert CONNECTIONS_MAX == len(server.server._connections)
    inside[3].send("still here")
    server.until(inside[3].lines)
    assert "still here" == inside[3].lines()[0]["line"]
    monkeypatch.setattr(control_server, "EVICT_NS", 0)
    assert server.is_well()
    assert len(server.server._connections) <= CONNECTIONS_MAX
    for peer in inside:
        peer.channel.close()


def test_server_connection_with_work_under_way_makes_no_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for an answer is not dropped for a newcomer."""
    waiting = [Caller(server.server.path) for _ in range(CONNECTIONS_MAX)]
    for peer in waiting:
        peer.send("later")
    server.until(lambda: len(server.kept) == CONNECTIONS_MAX)
    monkeypatch.setattr(control_server, "EVICT_NS", 0)
    with Caller(server.server.path) as late:
        server.until(late.lines)
        assert "too_many_connections" == late.lines()[0]["error"]["code"]
    for peer in waiting:
        peer.channel.close()


@pytest.mark.parametrize(("uid", "is_heard"), [(os.geteuid(), True), (0, True), (os.geteuid() + 1, False)])
def test_server_peer_of_each_user_is_heard_or_not(
    server: Server, monkeypatch: pytest.MonkeyPatch, uid: int, is_heard: bool
) -> None:
    """The kernel says who calls: this user and root are heard, everyone else is told no and hung up on."""
    monkeypatch.setattr(control_server, "peer_of", lambda _channel: Peer(1, uid))
    with Caller(server.server.path) as peer:
        peer.send("hello")
        server.until(peer.lines)
        answer = peer.lines()[0]
        assert is_heard == (server.lines == [b"hello"])
        assert is_heard == ("error" not in answer)
        assert is_heard or answer["error"]["code"] == "not_allowed"


def test_peer_of_own_connection_is_this_process(server: Server) -> None:
    """The credentials are those of the process that called."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert (os.getpid(), os.geteuid()) == control_path.peer_of(ours)


class OutOfDescriptors:
    """A listener that cannot accept."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def accept(self) -> None:
        """Fail as the kernel does."""
        raise OSError(24, "Too many open files")

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._listener.fileno()


def test_server_without_descriptors_pauses_and_takes_the_queue_later(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be accepted wakes nobody again and again, and is served once it can be."""
    listener = server.server._listener
    with Caller(server.server.path) as peer:
        peer.send("patience")
        monkeypatch.setattr(server.server, "_listener", OutOfDescriptors(listener))
        server.turn()
        assert [] == server.selector.select(0)
        monkeypatch.setattr(server.server, "_listener", listener)
        server.server._resume_ns = 0
        server.until(peer.lines)
        assert [b"patience"] == server.lines


def test_socket_and_folder_are_closed_to_others(server: Server, runtime_folder: Path) -> None:
    """Mode 0600 in a folder of 0700, below XDG_RUNTIME_DIR, and both last no longer than they must."""
    path = server.server.path
    assert runtime_folder / "stopline" / "test.sock" == path
    assert (0o600, 0o700) == (stat.S_IMODE(path.lstat().st_mode), stat.S_IMODE(path.parent.lstat().st_mode))
    assert [path] == sockets_of("test")
    server.close()
    assert not path.exists()


def test_socket_of_a_dead_instance_is_replaced(runtime_folder: Path) -> None:
    """A crash leaves a socket that nobody serves; the next start takes its place."""
    path = socket_path("test")
    make_folder(path.parent)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = Server(path)
    assert server.is_well()
    server.close()


def test_socket_of_a_live_process_is_refused(server: Server) -> None:
    """What somebody serves is left to him."""
    with pytest.raises(LaunchError, match="another process serves the control socket"):
        ControlServer(server.server.path, server.handle)
    assert server.is_well()


def test_socket_path_with_another_file_is_refused_and_left(runtime_folder: Path) -> None:
    """A file of another kind is no socket of ours to remove."""
    path = socket_path("test")
    make_folder(path.parent)
    path.write_text("precious")
    with pytest.raises(LaunchError, match="remove what lies there"):
        Server(path)
    assert "precious" == path.read_text()


def test_socket_that_another_took_over_is_not_removed(runtime_folder: Path) -> None:
    """At its end a server removes its own socket and no other."""
    server = Server(socket_path("test"))
    server.server.path.unlink()
    other = Server(socket_path("test"))
    server.close()
    assert other.is_well()
    other.close()


def test_socket_path_too_long_is_refused_with_what_would_do(runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's limit is told before anything is made."""
    deep = runtime_folder / ("d" * 90)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(LaunchError, match=r"bytes, at most 107 are possible .*XDG_RUNTIME_DIR to a shorter folder"):
        socket_path("test")


@pytest.mark.parametrize("given", ["", "relative/path", "/nowhere/at/all"])
def test_folder_without_a_runtime_folder_is_in_tmp(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """A variable that is missing, relative or of a folder that is not there is as none."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    assert Path(f"/tmp/stopline-{os.geteuid()}") == own_folder()


def test_folder_of_another_user_is_not_entered(runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In /tmp anyone may have made the folder first; and a link may lead anywhere."""
    target = runtime_folder / "elsewhere"
    target.mkdir(mode=0o700)
    (runtime_folder / "stopline").symlink_to(target)
    with pytest.raises(LaunchError, match="not a folder of this user"):
        make_folder(runtime_folder / "stopline")
    user = os.geteuid()
    monkeypatch.setattr(control_path.os, "geteuid", lambda: user + 1)
    with pytest.raises(LaunchError, match="not a folder of this user"):
        make_folder(target)


def test_folder_open_to_others_is_closed_first(runtime_folder: Path) -> None:
    """Our own folder with a loose mode is mended, and not searched before."""
    folder = own_folder()
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "x.sock").touch()
    assert [] == control_path.all_sockets()
    make_folder(folder)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
