"""The sidecar's reading ends: batches out of the rings, cursors moved only once the database has them.

    orders, reports, events, notes   gating: a record stays in its ring until the transaction that stores it has committed
    ticks                            lossy: copied out at once; what the ring overwrote before is counted as missed

What a stream has read and where it goes on is a `Batch`. After a kill the database's own progress says where to resume, so
that a kill between commit and cursor, or between copy and commit, neither loses nor doubles a record that is still there.
"""

from typing import NamedTuple

import numpy as np

from pipeline.messages import TICK, TIMER
from shm.atomics import load_acquire, store_relaxed
from shm.jit import njit
from shm.layout import WORD
from shm.ring import AT, MISSED, PUBLISHED, SEEN, STRIDE, Ring, advance, copy_lossy, load_acquire_py, open_reader

#: Records of a gating ring that one flush stores.
GATING_ROWS = 16_384
#: Ticks that wait for a flush, and how many of them one look at the ring copies.
TICK_ROWS, TICK_CHUNK = 65_536, 16_384


class Progress(NamedTuple):
    """How far a stream is stored."""

    next_seq: int  #: the first ring sequence that is not
    stored: int  #: rows in the database
    missed: int  #: records that were overwritten before they were read


class Batch(NamedTuple):
    """What one flush stores of one stream."""

    stream: str
    records: np.ndarray
    seqs: np.ndarray  #: int64, the ring sequence of each record
    progress: Progress  #: how far the stream is stored, once this batch is


@njit
def copy_gating(reader, output_words):
    """Copy what a gating reader can read, without advancing it.

    Args:
        reader: Reader in mode GATING.
        output_words: Memory for the records as int64 rows; sets how many at most.
    Returns:
        How many records were copied, from the sequence reader.local[AT].
    """
    ring = reader.ring
    first = reader.local[AT]
    # Acquire: pairs with the release in ring.publish.
    count = min(load_acquire(ring.words, PUBLISHED) - first, output_words.shape[0])
    mask = ring.slots.shape[0] - 1
    for k in range(count):
        source = (first + k) & mask
        for w in range(output_words.shape[1]):
            output_words[k, w] = ring.slot_words[source, w]
    return count


@njit
def set_word(words, index, value):
    """Store one shared word."""
    store_relaxed(words, index, value)


