"""x86-64: call stacks by the kernel's own unwind tables (ORC), from raw memory.

GDB's unwinder is most of the cost of a stop, and does not know how the kernel
switches to the IRQ stack. The kernel ships a table for exactly this question: for
every instruction, where the caller's stack pointer and frame pointer are
(arch/x86/kernel/unwind_orc.c, unwind_next_frame(); Documentation/x86/orc-unwinder.rst).
This walk follows it: from a softirq across the stack switch into the system call,
exact also at a function's first instruction, where a frame-pointer walk misses the
caller.

The table is prepared by ``kernlab.symbols.orc`` from vmlinux and read here from a
file, so that nothing of ELF is needed inside GDB. Python 3.9, standard library only.
"""

from __future__ import annotations

import json
import struct
from array import array
from bisect import bisect_right
from typing import Dict, List, NamedTuple, Optional, Protocol, Tuple

from kernlab.decode.arch.x86_64 import X86_64
from kernlab.decode.memory import Memory, Unreadable

# arch/x86/include/asm/orc_types.h: ORC_REG_*. The numbers are the same from 4.14 to 6.12.
REG_UNDEFINED, REG_PREV_SP, REG_DX, REG_DI, REG_BP, REG_SP = range(6)
REG_R10, REG_R13, REG_BP_INDIRECT, REG_SP_INDIRECT = range(6, 10)
_SAVED = {REG_DX: "rdx", REG_DI: "rdi", REG_R10: "r10", REG_R13: "r13"}

# Kinds of entry as written by kernlab.symbols.orc, whatever the kernel's numbering was.
CALL, REGS, REGS_PARTIAL, END = range(4)

_PT_REGS = X86_64.saved
_IRET_FRAME = _PT_REGS["rip"]  # IRET_FRAME_OFFSET: where ip, cs, flags, sp, ss begin in pt_regs

_U64 = struct.Struct("<Q")
_MASK = (1 << 64) - 1


class Entry(NamedTuple):
    """One row: the caller's sp is reg + offset, its bp is at reg + offset (bytes)."""

    sp_reg: int
    sp_offset: int
    bp_reg: int
    bp_offset: int
    kind: int


# What the kernel assumes where it has no row (generated code): a frame pointer.
_BY_FRAME_POINTER = Entry(REG_BP, 16, REG_PREV_SP, -16, CALL)


class Frame(NamedTuple):
    """A program counter on the stack.

    ``exact``: execution stood at ``pc`` (the probe, or an interrupted instruction);
    otherwise ``pc`` is a return address and the call is the instruction before it.
    """

    pc: int
    exact: bool


class OrcTable:
    """The table of one kernel, loaded from the file that ``kernlab.symbols.orc`` wrote."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            header = json.loads(file.readline())
            count = header["count"]
            self._base = header["base"]
            self._end = header["end"]
            self.indirect_adds_after = bool(header["indirect_adds_after"])
            self._at = array("I")
            self._at.frombytes(file.read(4 * count))
            self._rows = array("h")
            self._rows.frombytes(file.read(8 * count))
        self._cache: Dict[int, Optional[Entry]] = {}

    def find(self, pc: int) -> Optional[Entry]:
        """The row for ``pc``, or None outside the kernel's text."""
        try:
            return self._cache[pc]
        except KeyError:
            entry = self._cache[pc] = self._look_up(pc)
            return entry

    def _look_up(self, pc: int) -> Optional[Entry]:
        if not self._base <= pc < self._end:
            return None
        row = 4 * (bisect_right(self._at, pc - self._base) - 1)
        if row < 0:
            return None
        sp_offset, bp_offset, regs, kind = self._rows[row : row + 4]
        return Entry(regs & 0xF, sp_offset, (regs >> 4) & 0xF, bp_offset, kind)


class Registers(Protocol):
    """A stopped vCPU's registers by name, unsigned."""

    def __getitem__(self, name: str) -> int: ...


class StackMemory:
    """Words of a stack, fetched in blocks that never cross a page.

    The IRQ stack is followed by an unmapped page, so a block must stop at the page's
    end; within a page one big read costs the same round trip as a word.
    """

    def __init__(self, memory: Memory, block: int = 1024) -> None:
        self._memory = memory
        self._block = block
        self._blocks: List[Tuple[int, bytes]] = []

    def word(self, address: int) -> int:
        for start, data in self._blocks:
            offset = address - start
            if 0 <= offset <= len(data) - 8:
                value: int = _U64.unpack_from(data, offset)[0]
                return value
        length = max(8, min(self._block, 4096 - (address & 4095)))
        data = self._memory.read(address, length)
        self._blocks.append((address, data))
        return int(_U64.unpack_from(data, 0)[0])


def walk(table: OrcTable, memory: Memory, registers: Registers, limit: int = 64) -> List[Frame]:
    """The stack of a stopped vCPU, innermost first, at most ``limit`` frames.

    ``registers`` has rip, rsp, rbp and answers r10, r13, rdi, rdx when asked. The walk
    ends at user mode, at the end the table marks, or where memory cannot be read: what
    was found until then is returned.
    """
    stack = StackMemory(memory)
    frames = [Frame(registers["rip"], True)]
    pc, sp, bp = registers["rip"], registers["rsp"], registers["rbp"]
    exact = True
    saved: Optional[int] = None  # address of a full pt_regs on the stack
    try:
        while len(frames) < limit:
            entry = table.find(pc if exact else pc - 1) or _BY_FRAME_POINTER
            if entry.kind == END or entry.sp_reg == REG_UNDEFINED:
                break
            top = _caller_sp(table, entry, stack, sp, bp, saved, registers, len(frames) == 1)
            if top is None:
                break
            if entry.kind == CALL:
                pc, next_sp, exact = stack.word(top - 8), top, False
                regs = None
            else:
                regs = top if entry.kind == REGS else top - _IRET_FRAME
                if stack.word(regs + _PT_REGS["cs"]) & 3:
                    break  # user_mode(regs): the system call's own frame was the last
                pc, next_sp, exact = (
                    stack.word(regs + _PT_REGS["rip"]),
                    stack.word(regs + _PT_REGS["rsp"]),
                    True,
                )
            if entry.bp_reg == REG_PREV_SP:
                bp = stack.word(top + entry.bp_offset)
            elif entry.bp_reg == REG_BP:
                bp = stack.word(bp + entry.bp_offset)
            elif entry.kind == REGS and regs is not None:
                bp = stack.word(regs + _PT_REGS["rbp"])
            saved = regs if entry.kind == REGS else None
            if next_sp == sp and not exact:
                break  # the kernel's own guard against a loop
            sp = next_sp
            if not pc:
                break
            frames.append(Frame(pc, exact))
    except Unreadable:
        pass
    return frames


def _caller_sp(
    table: OrcTable,
    entry: Entry,
    stack: StackMemory,
    sp: int,
    bp: int,
    saved: Optional[int],
    registers: Registers,
    innermost: bool,
) -> Optional[int]:
    reg, offset = entry.sp_reg, entry.sp_offset
    if reg == REG_SP:
        return (sp + offset) & _MASK
    if reg == REG_BP:
        return (bp + offset) & _MASK
    if reg == REG_BP_INDIRECT:
        return stack.word(bp + offset)
    if reg == REG_SP_INDIRECT:
        if table.indirect_adds_after:
            return (stack.word(sp) + offset) & _MASK
        return stack.word(sp + offset)
    name = _SAVED.get(reg)
    if name is None:
        return None
    if innermost:
        return registers[name]
    return None if saved is None else stack.word(saved + _PT_REGS[name])
