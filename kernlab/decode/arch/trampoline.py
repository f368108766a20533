"""x86-64: the code that a probed function's entry calls, and what it does at which byte.

    push 0                      a call that returns comes in here
    pushfq                      a call that is entered comes in here
    cli
 1: lock bts dword [lock], 0    one vCPU at a time: two watchpoints hit at once
    jc 1b                       would be reported by QEMU as one
    mov byte [watch], 1         <- stops here, after the write
    mov byte [lock], 0
    popfq
    ret

Interrupts are off in between, because a probed function run by an interrupt would wait
for the lock its own vCPU holds. No register changes but the flags, which a function's
caller does not expect to keep.

``gdb_scripts.trampoline`` plants it for the engine gdb, ``kernlab.vm.mechanisms`` to see
whether an accelerator stops at it. Python 3.9, standard library only.
"""

from __future__ import annotations

import struct

# arch/x86/include/asm/nops.h: the five-byte NOPs that ftrace leaves at a function's entry.
NOPS = frozenset((b"\x0f\x1f\x44\x00\x00", b"\x66\x66\x66\x66\x90"))
ENTERED_AT = 2  # offset of where an entered call comes in
STOPPED_AT = 24  # offset of the instruction after the watched write
CALL_SIZE = 5  # bytes of the call at the entry, and of the NOP whose place it takes
RETURN_AT = 8  # at the stop: the return address into the function, from the stack pointer on
ADDED = 16  # at the stop: bytes on the stack more than at the function's first instruction
_CALL = 0xE8


def code(lock: int, watch: int) -> bytes:
    """The trampoline's machine code. Both addresses are in the top 2 GiB (disp32)."""
    low, seen = struct.pack("<I", lock & 0xFFFFFFFF), struct.pack("<I", watch & 0xFFFFFFFF)
    return (
        b"\x6a\x00"
        + b"\x9c\xfa"
        + b"\xf0\x0f\xba\x2c\x25"
        + low
        + b"\x00"
        + b"\x72\xf4"
        + b"\xc6\x04\x25"
        + seen
        + b"\x01"
        + b"\xc6\x04\x25"
        + low
        + b"\x00"
        + b"\x9d\xc3"
    )


def entry(function: int, trampoline: int) -> bytes:
    """What takes the place of the NOP at a function's entry: a call of the trampoline."""
    return struct.pack("<Bi", _CALL, trampoline + ENTERED_AT - (function + CALL_SIZE))
