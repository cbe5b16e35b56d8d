"""Ordered access to shared words, and the few instructions that numba lacks.

Every shared word goes through here. numba hoists a plain load out of a spin loop and sinks plain stores out of theirs, so
that polling an array element never ends; these intrinsics emit LLVM's ordered loads and stores instead. On x86 acquire and
release are plain moves; on aarch64 they are `ldar` and `stlr`.

With the JIT off (NUMBA_DISABLE_JIT=1) each has a plain Python twin: one process, one thread, so order is that of the program.
"""

import ctypes
import platform
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from shm.jit import JIT_ENABLED

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_CLOCK_MONOTONIC = 1
_SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_PAUSE = {"x86_64": "llvm.x86.sse2.pause", "aarch64": "llvm.aarch64.hint"}[platform.machine()]
_AARCH64_YIELD_HINT = 1


def _word_pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Point at element `index` of a 1-D int64 array."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


def _is_words(array: Any) -> bool:
    # Contiguous only: the address is computed from the index alone.
    return isinstance(array, types.Array) and array.dtype == types.int64 and array.ndim == 1 and array.layout == "C"


def _make_load(ordering: str) -> Any:
    """Build an intrinsic that loads one word with the ordering given."""

    @intrinsic
    def load(typing_context, words, index):
        if not _is_words(words):
            return None

        def codegen(context, builder, signature, args):
            return builder.load_atomic(_word_pointer(context, builder, signature, args), ordering, 8)

        return types.int64(words, types.intp), codegen

    return load


def _make_store(ordering: str) -> Any:
    """Build an intrinsic that stores one word with the ordering given."""

    @intrinsic
    def store(typing_context, words, index, value):
        if not _is_words(words):
            return None

        def codegen(context, builder, signature, args):
            builder.store_atomic(args[2], _word_pointer(context, builder, signature, args), ordering, 8)
            return context.get_dummy_value()

        return types.void(words, types.intp, types.int64), codegen

    return store


def _make_fence(ordering: str) -> Any:
    """Build an intrinsic that is a memory fence."""

    @intrinsic
    def fence(typing_context):
        def codegen(context, builder, signature, args):
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), codegen

    return fence


def _c_function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


