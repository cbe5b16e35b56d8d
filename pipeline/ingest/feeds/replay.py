"""Replay: a recording as a feed, whole or only some of its instruments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import RecordingError
from pipeline.instruments import Instruments
from pipeline.messages import TICK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.ingest.recordings import Recording

# A chosen tick is looked for this many rows at a time, so that the search holds little memory beside its result.
SEARCH_CHUNK_TICKS = 1 << 18
NOT_CHOSEN = -1


def _words(ticks: np.ndarray) -> np.ndarray:
    """View ticks as rows of int64 words, shape (n, 8): numpy copies those whole, and records field by field."""
    return ticks.view(np.int64).reshape(len(ticks), TICK.itemsize // 8)


class Replay:
    """A Feed over a recording's mapped ticks. See `feed.Feed` for the meaning of its methods.

    Ticks are handed out as recorded. With `symbols` only the ticks of those instruments remain, renumbered to the table that
    holds them alone, in the order asked for; a position then counts the ticks that remain.
    """

    def __init__(self, recording: Recording, symbols: Sequence[str] = (), live: bool = False) -> None:
        """Open the recording at its first tick.

        Args:
            recording: an open recording.
            symbols: which instruments to keep; none given = all, ticks of instruments unknown to the table included.
            live: True where it is paced like a market, False where ingest takes it as fast as it can.
        Raises:
            UserError: a symbol that the recording lacks, or not one tick that remains.
        """
        self.live = live
        self.numbered = bool(recording.info.get("trades_numbered", False))
        self.position = 0
        self._path = str(recording.path)
        self._ticks = np.asarray(recording.ticks)
        self._rows: np.ndarray | None = None
        self._renumbered = np.empty(0, dtype=np.int64)
        self.instruments = recording.instruments
        if symbols:
            self._choose(recording.instruments, list(dict.fromkeys(symbols)))
        if self.tick_count == 0:
            what = f"no tick of {', '.join(symbols)}" if symbols else "no tick"
            raise RecordingError(what, self._path, "choose other symbols, or import the recording again")

    @property
    def tick_count(self) -> int:
        """How many ticks the replay hands out in all."""
        return len(self._ticks) if self._rows is None else len(self._rows)

    def seek(self, position: int) -> None:
        """Go on after `position` ticks.

        Raises:
            RecordingError: the recording is shorter than that, so it is not the one that the position comes from.
        """
        if not 0 <= position <= self.tick_count:
            what = f"position {position:,} in a replay of {self.tick_count:,} ticks"
            raise RecordingError(what, self._path, "start a fresh instance (--fresh), or replay the same recording again")
        self.position = position

    def fill(self, chunk: np.ndarray) -> int:
        """Copy the next ticks into chunk[:count]; 0 at the end of the recording."""
        count = min(len(chunk), self.tick_count - self.position)
        span = slice(self.position, self.position + count)
        if self._rows is None:
            _words(chunk[:count])[:] = _words(self._ticks[span])
        else:
            # Every row is within bounds; "clip" is the mode that writes to the chunk without a buffer between.
            np.take(_words(self._ticks), self._rows[span], axis=0, out=_words(chunk[:count]), mode="clip")
            chunk["instrument"][:count] = self._renumbered[chunk["instrument"][:count]]
        self.position += count
        return count

    def close(self) -> None:
        """Let go of the mapping: it goes away with the last reference to it."""
        self._ticks = np.empty(0, dtype=TICK)
        self._rows = None
        self.position = 0

    def _choose(self, table: Instruments, symbols: list[str]) -> None:
        """Find the rows of these symbols, and number their instruments in the order given."""
        kept = [table.index(symbol) for symbol in symbols]
        self.instruments = Instruments([table[i] for i in kept])
        self._renumbered = np.full(len(table), NOT_CHOSEN, dtype=np.int64)
        self._renumbered[kept] = np.arange(len(kept))
        found = []
        for start in range(0, len(self._ticks), SEARCH_CHUNK_TICKS):
            instrument = self._ticks["instrument"][start : start + SEARCH_CHUNK_TICKS]
            known = instrument < len(table)
            chosen = known & (self._renumbered[np.where(known, instrument, 0)] != NOT_CHOSEN)
            found.append(np.flatnonzero(chosen) + start)
        self._rows = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