class GatingStream:
    """A ring whose every record must reach the database: it holds its producer back until then."""

    def __init__(self, name: str, ring: Ring, index: int) -> None:
        self.name = name
        self.stored = 0
        self._reader = open_reader(ring, index)
        self._records = np.zeros(min(GATING_ROWS, len(ring.slots)), ring.slots.dtype)
        self._words = self._records.view(np.int64).reshape(len(self._records), ring.slots.dtype.itemsize // WORD)

    @property
    def progress(self) -> Progress:
        """How far it is stored; its cursor in the ring stands there."""
        return Progress(int(self._reader.local[AT]), self.stored, 0)

    @property
    def is_full(self) -> bool:
        """Whether as much is pending as one flush stores."""
        return self.pending >= len(self._records)

    @property
    def pending(self) -> int:
        """Records in the ring that are not stored yet."""
        return load_acquire_py(self._reader.ring.words, PUBLISHED) - int(self._reader.local[AT])

    def resume(self, known: Progress) -> None:
        """Go on where the database ends, or at the cursor where that is farther: another file has what lies between."""
        published = load_acquire_py(self._reader.ring.words, PUBLISHED)
        assert known.next_seq <= published, f"{self.name}: stored up to {known.next_seq} and published are only {published}"
        start = max(known.next_seq, int(self._reader.local[AT]))
        self._reader.local[SEEN] = start
        advance(self._reader, start)
        self.stored = known.stored

    def read(self) -> Batch:
        """Copy the next records; they stay in the ring."""
        first = int(self._reader.local[AT])
        count = int(copy_gating(self._reader, self._words))
        progress = Progress(first + count, self.stored + count, 0)
        return Batch(self.name, self._records[:count], np.arange(first, first + count, dtype=np.int64), progress)

    def committed(self, batch: Batch) -> None:
        """Give the records of a batch back to the producer: the database has them."""
        self._reader.local[SEEN] = batch.progress.next_seq
        advance(self._reader, batch.progress.next_seq)
        self.stored = batch.progress.stored


class TickStream:
    """The ticks ring, which never waits for us: ticks are copied out as they come and wait here for their flush.

    Timer ticks carry no data and are left out, so stored sequences have gaps there.
    """

    name = "ticks"

    def __init__(self, ring: Ring, index: int, keep: bool) -> None:
        self.stored = 0
        self._keep = keep
        self._reader = open_reader(ring, index)
        self._missed_word = MISSED + STRIDE * index
        rows = TICK_ROWS if keep else 0
        self._records = np.zeros(rows, TICK)
        self._words = self._records.view(np.int64).reshape(rows, TICK.itemsize // WORD)
        self._seqs = np.zeros(rows, np.int64)
        self._count = 0

    @property
    def missed(self) -> int:
        """Ticks that were overwritten before they were read."""
        return load_acquire_py(self._reader.ring.words, self._missed_word)

    @property
    def progress(self) -> Progress:
        """How far it is stored: up to the first tick that waits here."""
        next_seq = self._seqs[0] if self._count else self._reader.local[AT]
        return Progress(int(next_seq), self.stored, self.missed)

    @property
    def waiting(self) -> int:
        """Ticks that were copied out and are not stored yet."""
        return self._count

    @property
    def pending(self) -> int:
        """Ticks that are not stored yet, here or still in the ring."""
        if not self._keep:
            return 0
        return self._count + load_acquire_py(self._reader.ring.words, PUBLISHED) - int(self._reader.local[AT])

    def resume(self, known: Progress) -> None:
        """Go on where the database ends: what was copied and not stored may still be in the ring.

        Called again after a flush of unknown outcome, it drops what that flush did store.
        """
        self.stored = known.stored
        if self._count:
            self._drop(int(np.searchsorted(self._seqs[: self._count], known.next_seq)))
            return
        # The count of missed ticks goes back with the cursor: what is missed from there on is counted again.
        set_word(self._reader.ring.words, self._missed_word, known.missed)
        self._reader.local[SEEN] = known.next_seq
        advance(self._reader, known.next_seq)

    def warm_up(self) -> None:
        """Compile what `fill` calls, without room for a tick."""
        copy_lossy(self._reader, self._records[:0], self._words[:0])

    def fill(self) -> int:
        """Copy what the ring holds, as far as there is room here; return how many ticks came."""
        if not self._keep:
            # Nobody wants them: keep up, so that the ring shows no reader far behind.
            end = load_acquire_py(self._reader.ring.words, PUBLISHED)
            self._reader.local[SEEN] = end
            advance(self._reader, end)
            return 0
        came = 0
        while self._count < TICK_ROWS:
            end = min(self._count + TICK_CHUNK, TICK_ROWS)
            fresh = slice(self._count, end)
            count = int(copy_lossy(self._reader, self._records[fresh], self._words[fresh]))
            if count == 0:
                break
            after = int(self._reader.local[AT])
            self._seqs[self._count : self._count + count] = np.arange(after - count, after)
            came += count
            self._count += count
        return came

    def read(self) -> Batch:
        """Return the ticks that wait, without those of the timer."""
        kept = np.flatnonzero(self._records["kind"][: self._count] != TIMER)
        progress = Progress(int(self._reader.local[AT]), self.stored + len(kept), self.missed)
        return Batch(self.name, self._records[kept], self._seqs[kept], progress)

    def committed(self, batch: Batch) -> None:
        """Forget the ticks of a batch: the database has them."""
        self.stored = batch.progress.stored
        self._drop(int(np.searchsorted(self._seqs[: self._count], batch.progress.next_seq)))

    def _drop(self, count: int) -> None:
        """Forget the first ticks that wait."""
        left = self._count - count
        self._words[:left] = self._words[count : self._count].copy()
        self._seqs[:left] = self._seqs[count : self._count].copy()
        self._count = left