@intrinsic
def _pause(typing_context):
    def codegen(context, builder, signature, args):
        if _PAUSE == "llvm.x86.sse2.pause":
            builder.call(_c_function(builder, _PAUSE, ir.VoidType(), []), [])
        else:
            builder.call(_c_function(builder, _PAUSE, ir.VoidType(), [_I32]), [_I32(_AARCH64_YIELD_HINT)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _highest_bit(typing_context, value):
    def codegen(context, builder, signature, args):
        return builder.sub(_I64(63), builder.ctlz(args[0], ir.IntType(1)(0)))

    return types.int64(types.int64), codegen


@intrinsic
def _yield_core(typing_context):
    def codegen(context, builder, signature, args):
        builder.call(_c_function(builder, "sched_yield", _I32, []), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _monotonic_ns(typing_context):
    def codegen(context, builder, signature, args):
        timespec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
        pointer = builder.bitcast(timespec, _I8.as_pointer())
        gettime = _c_function(builder, "clock_gettime", _I32, [_I32, _I8.as_pointer()])
        builder.call(gettime, [_I32(_CLOCK_MONOTONIC), pointer])
        whole = builder.load(cgutils.gep_inbounds(builder, timespec, 0, 0))
        part = builder.load(cgutils.gep_inbounds(builder, timespec, 0, 1))
        return builder.add(builder.mul(whole, _I64(1_000_000_000)), part)

    return types.int64(), codegen


@intrinsic
def _sleep_ns(typing_context, duration_ns):
    def codegen(context, builder, signature, args):
        timespec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
        billion = _I64(1_000_000_000)
        builder.store(builder.sdiv(args[0], billion), cgutils.gep_inbounds(builder, timespec, 0, 0))
        builder.store(builder.srem(args[0], billion), cgutils.gep_inbounds(builder, timespec, 0, 1))
        pointer = _I8.as_pointer()
        nanosleep = _c_function(builder, "nanosleep", _I32, [pointer, pointer])
        builder.call(nanosleep, [builder.bitcast(timespec, pointer), pointer(None)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def _futex_wait(typing_context, words, index, expected, timeout_ns):
    if not _is_words(words):
        return None

    def codegen(context, builder, signature, args):
        word = builder.ptrtoint(_word_pointer(context, builder, signature, args), _I64)
        timespec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
        billion = _I64(1_000_000_000)
        builder.store(builder.sdiv(args[3], billion), cgutils.gep_inbounds(builder, timespec, 0, 0))
        builder.store(builder.srem(args[3], billion), cgutils.gep_inbounds(builder, timespec, 0, 1))
        syscall = _c_function(builder, "syscall", _I64, [_I64] * 7)
        arguments = [_I64(_SYS_FUTEX), word, _I64(_FUTEX_WAIT), args[2], builder.ptrtoint(timespec, _I64), _I64(0), _I64(0)]
        return builder.call(syscall, arguments)

    return types.int64(words, types.intp, types.int64, types.int64), codegen


@intrinsic
def _futex_wake(typing_context, words, index):
    if not _is_words(words):
        return None

    def codegen(context, builder, signature, args):
        word = builder.ptrtoint(_word_pointer(context, builder, signature, args), _I64)
        syscall = _c_function(builder, "syscall", _I64, [_I64] * 7)
        all_waiters = _I64(0x7FFFFFFF)
        arguments = [_I64(_SYS_FUTEX), word, _I64(_FUTEX_WAKE), all_waiters, _I64(0), _I64(0), _I64(0)]
        return builder.call(syscall, arguments)

    return types.int64(words, types.intp), codegen


def _plain_load(words: np.ndarray, index: int) -> int:
    return int(words[index])


def _plain_store(words: np.ndarray, index: int, value: int) -> None:
    words[index] = value


def _plain_nothing(*_ignored: object) -> None:
    return None


def _plain_highest_bit(value: int) -> int:
    return int(value).bit_length() - 1


def _plain_sleep(duration_ns: int) -> None:
    time.sleep(duration_ns / 1e9)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _plain_futex_wait(words: np.ndarray, index: int, expected: int, timeout_ns: int) -> int:
    address = ctypes.c_void_p(words.ctypes.data + 8 * int(index))
    timespec = (ctypes.c_long * 2)(int(timeout_ns) // 1_000_000_000, int(timeout_ns) % 1_000_000_000)
    return _libc.syscall(_SYS_FUTEX, address, _FUTEX_WAIT, ctypes.c_long(int(expected)), timespec, None, 0)


def _plain_futex_wake(words: np.ndarray, index: int) -> int:
    address = ctypes.c_void_p(words.ctypes.data + 8 * int(index))
    return _libc.syscall(_SYS_FUTEX, address, _FUTEX_WAKE, ctypes.c_long(0x7FFFFFFF), None, None, 0)


#: load_acquire(words, index) -> int64. Nothing after it moves before it.
load_acquire = _make_load("acquire") if JIT_ENABLED else _plain_load
#: load_relaxed(words, index) -> int64. Neither hoisted nor torn; orders nothing else.
load_relaxed = _make_load("monotonic") if JIT_ENABLED else _plain_load
#: store_release(words, index, value). Nothing before it moves after it.
store_release = _make_store("release") if JIT_ENABLED else _plain_store
#: store_relaxed(words, index, value). Neither sunk nor torn; orders nothing else.
store_relaxed = _make_store("monotonic") if JIT_ENABLED else _plain_store
#: fence_acquire(): loads before it stay before what follows.
fence_acquire = _make_fence("acquire") if JIT_ENABLED else _plain_nothing
#: fence_release(): what precedes it stays before the stores that follow. Costs nothing on x86.
fence_release = _make_fence("release") if JIT_ENABLED else _plain_nothing
#: fence_seq_cst(): a full barrier, for "store mine, then look at yours".
fence_seq_cst = _make_fence("seq_cst") if JIT_ENABLED else _plain_nothing
#: pause(): tell the core that this is a spin loop.
pause = _pause if JIT_ENABLED else _plain_nothing
#: highest_bit(value) -> int64, the position of the highest set bit of a value that is not negative; -1 for 0.
highest_bit = _highest_bit if JIT_ENABLED else _plain_highest_bit
#: yield_core(): let another runnable thread have the core (sched_yield).
yield_core = _yield_core if JIT_ENABLED else _plain_nothing
#: monotonic_ns() -> int64, CLOCK_MONOTONIC in nanoseconds: the same clock in every process of the machine.
monotonic_ns = _monotonic_ns if JIT_ENABLED else time.monotonic_ns
#: sleep_ns(duration_ns): nanosleep.
sleep_ns = _sleep_ns if JIT_ENABLED else _plain_sleep
#: futex_wait(words, index, expected, timeout_ns) -> 0 woken, -1 timeout, signal or the word differed. Looks at the word's low
#: 32 bits (both machines are little-endian). The futex is shared between processes.
futex_wait = _futex_wait if JIT_ENABLED else _plain_futex_wait
#: futex_wake(words, index) -> how many waiters it woke.
futex_wake = _futex_wake if JIT_ENABLED else _plain_futex_wake
