"""An instance in the test's own process whose control socket is served turn by turn, and peers to talk to it."""

import json
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Self

import numpy as np

from pipeline.config import config_to_json, load_config, with_overrides
from pipeline.control import Control
from pipeline.launch import Launch
from pipeline.messages import EVENT, REQUEST, REQUEST_REFUSED
from pipeline.placement import Seat
from pipeline.topology import CONTROL, WORKERS
from shm import ring
from shm.wait import Strategy
from tests.pipeline.client_instance import INSTRUMENTS, SIZES, Instance

#: Turns in which an answer must have come.
TURNS_MAX = 2_000
DEADLINE_S = 60.0
CHUNK_BYTES = 1 << 16


class Owner:
    """What stands for the supervisor."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.told: list[str] = []
        self.is_halted = False

    def tell(self, line: str) -> None:
        """Keep a line."""
        self.told.append(line)

    def pids(self) -> dict[str, int]:
        """Say one pid."""
        return {"supervisor": 4711}


class Peer:
    """The other end of a control socket, non-blocking."""

    def __init__(self, path: Path) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.channel.setblocking(False)
        self.channel.connect(str(path))
        self.received = b""
        self.is_ended = False

    def send(self, data: bytes | str | dict[str, Any]) -> None:
        """Send bytes as they are, a text with its end of line, or an object as a line."""
        if isinstance(data, dict):
            data = json.dumps(data)
        self.channel.sendall(data if isinstance(data, bytes) else data.encode() + b"\n")

    def read(self) -> None:
        """Take what has come."""
        try:
            data = self.channel.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self.received += data
        self.is_ended = not data

    def lines(self) -> list[dict[str, Any]]:
        """Return the answers that came so far."""
        self.read()
        return [json.loads(line) for line in self.received.split(b"\n")[:-1]]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


class Served(Instance):
    """A rig with a control socket.

    Args:
        name: Instance name.
        with_risk: Whether risk steps in each turn; else a test answers in its place.
    """

    def __init__(self, name: str, with_risk: bool = True) -> None:
        config = with_overrides(load_config(), {"instance.name": name, "sidecar.enabled": False})
        seats = {worker: Seat(0, True, Strategy.PARK) for worker in WORKERS}
        about = {
            "config": config_to_json(config),
            "feed": {"symbols": []},
            "placement": {worker: {"core": 0, "wait": int(seat.wait)} for worker, seat in seats.items()},
            "strategies": {},
            "version": "0.1.0",
        }
        super().__init__(name, about=about)
        self.with_risk = with_risk
        self.owner = Owner(Launch(config, INSTRUMENTS, SIZES, seats, {}, (), ()))
        self.selector = selectors.DefaultSelector()
        self.control = Control(self.segment, self.owner)
        self.control.listen(self.selector)
        self.path = self.control._server.path
        requests = ring.open_ring(self.segment, f"requests.{CONTROL}", REQUEST)
        self.requests = ring.RingView(requests)

    def turn(self, timeout_s: float = 0.0) -> None:
        """Take one turn as the supervisor does."""
        for key, events in self.selector.select(timeout_s):
            key.data(events)
        self.control.turn()
        if self.with_risk:
            self.step("risk")
            self.drain_sidecar()

    def until(self, is_so: Callable[[], Any]) -> None:
        """Take turns until something is so."""
        for _ in range(TURNS_MAX):
            self.turn()
            if is_so():
                return
        raise AssertionError(f"not so after {TURNS_MAX} turns")

    def ask(self, question: bytes | str | dict[str, Any]) -> dict[str, Any]:
        """Send one question on a connection of its own, and return its answer."""
        with Peer(self.path) as peer:
            peer.send(question)
            self.until(peer.lines)
            return peer.lines()[0]

    def request(self) -> np.void:
        """Return the newest request of the control socket."""
        return self.requests.read(count=1)[0]

    def publish(self, *events: dict[str, Any]) -> None:
        """Publish events in risk's place."""
        pen = self.risk.events
        for event in events:
            seq = int(ring.claim(pen, 1))
            assert seq != ring.FULL, "the test tells more than the ring holds"
            slot = pen.ring.slots[seq & (SIZES.events - 1) : (seq & (SIZES.events - 1)) + 1]
            slot[:] = np.zeros(1, EVENT)
            slot["event_id"] = seq + 1
            for field, value in event.items():
                slot[field] = value
            ring.publish(pen)
            self.drain_sidecar()

    def answer(self, kind: int, **fields: Any) -> None:
        """Answer the newest request of the control socket in risk's place."""
        request = self.request()
        self.publish(
            {"kind": kind, "request_id": request["request_id"], "requester": SIZES.strategies,
             "instrument": request["instrument"], "strategy": request["strategy"], "stop_kind": request["stop_kind"],
             "watch": request["watch"], **fields}
        )  # fmt: skip

    def refuse(self, reason: int) -> None:
        """Refuse the newest request in risk's place."""
        self.answer(REQUEST_REFUSED, reason=reason)

    def end(self) -> None:
        """End the instance as a supervisor does, its socket first."""
        self.control.close()
        self.selector.close()
        super().end()


@contextmanager
def served(name: str, with_risk: bool = True) -> Iterator[Served]:
    """Give an instance whose first quotes are worked off and whose control socket listens, and end it afterwards."""
    instance = Served(name, with_risk)
    try:
        instance.settle()
        yield instance
    finally:
        instance.end()


@contextmanager
def turning(instance: Served) -> Iterator[None]:
    """Take turns in a thread of their own while the test blocks."""
    is_over = threading.Event()
    faults: list[BaseException] = []

    def work() -> None:
        deadline = monotonic() + DEADLINE_S
        try:
            while not is_over.is_set() and monotonic() < deadline:
                instance.turn(0.001)
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert [] == faults
