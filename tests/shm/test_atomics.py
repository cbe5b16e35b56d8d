"""Ordered loads and stores: what is generated, and what the plain twins do."""

import subprocess
import sys
import threading

import numba
import numpy as np
import pytest

from shm import atomics
from shm.jit import JIT_ENABLED, njit
from tests.crash_points import ROOT

compiled_only = pytest.mark.skipif(not JIT_ENABLED, reason="there is no generated code with the JIT off")
TURNS_MAX = 200_000_000


@njit
def exercise(words):
    """Use every atomic once; returns what the loads saw."""
    atomics.store_release(words, 0, 11)
    atomics.store_relaxed(words, 1, -12)
    atomics.fence_release()
    atomics.fence_acquire()
    atomics.fence_seq_cst()
    atomics.pause()
    atomics.yield_core()
    return atomics.load_acquire(words, 0), atomics.load_relaxed(words, 1)


@njit
def spin_until_set(words, turns_max):
    """Say in word 1 that it spins, and spin until another thread sets word 0; returns the turns left, 0 = it never did."""
    atomics.store_release(words, 1, 1)
    for turn in range(turns_max):
        if atomics.load_acquire(words, 0) != 0:
            return turns_max - turn
        atomics.yield_core()
    return 0


@njit
def clock_twice():
    """Read the clock around a sleep of a millisecond."""
    first = atomics.monotonic_ns()
    atomics.sleep_ns(1_000_000)
    return first, atomics.monotonic_ns()


@njit
def wait_for(words, expected, timeout_ns):
    """Wait on word 0 by futex."""
    return atomics.futex_wait(words, 0, expected, timeout_ns)


@njit
def wake_all(words):
    """Wake all waiters on word 0."""
    return atomics.futex_wake(words, 0)


def generated(kernel: object, signature: str) -> tuple[str, str]:
    """Return the optimised LLVM code and the assembly of a kernel."""
    fresh = numba.njit(kernel.py_func)  # type: ignore[attr-defined]
    fresh.compile(signature)
    return next(iter(fresh.inspect_llvm().values())), next(iter(fresh.inspect_asm().values()))


@pytest.mark.jitless
def test_atomics_used_in_turn_store_and_load_whole_words() -> None:
    """Compiled or plain, each store is what the next load sees."""
    words = np.zeros(4, np.int64)
    assert (11, -12) == exercise(words)
    assert [11, -12, 0, 0] == words.tolist()


@pytest.mark.jitless
@pytest.mark.parametrize("value", [0, 1, -1, 2**63 - 1, -(2**63), 2**32, 0x0123_4567_89AB_CDEF])
def test_store_release_any_int64_keeps_all_bits(value: int) -> None:
    """No value is cut to 32 bits or turned into a float on its way."""
    words = np.zeros(1, np.int64)

    store_first(words, value)
    assert (value, value) == (int(words[0]), load_first(words))


@njit
def store_first(words, value):
    """Store word 0 with release."""
    atomics.store_release(words, 0, value)


@njit
def load_first(words):
    """Load word 0 with acquire."""
    return atomics.load_acquire(words, 0)


@compiled_only
@pytest.mark.parametrize(
    "instruction",
    ["store atomic i64 11, ptr", "release, align 8", "store atomic i64 -12, ptr", "monotonic, align 8", "load atomic i64, ptr",
     "acquire, align 8", "fence release", "fence acquire", "fence seq_cst"],
)  # fmt: skip
def test_atomics_compiled_emit_the_ordered_instruction(instruction: str) -> None:
    """The optimised LLVM code still has each ordered access: none was folded into a plain one."""
    llvm_code, _ = generated(exercise, "UniTuple(int64, 2)(int64[::1])")
    assert instruction in llvm_code


@compiled_only
def test_spin_loop_over_load_acquire_ends_when_another_thread_stores() -> None:
    """A kernel that spins sees a store made after it began: the load stays inside the loop."""
    words = np.zeros(2, np.int64)
    spin_until_set(words, 1)
    words[:] = 0
    result: list[int] = []
    spinner = threading.Thread(target=lambda: result.append(spin_until_set(words, TURNS_MAX)))
    spinner.start()
    while words[1] == 0 and spinner.is_alive():
        pass
    store_first(words, 1)
    spinner.join()
    assert result[0] > 0


@compiled_only
def test_atomics_compiled_for_aarch64_use_its_ordered_instructions() -> None:
    """Release is stlr, acquire is ldar, the fences are dmb, and no plain access crosses them."""
    command = [sys.executable, "-m", "tests.shm.aarch64"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("dmb")) - 1
    mnemonics = [" ".join(line.split()[: 2 if line.startswith("dmb") else 1]) for line in lines[start : start + 9]]
    assert ["str", "dmb ish", "str", "stlr", "dmb ish", "ldar", "ldr", "dmb ishld", "ldr"] == mnemonics


@compiled_only
def test_atomics_on_a_strided_array_are_refused() -> None:
    """The address is computed from the index alone, so that a view with a stride would be read at the wrong place."""
    words = np.zeros(8, np.int64)
    with pytest.raises(numba.errors.TypingError):
        load_first(words[::2])


@compiled_only
def test_atomics_on_other_words_than_int64_are_refused() -> None:
    """A uint64 word would turn into a float beside an int64."""
    with pytest.raises(numba.errors.TypingError):
        load_first(np.zeros(2, np.uint64))


@pytest.mark.jitless
def test_monotonic_ns_around_a_sleep_advances_by_it() -> None:
    """The clock counts nanoseconds, and the sleep lasts at least what it was told."""
    first, second = clock_twice()
    assert second - first >= 1_000_000


@pytest.mark.jitless
def test_futex_wait_on_a_changed_word_returns_at_once() -> None:
    """A word that is no longer what the waiter saw is no reason to sleep; the low 32 bits count."""
    words = np.array([2 + (1 << 32)], np.int64)
    assert -1 == wait_for(words, 1, 3_600_000_000_000)


@pytest.mark.jitless
def test_futex_wait_not_woken_returns_after_its_timeout() -> None:
    """A timeout is an answer, not an error."""
    assert -1 == wait_for(np.ones(1, np.int64), 1, 1_000_000)


@pytest.mark.jitless
def test_futex_wake_without_waiters_wakes_none() -> None:
    """Waking nobody is harmless."""
    assert 0 == wake_all(np.ones(1, np.int64))


@compiled_only
def test_futex_wake_wakes_the_waiter_of_another_thread() -> None:
    """A waiter sleeps until it is woken, not until its timeout."""
    words = np.ones(1, np.int64)
    woken: list[int] = []
    waiter = threading.Thread(target=lambda: woken.append(wait_for(words, 1, 60_000_000_000)))
    waiter.start()
    wake_count = 0
    while wake_count == 0 and waiter.is_alive():
        wake_count = wake_all(words)
    waiter.join()
    assert (1, [0]) == (wake_count, woken)
