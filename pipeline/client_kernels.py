"""The few kernels of a strategy's client, and the arrays that they take.

A client reads three rings and two tables of different records. Its kernels see all of them as rows of int64 words, so that
one compiled kernel serves every ring and one every table: a strategy's process starts fast and stays small.
"""

import numpy as np

from pipeline.messages import REQUEST
from pipeline.stop_rows import StopWords, read_stops
from shm.atomics import monotonic_ns
from shm.jit import njit
from shm.layout import WORD
from shm.ring import (
    CURSOR,
    FULL,
    MISSED,
    PUBLISHED,
    STRIDE,
    WORD_COUNT,
    Producer,
    Reader,
    Ring,
    advance,
    claim,
    copy_lossy,
    load_acquire_py,
    open_ring,
    publish,
)
from shm.rows import Table, open_table, read
from shm.segment import Segment


@njit
def send_request(pen, words):
    """Write a prepared request, numbered and stamped, and wake risk where it sleeps.

    Args:
        pen: Producer of a requests ring.
        words: REQUEST as int64 words; its request_id and sent_ns are filled in here.
    Returns:
        The request's sequence in the ring, or FULL: nothing was written.
    """
    seq = claim(pen, 1)
    if seq == FULL:
        return FULL
    slots = pen.ring.slots
    at = seq & (slots.shape[0] - 1)
    for w in range(words.shape[0]):
        pen.ring.slot_words[at, w] = words[w]
    request = slots[at]
    # Numbered by the ring, so that the next process on this slot goes on where this one ended, whatever ended it.
    request["request_id"] = seq + 1
    request["sent_ns"] = monotonic_ns()
    publish(pen)
    return seq


@njit
def read_rows(table, first, output_words):
    """Copy rows of a table, each whole, from row `first` on; `output_words` sets how many."""
    for k in range(output_words.shape[0]):
        read(table, first + k, output_words[k])


def open_words_table(segment: Segment, name: str, dtype: np.dtype) -> Table:
    """Return a table of the instance for the kernels here, its records as words."""
    table = open_table(segment, name, dtype)
    return table._replace(copies=table.words)


class Stream:
    """A strategy's lossy end of one ring; it holds nobody back.

    It starts at the newest record: what was published before this process came is not its business.

    Args:
        segment: The instance.
        name: The ring.
        dtype: Its records.
        index: Which reading end is ours.
    """

    def __init__(self, segment: Segment, name: str, dtype: np.dtype, index: int) -> None:
        ring = open_ring(segment, name, dtype)
        self._dtype = dtype
        self._words, self._index = ring.words, index
        start = load_acquire_py(ring.words, PUBLISHED)
        self.reader = Reader(ring._replace(slots=ring.slot_words), np.array([start, start], np.int64), index)
        self._missed_before = self._missed_word
        advance(self.reader, start)

    def skip(self) -> None:
        """Let go of all that is there and not read."""
        advance(self.reader, load_acquire_py(self._words, PUBLISHED))

    @property
    def _missed_word(self) -> int:
        return load_acquire_py(self._words, MISSED + STRIDE * self._index)

    @property
    def missed(self) -> int:
        """How many records were overwritten before this process read them."""
        return self._missed_word - self._missed_before

    @property
    def waiting(self) -> int:
        """How many records were published and not read yet, those included that are lost by now."""
        return load_acquire_py(self._words, PUBLISHED) - load_acquire_py(self._words, CURSOR + STRIDE * self._index)

    def read(self, limit: int) -> np.ndarray:
        """Copy the next records, at most `limit`, oldest first; an empty array where there are none."""
        count = min(self.waiting, limit, len(self.reader.ring.slots))
        output = np.empty(max(count, 0), self._dtype)
        if count > 0:
            words = output.view(np.int64).reshape(count, self._dtype.itemsize // WORD)
            output = output[: int(copy_lossy(self.reader, words, words))]
        return output


def warm_up_sending() -> Ring:
    """Compile or load the kernel that writes requests, on a private ring, which is returned."""
    words, memory = np.zeros(WORD_COUNT, np.int64), np.zeros(1, np.int64)
    slots = np.zeros(2, REQUEST)
    ring = Ring(words, slots, slots.view(np.int64).reshape(2, -1), 0)
    send_request(Producer(ring, np.zeros(2, np.int64), memory), np.zeros(1, REQUEST).view(np.int64))
    return ring


def warm_up() -> None:
    """Compile or load every kernel of a client, on private arrays: no instance is needed."""
    ring = warm_up_sending()
    reader = Reader(ring._replace(slots=ring.slot_words), np.zeros(2, np.int64), 0)
    output = np.zeros_like(ring.slot_words)
    copy_lossy(reader, output, output)
    advance(reader, 0)
    table = Table(np.zeros(1, np.int64), ring.slot_words, ring.slot_words, 0)
    read_rows(table, 0, output[:1])
    words_of = np.zeros((1, 1), np.int64)
    read_stops(StopWords(table, words_of, *[np.zeros(1, np.int64)] * 3), np.zeros((1, output.shape[1] + 4), np.int64))
