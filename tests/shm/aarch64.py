"""Compile an ordered sequence of the atomics for aarch64, whatever machine this is, and print its memory instructions.

A program of its own: LLVM ends the process where it cannot compile something.
"""

import re

import llvmlite.binding as llvm
import numba

from shm import atomics

TRIPLE = "aarch64-unknown-linux-gnu"
INSTRUCTION = re.compile(r"^\s+(ldar|ldapr|stlr|dmb|ldr|str)\s+(.*?)\s*$", re.MULTILINE)


@numba.njit
def ordered(words):
    """Use each of the atomics once, with plain accesses between them."""
    atomics.store_relaxed(words, 1, 5)
    atomics.fence_release()
    words[2] = 7
    atomics.store_release(words, 0, 1)
    atomics.fence_seq_cst()
    first = atomics.load_acquire(words, 3)
    second = words[4]
    atomics.fence_acquire()
    return first + second + atomics.load_relaxed(words, 5)


def compile_for_aarch64(source: str) -> str:
    """Return the assembly of numba's optimised LLVM code; what it says of the machine at hand is replaced."""
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine()
    source = re.sub(r"target triple = .*", f'target triple = "{TRIPLE}"', source)
    source = re.sub(r"target datalayout = .*", f'target datalayout = "{machine.target_data}"', source)
    # The reference counts of the array use instructions of x86, which play no part here.
    return machine.emit_assembly(llvm.parse_assembly(source.replace("llvm.x86.", "stub.").replace(" immarg", "")))


def main() -> None:
    """Print one line for each instruction of the kernel that touches memory or orders it."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    ordered.compile("int64(int64[::1])")
    assembly = compile_for_aarch64(next(iter(ordered.inspect_llvm().values())))
    for mnemonic, operands in INSTRUCTION.findall(assembly):
        print(mnemonic, operands)


if __name__ == "__main__":
    main()
