"""Ask for memory before it is needed: lines that are asked for together come together, and not each after the one before.

A hint and no more: with the JIT off nothing happens.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from shm.jit import JIT_ENABLED

_I8, _I32 = ir.IntType(8), ir.IntType(32)
#: Arguments of llvm.prefetch: for reading, to be kept in all caches, data.
_READ, _KEEP, _DATA = _I32(0), _I32(3), _I32(1)


@intrinsic
def _prefetch(typing_context, array, offset_bytes):
    # Contiguous only: the address is computed from the offset alone.
    if not (isinstance(array, types.Array) and array.layout == "C"):
        return None

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.gep(builder.bitcast(data, _I8.as_pointer()), [args[1]])
        signature_of_hint = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        hint = cgutils.get_or_insert_function(builder.module, signature_of_hint, "llvm.prefetch.p0")
        builder.call(hint, [pointer, _READ, _KEEP, _DATA])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _plain_prefetch(*_ignored: Any) -> None:
    return None


#: prefetch(array, offset_bytes): ask for the cache line at that offset of a contiguous array, of whatever dtype.
prefetch = _prefetch if JIT_ENABLED else _plain_prefetch
