"""Probes that do not cost a flush of QEMU's translation cache.

At a software breakpoint QEMU throws away all translated code, and the guest spends
some 14 ms translating it anew: under TCG that is nearly all of a stop's cost. At a
watchpoint it does not. So a probe's entry, where ftrace left a five-byte NOP, becomes a
call to one shared trampoline, and a hardware watchpoint stops the vCPU when the
trampoline writes its byte.

``kernlab.decode.arch.trampoline`` has its code. At the stop, above the flags on the stack, lies the
return address into the probed function: that tells which probe it is. The 0 in its place
tells that a function returned (gdb_scripts.returns); where it goes on is written over it.
"""

from __future__ import annotations

import struct
from typing import Callable, Dict, List, Optional, Protocol

import gdb

from gdb_scripts.inferior import InferiorMemory, Registers
from gdb_scripts.returns import Call, Returns
from kernlab.decode.arch import ARCH
from kernlab.decode.arch.trampoline import (
    ADDED,
    CALL_SIZE,
    ENTERED_AT,
    NOPS,
    RETURN_AT,
    STOPPED_AT,
    code,
    entry,
)
from kernlab.decode.memory import Unreadable
from kernlab.decode.place import ProbeSpec
from kernlab.decode.plans import Holes


class Hits(Protocol):
    """Who is told; each answers whether the trace is over."""

    def entered(self, what: ProbeSpec, registers: Registers) -> bool: ...

    def returned(self, calls: List[Call], registers: Registers) -> bool: ...


class _Watch(gdb.Breakpoint):  # type: ignore[misc]
    def __init__(self, address: int, hit: Callable[[], bool]) -> None:
        super().__init__(
            "*(unsigned char *)0x%x" % address, gdb.BP_WATCHPOINT, gdb.WP_ACCESS, internal=True
        )
        self.silent = True
        self._hit = hit

    def stop(self) -> bool:
        return self._hit()


class Trampoline:
    """One trampoline in the guest, and the probes that go through it."""

    def __init__(
        self,
        memory: InferiorMemory,
        place: Holes,
        hits: Hits,
    ) -> None:
        self._memory = memory
        self._code = place["code"]
        self._hits = hits
        self.returns = Returns(memory, self._code)
        self._probes: Dict[int, ProbeSpec] = {}
        self._saved: Dict[int, bytes] = {}
        self._inferior = gdb.selected_inferior()
        content = code(place["lock"], place["watch"])
        before = memory.read(self._code, len(content))
        if len(set(before)) != 1 and before != content:  # content: a trace before this one
            raise Unreadable("the place for the trampoline is in use")
        self._inferior.write_memory(place["lock"], b"\0")
        self._inferior.write_memory(self._code, content)
        self._watch: Optional[_Watch] = _Watch(place["watch"], self._stopped)

    def plant(self, what: ProbeSpec) -> bool:
        """Lead the entry of a probe through here; False when its entry is no NOP.

        ftrace uses that place too: where it has put a call of its own (a kprobe or a
        function tracer in the guest), it is left alone.
        """
        address = what["address"]
        try:
            before = self._memory.read(address, CALL_SIZE)
        except Unreadable:
            return False
        if before not in NOPS:
            return False
        self._inferior.write_memory(address, entry(address, self._code))
        self._saved[address] = before
        self._probes[address] = what
        return True

    def _stopped(self) -> bool:
        registers = Registers(gdb.selected_frame())
        if registers[ARCH.pc] != self._code + STOPPED_AT:
            return False  # somebody else's access to the byte: a debugger's, not a hit
        sp = registers[ARCH.sp]
        back = int.from_bytes(self._memory.read(sp + RETURN_AT, 8), "little")
        if not back:
            return self._returned(registers, sp + RETURN_AT)
        address = back - CALL_SIZE
        what = self._probes.get(address)
        if what is None:
            return False
        registers.pretend(**{ARCH.pc: address, ARCH.sp: sp + ADDED})
        return self._hits.entered(what, registers)

    def _returned(self, registers: Registers, slot: int) -> bool:
        known = self.returns.leave(slot)
        if known is None:
            return False
        self._inferior.write_memory(slot, struct.pack("<Q", known.original))
        registers.pretend(**{ARCH.pc: known.original, ARCH.sp: slot + 8})
        return self._hits.returned(known.calls, registers)

    def _let_returning_go(self) -> None:
        """Send vCPUs that stand between a return and the stop for it to their caller.

        One that was interrupted on the trampoline's first instruction is not seen: its pc
        lies on an interrupt's stack. That window is one instruction wide.
        """
        for thread in self._inferior.threads():
            thread.switch()
            registers = Registers(gdb.newest_frame())
            at, sp = registers[ARCH.pc] - self._code, registers[ARCH.sp]
            if at == 0:
                original = self.returns.original(sp - 8)
                if original is not None:
                    gdb.execute("set $%s = 0x%x" % (ARCH.pc, original))
            elif 0 < at < STOPPED_AT:
                slot = sp if at == ENTERED_AT else sp + RETURN_AT
                original = self.returns.original(slot)
                if original is not None and not any(self._memory.read(slot, 8)):
                    self._inferior.write_memory(slot, struct.pack("<Q", original))

    def remove(self) -> List[Call]:
        """Put the NOPs and return addresses back; the calls that have not returned. The
        code stays: a vCPU may be in it."""
        self._let_returning_go()
        unfinished = self.returns.undo()
        for address, before in self._saved.items():
            self._inferior.write_memory(address, before)
        self._saved.clear()
        if self._watch is not None:
            self._watch.delete()
            self._watch = None
        return unfinished


def plant(
    memory: InferiorMemory,
    place: Optional[Holes],
    probes: List[ProbeSpec],
    hits: Hits,
) -> "tuple[Optional[Trampoline], List[ProbeSpec]]":
    """Plant what can be planted; the trampoline and the probes that are left over."""
    if place is None:
        return None, probes
    try:
        trampoline = Trampoline(memory, place, hits)
    except (Unreadable, gdb.error):
        return None, probes
    return trampoline, [what for what in probes if not trampoline.plant(what)]
