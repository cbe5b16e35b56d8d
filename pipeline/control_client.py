"""The other end of the control socket: find a running instance, ask it, read its answer. For tools and scripts.

It imports no kernels, so that a command starts at once.
"""

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Self

from pipeline.control_path import SUFFIX, all_sockets, peer_of, sockets_of
from pipeline.control_protocol import encode
from pipeline.errors import InstanceError, nearest

#: Longer than the supervisor waits for risk.
ANSWER_S = 5.0
CHUNK_BYTES = 65536
#: An answer is a page of a list at most; what is longer is no answer of an instance.
ANSWER_BYTES_MAX = 16 << 20


class ControlClient:
    """A connection to the control socket of an instance.

    Args:
        instance: Its name.
        path: The socket itself, where it is not where it belongs; empty = find it.
        timeout_s: How long to wait for an answer.
    Raises:
        InstanceError: No such instance runs, or what serves the socket is another user's.
    """

    def __init__(self, instance: str, path: str = "", timeout_s: float = ANSWER_S) -> None:
        self.instance = instance
        self._timeout_s = timeout_s
        self._input = bytearray()
        self.path, self._channel = _connect(instance, [Path(path)] if path else sockets_of(instance), timeout_s)

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Ask one question.

        Args:
            command: One of pipeline.control_commands.
            fields: What it takes; those that are None are not sent.
        Returns:
            The answer: "ok" says whether it was done, "error" why not.
        Raises:
            InstanceError: The instance ended or does not answer.
        """
        question = {"command": command} | {name: value for name, value in fields.items() if value is not None}
        try:
            # Who was turned away at the door finds it closed, and the reason in what there is to read.
            with contextlib.suppress(BrokenPipeError):
                self._channel.sendall(encode(question))
            line = self._read_line()
        except TimeoutError:
            what = f"it has not answered within {self._timeout_s:g} s"
            raise self._broken(what, "look whether it runs, and ask again") from None
        except OSError as error:
            raise self._broken(f"the connection broke: {error.strerror}", "look whether it still runs") from None
        try:
            answer = json.loads(line)
        except ValueError:
            raise self._broken("its answer is no JSON", "give the --socket of an instance of these sources") from None
        if not isinstance(answer, dict) or "ok" not in answer:
            raise self._broken("its answer is none", "give the --socket of an instance of these sources")
        return answer

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_line(self) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._input:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            data = self._channel.recv(CHUNK_BYTES)
            if not data:
                raise self._broken("it hung up before it answered", "look whether it still runs")
            self._input += data
            if len(self._input) > ANSWER_BYTES_MAX:
                raise self._broken("its answer does not end", "give the --socket of an instance of these sources")
        line, _, rest = bytes(self._input).partition(b"\n")
        self._input[:] = rest
        return line

    def _broken(self, what: str, remedy: str) -> InstanceError:
        return InstanceError(f"instance '{self.instance}': {what}", str(self.path), remedy)


def running_instances() -> list[str]:
    """Return the names of this user's instances whose control sockets are served."""
    found = []
    for path in all_sockets():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(os.fspath(path))
            except OSError:
                continue
            found.append(path.name.removesuffix(SUFFIX))
    return sorted(set(found))


def _connect(instance: str, paths: list[Path], timeout_s: float) -> tuple[Path, socket.socket]:
    """Connect to the first of these sockets that is served, by a process of ours or of root's."""
    is_deaf = False
    for path in paths:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(timeout_s)
        try:
            channel.connect(os.fspath(path))
        except FileNotFoundError:
            channel.close()
            continue
        except ConnectionRefusedError:
            channel.close()
            is_deaf = True
            continue
        except OSError as error:
            channel.close()
            what = f"cannot connect to instance '{instance}': {error.strerror}"
            raise InstanceError(what, str(path), "ask as the user who started it") from None
        _check_server(instance, path, channel)
        return path, channel
    if is_deaf:
        what = f"nobody listens at the socket of instance '{instance}'"
        raise InstanceError(what, str(paths[0]), "wait until it is ready, or start it again where a crash ended it")
    raise InstanceError(f"instance '{instance}' does not run", "control socket", _remedy(instance))


def _check_server(instance: str, path: Path, channel: socket.socket) -> None:
    """See that it is the instance's user who answers: whoever owned the socket could say anything."""
    uid = peer_of(channel).uid
    if os.geteuid() not in (0, uid) and uid != 0:
        channel.close()
        raise InstanceError(f"instance '{instance}' is served by user {uid}", str(path), "ask as the user who started it")


def _remedy(instance: str) -> str:
    running = running_instances()
    if not running:
        return "start it with tools/run.py"
    near = nearest(instance, running, 1)
    return f"did you mean --instance {near[0]}?" if near else f"running are {', '.join(running)}: give --instance NAME"
