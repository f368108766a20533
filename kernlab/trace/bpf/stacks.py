"""The stacks of records: each is told once, and meant by its id from there on.

The kernel keeps a stack under a hash of it (kernel/bpf/stackmap.c, bpf_get_stackid()); one whose
place another has comes whole, in its record.
"""

from __future__ import annotations

from kernlab.trace.bpf.records import Record
from kernlab.trace.tracefs.stacks import matches

ABOVE = 8  # frames above a function's own at most where fentry called


class StackIds:
    """What stacks the ids of one run stand for."""

    def __init__(self) -> None:
        self._told: dict[int, bytes] = {}
        self._own: dict[tuple[int, int], bytes] = {}

    def learn(self, record: Record) -> None:
        """Take what a STACK says."""
        self._told[record.number] = record.stack

    def of(self, record: Record, place: int) -> bytes:
        """The program counters of a hit at ``place``, its own first; empty without any."""
        if record.stack_id is None:
            return own(record.stack, place)
        key = (record.stack_id, place)
        if key not in self._own:
            self._own[key] = own(self._told.get(record.stack_id, b""), place)
        return self._own[key]


def own(stack: bytes, place: int) -> bytes:
    """A stack from the frame at ``place`` on. Where fentry called, our program and its
    trampoline lie above it; a stack without that frame is another's, and left out."""
    for at in range(min(len(stack) // 8, ABOVE)):
        if matches(place, stack[8 * at :]):
            return stack[8 * at :]
    return b""
