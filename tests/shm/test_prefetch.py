"""The hint that memory will be needed: it is generated, for records and words alike, and changes nothing."""

import numba
import numpy as np
import pytest

from shm.jit import JIT_ENABLED, njit
from shm.prefetch import prefetch
from tests.shm.records import RECORD

pytestmark = pytest.mark.jitless


@njit
def ask_for(records, matrix, words):
    """Ask for something of each kind of array, and for what is far past its end; returns a word."""
    prefetch(records, 8)
    prefetch(matrix, 64)
    prefetch(words, 1 << 40)
    return words[0]


def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return records, a matrix and words."""
    return np.zeros(8, RECORD), np.zeros((4, 8), np.int64), np.full(8, 7, np.int64)


def test_hint_beyond_an_array_changes_nothing() -> None:
    """Nothing is read, so nothing can fail."""
    given = arrays()
    assert 7 == ask_for(*given)
    assert [array.tolist() for array in arrays()] == [array.tolist() for array in given]


@pytest.mark.skipif(not JIT_ENABLED, reason="there is no generated code with the JIT off")
def test_hint_in_a_kernel_is_an_instruction() -> None:
    """Each of the three is in the generated code."""
    fresh = numba.njit(ask_for.py_func)
    fresh(*arrays())
    code = next(iter(fresh.inspect_asm().values()))
    assert 3 <= code.count("prefetch") + code.count("prfm")
