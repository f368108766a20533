"""What is to be known where a vCPU stands: read for traces and for races."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from gdb_scripts.inferior import Kernel, Registers, selected_cpu
from gdb_scripts.scopes import arguments, visible
from gdb_scripts.values import Values, show
from kernlab.decode.arch import ARCH
from kernlab.decode.arch.orc import OrcTable, walk
from kernlab.decode.hit import add_error, decode_hit
from kernlab.decode.memory import Memory, Unreadable
from kernlab.decode.place import PointerSpec, ProbeSpec, position

Decoded = Dict[str, Any]


class Reader:
    """Reads one kernel. ``depth``: how many frames of a stack; ``counter``: where the kernel
    counts the pieces of the workload's words, four bytes, once that is known."""

    def __init__(self, kernel: Kernel, orc: OrcTable, depth: int) -> None:
        self.kernel = kernel
        self.counter: Optional[int] = None
        self._orc = orc
        self._depth = depth
        self._symbols: Dict[int, Dict[str, Any]] = {}

    def symbols(self, what: ProbeSpec) -> Dict[str, Any]:
        """GDB's symbols for a place's names; only where an expression or a line needs them."""
        if what["entry"] and not what["show"]:
            return {}
        known = self._symbols.get(what["address"])
        if known is None:
            known = self._symbols[what["address"]] = names_at(what)
        return known

    def moment(self) -> Decoded:
        """Which vCPU stopped, with which task, and when."""
        cpu = selected_cpu()
        found: Decoded = {"cpu": cpu}
        task, now, words = self.kernel.task(cpu), self.kernel.guest_ns(), self._words()
        for name, value in (("task", task), ("guest_ns", now), ("words", words)):
            if value is not None:
                found[name] = value
        return found

    def read(self, what: ProbeSpec, values: Values) -> Decoded:
        """All of a probe's place but the stack; what cannot be read is absent."""
        kernel = self.kernel
        event = {"probe": what["probe"], **self.moment(), "site": position(what)}
        skb, sock = self._object(what["skb"], values), self._object(what["sock"], values)
        hit = decode_hit(kernel.memory, kernel.layout, what["site"], skb, sock, kernel.receiver)
        hit.put(event)
        named = values.shown()
        if named:
            event[values.key] = named
        add_error(event, what["site"])
        texts = values.texts(kernel.memory)
        if texts:
            event["texts"] = texts
        if what["show"]:
            shown = show(
                what["show"], values, self.symbols(what), what["site"], event.get("packet")
            )
            if shown:
                event["show"] = shown
        return event

    def stack(self, registers: Registers, memory: Optional[Memory] = None) -> List[List[Any]]:
        """Program counters from here outwards, each with whether it is one that runs or a
        return address. ``memory``: the stack's, where it is not to be read as it is."""
        if self._depth <= 1:
            return [[registers[ARCH.pc], True]]
        frames = walk(self._orc, memory or self.kernel.memory, registers, self._depth)
        return [[frame.pc, frame.exact] for frame in frames]

    def _object(self, pointer: Optional[PointerSpec], values: Values) -> Optional[int]:
        """The address of the place's skb or sock; None where it has none."""
        address = None if pointer is None else values.number(pointer["name"])
        if pointer is None or pointer["hop"] is None or not address:
            return address
        try:
            raw = self.kernel.memory.read(address + pointer["hop"], 8)
        except Unreadable:
            return None
        return int.from_bytes(raw, "little")

    def _words(self) -> Optional[int]:
        """How many pieces of the workload's words were counted by now."""
        if self.counter is None:
            return None
        try:
            return int.from_bytes(self.kernel.memory.read(self.counter, 4), "little")
        except Unreadable:
            return None


def names_at(what: ProbeSpec) -> Dict[str, Any]:
    """GDB's symbols for the names of a probe's place: arguments at an entry, else variables."""
    at = what["address"]
    return arguments(at) if what["entry"] else visible(at, what["func"])
