"""Calls that were entered and have not returned yet.

A kretprobe tells what a function returned and where the stack then was; the call that it ends
is the one whose return address lay there (kernel/kprobes.c, pre_handler_kretprobe()). No two
calls of one function that are running share that place, whatever vCPU they move to.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from kernlab.decode.hit import as_type
from kernlab.trace.tracefs.fetch import GROUP, Fetch
from kernlab.trace.tracefs.formats import Format

SLOT = "slot"  # an entry's field: where the return address lies
_ACTIVE = 100  # calls of a function that may be running at once
_WORD = struct.Struct("<Q")


def event(fetch: Fetch) -> str:
    """The name of the event of a probe's returns."""
    return f"r_{fetch.name}"


def definition(fetch: Fetch) -> str:
    """The line for kprobe_events. It has to stand before the entry's: of two probes at one
    place the later one runs first, and must see the stack as the caller left it."""
    return f"r{_ACTIVE}:{GROUP}/{event(fetch)} {fetch.symbol} ret=$retval:x64 sp=%sp:x64"


class _Call(NamedTuple):
    pid: int
    event: dict[str, Any]


class Returns:
    """The calls of one trace that are open, by function and place of the return address."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Call] = {}
        self._forms: dict[int, tuple[Fetch, Format]] = {}
        self._unfinished: list[dict[str, Any]] = []

    def bind(self, fetch: Fetch, form: Format) -> None:
        """The format of a probe's returns, as the kernel tells it."""
        self._forms[form.number] = (fetch, form)

    def fetch(self, number: int) -> Fetch | None:
        """The probe of which an event with this number is a return."""
        known = self._forms.get(number)
        return known[0] if known else None

    def enter(self, fetch: Fetch, slot: int, event: dict[str, Any]) -> None:
        """A call begins."""
        key = (fetch.what["address"], slot)
        if key in self._open:  # its return was missed
            self._unfinished.append(self._open[key].event)
        self._open[key] = _Call(event["task"]["pid"], event)

    def leave(self, page: bytes, start: int) -> dict[str, Any] | None:
        """The event of the call that a record ends, with what it returned."""
        fetch, form = self._forms[page[start] | page[start + 1] << 8]
        ret, sp = (
            _WORD.unpack_from(page, start + form.fields[name].offset)[0] for name in ("ret", "sp")
        )
        call = self._open.pop((fetch.what["address"], sp - 8), None)  # it was popped
        if call is None:
            return None
        result = fetch.what["returns"]
        assert result is not None  # a function without one has no event for it
        call.event["ret"] = as_type(ret, result)
        return call.event

    def rest(self) -> list[dict[str, Any]]:
        """Calls that had not returned when the trace ended: events without a result."""
        left = self._unfinished + [call.event for call in self._open.values()]
        self._open.clear()
        return sorted(left, key=lambda event: int(event["guest_ns"]))

    def whole(self, stack: list[Any], pid: int, slot: int) -> list[Any]:
        """A stack that ends where a call of ours will return to, with that call's own."""
        real = [frame["func"] for frame in stack if not frame["inlined"]]
        outer = [
            (place, call.event["stack"])
            for (_, place), call in self._open.items()
            if call.pid == pid and place > slot and call.event.get("stack")
        ]
        for _, theirs in sorted(outer, key=lambda pair: pair[0]):
            if real and real[-1] == theirs[0]["func"]:
                return [*stack, *theirs[1:]]
        return stack
