"""Records that check themselves, and kernels that write and verify them: every word derives from the sequence."""

import numpy as np

from shm.jit import njit

#: A record of one cache line; with the JIT off a subscript by field would do as well as by word.
RECORD = np.dtype([(f"word{number}", "i8") for number in range(8)], align=True)
#: A row of two cache lines.
ROW = np.dtype([(f"word{number}", "i8") for number in range(16)], align=True)


@njit
def word_of(seq, place):
    """Return what word `place` of the record of sequence `seq` must hold: no two records share any word."""
    return 8 * seq + place


@njit
def write_record(slot_words, slot, seq):
    """Fill one record of a ring."""
    for place in range(slot_words.shape[1]):
        slot_words[slot, place] = word_of(seq, place)


@njit
def wrong_words(record_words, seq):
    """Return how many words of a record are not those of `seq`."""
    wrong = 0
    for place in range(record_words.shape[0]):
        if record_words[place] != word_of(seq, place):
            wrong += 1
    return wrong
