"""The kernel's own stack traces as frames, those of the gdb engine.

A trace has program counters alone. Which of them stood at an instruction, and which is a
return address, the kernel's unwind table tells: after a frame whose row says that registers
were saved there, an interrupted instruction follows (kernlab.decode.arch.orc).
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

from kernlab.decode.arch.orc import REGS, REGS_PARTIAL, OrcTable
from kernlab.symbols.frames import Symbolizer

_KEPT = 20_000  # stacks remembered
_ENTRY = 16  # bytes a probe's own program counter may be past the entry: its NOP or int3


class Stacks:
    """Stacks of one kernel, each named once. ``depth``: frames wanted; ``ends``: addresses
    that are no caller's: a stack ends before one."""

    def __init__(
        self, symbolizer: Symbolizer, orc: Path, depth: int, ends: Collection[int] = ()
    ) -> None:
        self._ends = ends
        self._symbolizer = symbolizer
        self._orc = OrcTable(str(orc))
        self._depth = depth
        self._known: dict[tuple[int, bytes], list[Any]] = {}

    def of(self, place: int, entry: bool, callers: bytes) -> list[Any]:
        """The frames of a trace that was taken at ``place``: the same list for the same
        trace. ``entry``: ``place`` is a function's first instruction."""
        key = (place, callers)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            pcs = self._exact(place, struct.unpack(f"<{len(callers) // 8}Q", callers))
            known = list(self._symbolizer.stack(pcs, entry))
            self._known[key] = known[: self._depth]
            known = self._known[key]
        return known

    def _exact(self, place: int, callers: tuple[int, ...]) -> list[tuple[int, bool]]:
        own = callers and 0 <= callers[0] - place <= _ENTRY
        pcs = [(place, True)]
        for pc in callers[1:] if own else callers:
            if pc in self._ends:
                break
            before, exact = pcs[-1]
            row = self._orc.find(before if exact else before - 1)
            pcs.append((pc, row is not None and row.kind in (REGS, REGS_PARTIAL)))
        return pcs[: max(self._depth, 1)]


def matches(place: int, callers: bytes) -> bool:
    """Whether a trace was taken at ``place``."""
    return len(callers) >= 8 and 0 <= struct.unpack_from("<Q", callers)[0] - place <= _ENTRY
