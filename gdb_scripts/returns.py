"""Calls that were entered and have not returned yet.

As the kernel's own kretprobes do (kernel/kprobes.c, pre_handler_kretprobe()), a call's
return address on the stack is replaced when the function is entered: it then returns
into the trampoline, which stops once more and goes on to where the call came from. A
call is known by the address of its return slot: no two calls that are running share it,
whatever vCPU they move to.
"""

from __future__ import annotations

import struct
from typing import Any, Dict, List, NamedTuple, Optional

import gdb

from gdb_scripts.inferior import InferiorMemory
from kernlab.decode.memory import Unreadable

Call = Any
_WORD = struct.Struct("<Q")


class _Slot(NamedTuple):
    original: int
    calls: List[Call]  # more than one where a probed function tail-calls another


class Returns:
    """``entry`` is the address to which probed functions return."""

    def __init__(self, memory: InferiorMemory, entry: int) -> None:
        self._memory = memory
        self._entry = entry
        self._slots: Dict[int, _Slot] = {}
        self.abandoned: List[Call] = []  # their stack was given up: a task that ended

    def enter(self, slot: int, call: Call) -> None:
        """Lead the return of the call whose return address lies at ``slot`` through here."""
        original = _WORD.unpack(self._memory.read(slot, 8))[0]
        known = self._slots.get(slot)
        if original == self._entry and known is not None:
            known.calls.append(call)
            return
        if known is not None:
            self.abandoned += known.calls
        gdb.selected_inferior().write_memory(slot, _WORD.pack(self._entry))
        self._slots[slot] = _Slot(original, [call])

    def leave(self, slot: int) -> Optional[_Slot]:
        """The call that returned from ``slot``, with where it goes on; forgotten then."""
        return self._slots.pop(slot, None)

    def original(self, slot: int) -> Optional[int]:
        """Where the call at ``slot`` returns to in truth."""
        known = self._slots.get(slot)
        return None if known is None else known.original

    def undo(self) -> List[Call]:
        """Put every return address back; the calls that never returned, in their order."""
        open_calls = list(self.abandoned)
        for slot, (original, calls) in self._slots.items():
            open_calls += calls
            try:
                if _WORD.unpack(self._memory.read(slot, 8))[0] == self._entry:
                    gdb.selected_inferior().write_memory(slot, _WORD.pack(original))
            except Unreadable:
                continue
        self._slots.clear()
        self.abandoned.clear()
        return open_calls

    def read(self, address: int, length: int) -> bytes:
        """Memory as it would be without us: the stack walk must see who called."""
        data = bytearray(self._memory.read(address, length))
        for slot, (original, _) in self._slots.items():
            at = slot - address
            if 0 <= at <= length - 8 and _WORD.unpack_from(data, at)[0] == self._entry:
                _WORD.pack_into(data, at, original)
        return bytes(data)
