"""The requests rings of all strategies and of the control socket, as risk reads them: one view, whatever their number.

They lie one behind the other in the instance file, each as long as the next. A tuple of readers would be another type for each
number of strategies, every kernel that takes risk's state would be compiled anew for it, and to pick one would copy them all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.messages import REQUEST
from shm.atomics import load_acquire
from shm.jit import njit_inner, njit_merged
from shm.layout import WORD
from shm.ring import PUBLISHED, cursor_word, open_reader, open_ring
from shm.segment import Segment
from shm.transaction import stage

#: Risk is the one reader of each.
READER = 0
# Columns of `words`.
PUBLISHED_WORD, CURSOR_WORD = 0, 1


class Inbox(NamedTuple):
    """Every requests ring, as kernels take them."""

    slots: np.ndarray  #: REQUEST (rings, capacity)
    words: np.ndarray  #: int64 (rings, 2): where in memory `published` of a ring lies, and risk's cursor
    at: np.ndarray  #: int64 per ring, private: the next sequence to take


def open_inbox(segment: Segment, names: Sequence[str]) -> Inbox:
    """Return the requests rings of these owners, taken up at risk's cursors."""
    readers = [open_reader(open_ring(segment, f"requests.{name}", REQUEST), READER) for name in names]
    places = [segment.base(f"requests.{name}.slots") for name in names]
    steps = set(np.diff(places).tolist())
    assert len(steps) <= 1, f"requests rings lie at {places}: the view needs them equally far apart"
    first = readers[0].ring.slots
    strides = (WORD * (steps.pop() if steps else 0), first.strides[0])
    slots = np.lib.stride_tricks.as_strided(first, (len(names), len(first)), strides)
    words = [[read.ring.base + PUBLISHED, cursor_word(read.ring, READER)] for read in readers]
    return Inbox(slots, np.array(words, np.int64), np.array([read.local[0] for read in readers], np.int64))


@njit_merged
def has_requests(memory, inbox):
    """Tell whether any request waits."""
    for k in range(inbox.at.shape[0]):
        if load_acquire(memory, inbox.words[k, PUBLISHED_WORD]) > inbox.at[k]:
            return True
    return False


@njit_inner
def requests_end(memory, inbox, k):
    """Return the sequence after the last readable request of ring k."""
    # Acquire: pairs with the release in ring.publish.
    return load_acquire(memory, inbox.words[k, PUBLISHED_WORD])


@njit_inner
def stage_taken(transaction, inbox, k, seq):
    """Advance ring k past a request when the transaction commits."""
    inbox.at[k] = seq + 1
    stage(transaction, inbox.words[k, CURSOR_WORD], seq + 1)
