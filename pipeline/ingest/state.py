"""What the ingest stage holds: its arrays as kernels take them, and how they are opened."""

from typing import NamedTuple

import numpy as np

from pipeline.ingest.conflate import LINK_WORDS, NONE, TRACK_COUNT, TRACK_WORDS
from pipeline.ingest.hygiene import Hygiene
from pipeline.messages import TICK
from pipeline.tables import HYGIENE
from shm.counters import Counters, open_counters
from shm.ring import Producer, open_producer, open_ring
from shm.segment import Segment
from shm.transaction import Transaction, open_transaction

# Private words.
CHUNK_AT, CHUNK_END, ENDED, NEXT_DUE_NS, LAST_SENT_NS, OFFERS = range(6)

#: Ticks that a feed hands over at once. Small when paced, since making them takes time that a due tick would wait.
CHUNK_PACED, CHUNK_FAST = 256, 8192
#: At full speed ingest is at most this far ahead of the slowest reader that it waits for, so that the stages and the strategies
#: see nearly the same moment.
LEAD_TICKS_MAX = 1024


class IngestState(NamedTuple):
    """Everything that the kernels of this stage touch."""

    transaction: Transaction
    ticks: Producer
    words: np.ndarray  #: topology's ingest words
    words_base: int
    counters: Counters
    chunk: np.ndarray  #: private: TICK records from the feed
    keep: np.ndarray  #: private: marks of conflation
    tracks: np.ndarray  #: private: scratch of conflation, by instrument
    links: np.ndarray  #: private: scratch of conflation, by tick of the chunk
    hygiene: Hygiene
    local: np.ndarray  #: private words
    slowness: float  #: our nanoseconds per nanosecond of event time; 0 = as fast as possible
    live: bool  #: what finds no room is conflated; else it waits
    held_back: int  #: slots of the ring that stay empty: at full speed ingest keeps close to its readers


def open_hygiene(segment: Segment, instrument_count: int, max_jump_ppm: int, numbered: bool) -> Hygiene:
    """Take hygiene up as it was left; the first batch undoes what does not count."""
    return Hygiene(
        rows=segment.array("hygiene.rows", HYGIENE),
        undo=segment.array("hygiene.undo"),
        words=np.zeros(1, np.int64),
        instrument_count=instrument_count,
        max_jump_ppm=max_jump_ppm,
        numbered=numbered,
    )


def open_ingest(
    segment: Segment, instrument_count: int, speed: float, live: bool, max_jump_ppm: int = 0, numbered: bool = False
) -> IngestState:
    """Open the stage on an instance: first redo what a dead process left half applied, then read.

    Args:
        segment: The instance.
        instrument_count: How many instruments.
        speed: 1.0 = as it happened, 10.0 = ten times as fast, inf = as fast as possible.
        live: Whether a full ring conflates.
        max_jump_ppm: Farthest that a price may be from the last valid one without being confirmed; 0 = any.
        numbered: Whether the feed numbers the trades of each instrument one by one, so that a gap shows a loss.
    """
    transaction = open_transaction(segment, "ingest")
    fast = speed == float("inf")
    ticks = open_producer(segment, open_ring(segment, "ticks", TICK))
    chunk_count = CHUNK_FAST if fast else CHUNK_PACED
    return IngestState(
        transaction=transaction,
        ticks=ticks,
        words=segment.array("ingest.state"),
        words_base=segment.base("ingest.state"),
        counters=open_counters(segment, "ingest"),
        chunk=np.zeros(chunk_count, TICK),
        keep=np.zeros(chunk_count, np.uint8),
        tracks=np.full((instrument_count, TRACK_COUNT, TRACK_WORDS), NONE, np.int64),
        links=np.zeros((TRACK_COUNT, chunk_count, LINK_WORDS), np.int64),
        hygiene=open_hygiene(segment, instrument_count, max_jump_ppm, numbered),
        local=np.zeros(8, np.int64),
        slowness=0.0 if fast else 1.0 / speed,
        live=live and not fast,
        held_back=max(0, len(ticks.ring.slots) - LEAD_TICKS_MAX) if fast else 0,
    )
