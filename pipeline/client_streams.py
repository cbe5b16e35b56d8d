"""What a strategy reads as it happens: ticks, reports and events, each as arrays of records."""

import threading
from abc import ABC, abstractmethod

import numpy as np

from pipeline.client_kernels import Stream
from pipeline.messages import TICK_OK

BATCH_MAX = 4096


class StreamReads(ABC):
    """The part of `pipeline.client.Client` that reads rings. Each call returns what is new since the last one."""

    slot: int
    _ticks: Stream
    _reports: Stream
    _events: Stream
    _lock: threading.Lock

    @abstractmethod
    def _look(self) -> None:
        """See that the instance still runs, and show that we do."""

    def ticks(self, limit: int = BATCH_MAX, with_rejected: bool = False) -> np.ndarray:
        """Return the ticks of all instruments since the last call, oldest first.

        Args:
            limit: Most ticks to take from the ring.
            with_rejected: Also those that hygiene rejected, TICK "flags" not 0; they are no prices.
        Returns:
            Array of TICK, a copy. Where this strategy is too slow, ticks are lost to it alone: see `ticks_missed`.
        """
        self._look()
        with self._lock:
            ticks = self._ticks.read(limit)
        return ticks if with_rejected else ticks[ticks["flags"] == TICK_OK]

    def skip_ticks(self) -> None:
        """Let go of the ticks that were not read: what a strategy calls that looks at marks and positions only.

        At full speed a recording waits for the strategies that the instance started itself; this lets it go on.
        """
        self._look()
        with self._lock:
            self._ticks.skip()

    @property
    def ticks_missed(self) -> int:
        """How many ticks were overwritten before this client read them."""
        return self._ticks.missed

    def reports(self, limit: int = BATCH_MAX, everyone: bool = False) -> np.ndarray:
        """Return the venue's words on this strategy's orders and exits since the last call: array of REPORT, oldest first.

        Args:
            limit: Most reports to return.
            everyone: Those of all strategies.
        """
        return self._own(self._reports, limit, everyone)

    @property
    def reports_missed(self) -> int:
        """How many reports, of all strategies, were overwritten before this client read them. Positions stay exact."""
        return self._reports.missed

    def events(self, limit: int = BATCH_MAX, everyone: bool = False) -> np.ndarray:
        """Return what risk did for this strategy since the last call: stops armed, fired, ended; requests refused.

        Args:
            limit: Most events to return.
            everyone: Those of all strategies.
        Returns:
            Array of EVENT, oldest first, a copy.
        """
        return self._own(self._events, limit, everyone)

    @property
    def events_missed(self) -> int:
        """How many events, of all strategies, were overwritten before this client read them."""
        return self._events.missed

    def _own(self, stream: Stream, limit: int, everyone: bool) -> np.ndarray:
        """Read until `limit` records of ours are found, or all that was there at the call is read."""
        self._look()
        with self._lock:
            left, found, batches = stream.waiting, 0, []
            if left == 0:
                return stream.read(0)
            while True:
                batch = stream.read(min(left, limit - found))
                left -= len(batch)
                ours = batch if everyone else batch[batch["strategy"] == self.slot]
                found += len(ours)
                batches.append(ours)
                if len(batch) == 0 or left <= 0 or found >= limit:
                    return np.concatenate(batches)
