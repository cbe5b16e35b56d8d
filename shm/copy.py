"""Copy one record of an array over another of the same array, as one move of a size that the compiler knows.

A loop over words costs a turn for each, since their number is known only when it runs; a record of 128 bytes becomes four
vector moves here. The copy is of plain bytes: it belongs where nobody reads until a commit says so.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from shm.jit import JIT_ENABLED

_ALIGNMENT = 8


@intrinsic
def _copy_record(typing_context, records, target, source):
    is_records = isinstance(records, types.Array) and isinstance(records.dtype, types.Record)
    if not is_records or records.ndim != 1 or records.layout != "C":
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        size_bytes = signature.args[0].dtype.size
        to, origin = (builder.gep(array.data, [index]) for index in args[1:])
        cgutils.raw_memcpy(builder, to, origin, ir.Constant(ir.IntType(64), size_bytes), 1, _ALIGNMENT)
        return context.get_dummy_value()

    return types.void(records, types.intp, types.intp), codegen


def _plain_copy_record(records: np.ndarray, target: int, source: int) -> None:
    records[target] = records[source]


#: copy_record(records, target, source): records[target] = records[source], without the bounds and the loop.
copy_record = _copy_record if JIT_ENABLED else _plain_copy_record
