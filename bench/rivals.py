"""The queues between processes that a Python user would reach for first, measured as they are used: from Python."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any

try:
    import faster_fifo

    # Without it a queue cannot be handed to a spawned process.
    import faster_fifo_reduction  # type: ignore[import-untyped]  # noqa: F401
except ImportError:
    # It has no wheels for some machines: the bench then says so, and measures the others.
    faster_fifo = None

MESSAGE = b"\0" * 64
SLICE = 100
QUEUE_BYTES = 4096 * 128
WAIT_SECONDS = 20.0


@dataclass(frozen=True)
class Rival:
    """One way of passing messages.

    Attributes:
        make: Returns (sending end, receiving end).
        send: Sends one slice of `slice_size` messages.
        receive: Waits for at least one message and returns how many came.
    """

    name: str
    count: int
    slice_size: int
    make: Callable[[SpawnContext], tuple[Any, Any]]
    send: Callable[[Any], None]
    receive: Callable[[Any], int]


def _make_fifo(context: SpawnContext) -> tuple[Any, Any]:
    queue = faster_fifo.Queue(max_size_bytes=QUEUE_BYTES)
    return queue, queue


def _make_queue(context: SpawnContext) -> tuple[Any, Any]:
    queue = context.Queue(4096)
    return queue, queue


def _make_pipe(context: SpawnContext) -> tuple[Any, Any]:
    receiving, sending = context.Pipe(duplex=False)
    return sending, receiving


def _put_fifo(queue: Any) -> None:
    queue.put(MESSAGE, timeout=WAIT_SECONDS)


def _get_fifo(queue: Any) -> int:
    queue.get(timeout=WAIT_SECONDS)
    return 1


def _put_fifo_slice(queue: Any) -> None:
    queue.put_many([MESSAGE] * SLICE, timeout=WAIT_SECONDS)


def _get_fifo_slice(queue: Any) -> int:
    return len(queue.get_many(max_messages_to_get=SLICE, timeout=WAIT_SECONDS))


def _put_queue(queue: Any) -> None:
    queue.put(MESSAGE, timeout=WAIT_SECONDS)


def _get_queue(queue: Any) -> int:
    queue.get(timeout=WAIT_SECONDS)
    return 1


def _send_pipe(pipe: Any) -> None:
    pipe.send_bytes(MESSAGE)


def _receive_pipe(pipe: Any) -> int:
    if not pipe.poll(WAIT_SECONDS):
        raise TimeoutError("nothing came through the pipe")
    pipe.recv_bytes()
    return 1


FASTER_FIFO_SINGLE = Rival("faster-fifo, put and get", 60_000, 1, _make_fifo, _put_fifo, _get_fifo)
FASTER_FIFO_SLICES = Rival("faster-fifo, put_many of 100", 200_000, SLICE, _make_fifo, _put_fifo_slice, _get_fifo_slice)
QUEUE = Rival("multiprocessing.Queue", 60_000, 1, _make_queue, _put_queue, _get_queue)
PIPE = Rival("multiprocessing.Pipe", 100_000, 1, _make_pipe, _send_pipe, _receive_pipe)
RIVALS = (*((FASTER_FIFO_SINGLE, FASTER_FIFO_SLICES) if faster_fifo else ()), QUEUE, PIPE)


def _send_all(rival: Rival, sending: Any, count: int, core: int) -> None:
    """Send `count` messages. The entry of the sending process."""
    os.sched_setaffinity(0, {core})
    for _ in range(count // rival.slice_size):
        rival.send(sending)


def measure(rival: Rival, count: int, core: int) -> float:
    """Return messages per second from a process on `core` to this one, from the first received to the last."""
    context = multiprocessing.get_context("spawn")
    sending, receiving = rival.make(context)
    process = context.Process(target=_send_all, args=(rival, sending, count, core), daemon=True)
    process.start()
    try:
        taken = rival.receive(receiving)
        first, start = taken, time.perf_counter()
        while taken < count:
            taken += rival.receive(receiving)
        seconds = time.perf_counter() - start
    finally:
        process.join(WAIT_SECONDS)
        process.kill()
        process.join()
    return (taken - first) / seconds
