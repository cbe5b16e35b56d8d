"""What ingest asks of a feed: the one contract between the ingest worker and its sources of ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from pipeline.instruments import Instruments


@runtime_checkable
class Feed(Protocol):
    """A source of TICK records in the order in which they happened.

    A feed knows nothing of wall time: ingest maps `event_ns` to due times and restamps `recv_ns`. A position counts the
    ticks that a feed has handed out since its start; it is all that ingest keeps of a feed when it restarts.
    """

    #: What the `instrument` field of this feed's ticks indexes.
    instruments: Instruments
    #: True: the data cannot wait, so a full ring conflates. False: ingest waits for room.
    live: bool
    #: True: the trades of each instrument are numbered one by one in `venue_seq`, so that a gap shows that some were lost.
    numbered: bool

    @property
    def position(self) -> int:
        """Ticks handed out since the start, counting those that a seek went past."""

    def seek(self, position: int) -> None:
        """Make the next tick the one that follows `position` ticks from the start.

        Raises:
            RecordingError: this data has no such position.
        """

    def fill(self, chunk: np.ndarray) -> int:
        """Write the next ticks into chunk[:count].

        Args:
            chunk: one-dimensional array of TICK, written in place; nothing past the count is touched.
        Returns:
            How many ticks were written; 0 is the end of the data.
        """

    def close(self) -> None:
        """Let go of files and memory. A closed feed is not used again; closing twice does nothing."""
