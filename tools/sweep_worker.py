"""One process of a sweep: it plays its share of the cells and sends home what came of each."""

import multiprocessing
import pickle
import signal
from collections.abc import Sequence
from multiprocessing.context import SpawnContext
from queue import Empty
from typing import Any, NamedTuple

import numpy as np

from pipeline.backtest.cells import play_cells
from pipeline.child import die_with_supervisor
from pipeline.config import config_from_json
from pipeline.errors import UserError
from pipeline.ingest.recordings import open_recording

try:
    import faster_fifo

    # Without it a queue cannot be handed to a spawned process.
    import faster_fifo_reduction  # type: ignore[import-untyped]  # noqa: F401
except ImportError:
    # It has no wheels for some machines.
    faster_fifo = None

QUEUE_BYTES = 1 << 20
#: Longest that a worker waits for room in the queue: the parent empties it all the time.
PUT_S = 60.0


class Share(NamedTuple):
    """What one process has to do."""

    recording: str
    config: dict[str, Any]  #: as `config_to_json` wrote it
    positions: np.ndarray  #: PLANNED without stops, one row for each position and watch
    batches: Sequence[Sequence["CellPlan"]]


class CellPlan(NamedTuple):
    """One cell: which rows of the positions it takes, and the stop of each."""

    number: int
    rows: np.ndarray  #: int64
    stops: np.ndarray  #: PLANNED without positions, one for each of `rows`


class Results:
    """The way home: faster-fifo where there is one, else a queue of the standard library."""

    def __init__(self, context: SpawnContext) -> None:
        self._queue: Any = faster_fifo.Queue(max_size_bytes=QUEUE_BYTES) if faster_fifo else context.Queue()

    def send(self, message: Any) -> None:
        """Send one message, from a worker."""
        self._queue.put(pickle.dumps(message), timeout=PUT_S)

    def receive(self, timeout_s: float) -> list[Any]:
        """Return what has come, after `timeout_s` at the latest."""
        try:
            found = self._queue.get_many(timeout=timeout_s) if faster_fifo else [self._queue.get(timeout=timeout_s)]
        except Empty:
            return []
        return [pickle.loads(message) for message in found]


def make_context() -> SpawnContext:
    """Return the way in which the processes of a sweep are started."""
    return multiprocessing.get_context("spawn")


def cell_positions(plan: CellPlan, positions: np.ndarray) -> np.ndarray:
    """Put a cell's stops on its positions: PLANNED."""
    planned = plan.stops.copy()
    for name in ("instrument", "side", "entry_units", "quantity_lots", "entry_ns"):
        planned[name] = positions[name][plan.rows]
    return planned


def work(share: Share, results: Results) -> None:
    """Play a share and send home a dict for each cell; a user's mistake goes home as its lines. The entry of a process."""
    # Ctrl-C reaches the whole foreground group: the parent stops us in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_supervisor()
    try:
        recording, config = open_recording(share.recording), config_from_json(share.config)
        for batch in share.batches:
            cells = [cell_positions(plan, share.positions) for plan in batch]
            for plan, outcome in zip(batch, play_cells(recording, cells, config), strict=True):
                results.send((plan.number, outcome))
    except UserError as error:
        results.send((None, (error.what, error.where, error.remedy)))
