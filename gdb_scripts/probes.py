"""The gdb engine's inner side: read at every hit, and go on.

The work of a stop is done here, inside GDB: read, filter, send one JSON line to the
host. Nothing goes through MI while the guest runs. Where a function's entry can be led
through the trampoline (gdb_scripts.trampoline) that is how it is stopped; elsewhere it
is an ordinary breakpoint.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Dict, List, Optional, Tuple

import gdb

from gdb_scripts.inferior import Kernel, Registers
from gdb_scripts.trampoline import Trampoline, plant
from kernlab.decode import expr
from kernlab.decode.orc import OrcTable, walk
from kernlab.decode.skb import decode_skb, skb_device
from kernlab.decode.sock import decode_sock

Decoded = Dict[str, Any]


class Tracer:
    """What all probes of a plan share: kernel, filter, count, and the way out."""

    def __init__(self, plan: Dict[str, Any]) -> None:
        self.kernel = Kernel(plan["layout"])
        self.orc = OrcTable(plan["orc"]) if plan.get("orc") else None
        self.depth = int(plan["stack"])
        self.where = expr.parse(plan["where"]) if plan.get("where") else None
        self.count: Optional[int] = plan.get("count")
        self.sent = 0
        self.hits = 0
        self.filtered = 0
        self.breakpoints: List[Probe] = []
        self.trampoline: Optional[Trampoline] = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(plan["events"])

    def hit(self, what: Dict[str, Any], registers: Registers) -> bool:
        """Record one hit; True when it was the last one asked for."""
        if self.count is not None and self.sent >= self.count:
            return True
        self.hits += 1
        event = self._event(what, registers)
        if self.where is not None and self.where.evaluate(event) is not True:
            self.filtered += 1
            return False
        pcs = [[registers["rip"], True]]
        if self.depth > 1 and self.orc is not None:
            frames = walk(self.orc, self.kernel.memory, registers, self.depth)
            pcs = [[frame.pc, frame.exact] for frame in frames]
        event["pcs"] = pcs
        return self._send(event)

    def _send(self, event: Dict[str, Any]) -> bool:
        """Send a line. The socket blocks while the host reads slowly; when it breaks, the
        host is gone and the trace is over."""
        try:
            self._socket.sendall(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        except OSError:
            return True
        self.sent += 1
        return self.count is not None and self.sent >= self.count

    def close(self) -> None:
        self._socket.close()

    def _event(self, what: Dict[str, Any], registers: Registers) -> Dict[str, Any]:
        """Everything but the stack; what cannot be read is absent."""
        kernel = self.kernel
        cpu = int(gdb.selected_thread().ptid[1]) - 1  # QEMU's thread id is cpu_index + 1
        event: Dict[str, Any] = {"probe": what["probe"], "cpu": cpu}
        task = kernel.task(cpu)
        if task is not None:
            event["task"] = task
        now = kernel.guest_ns()
        if now is not None:
            event["guest_ns"] = now
        event["site"] = {key: what[key] for key in ("func", "file", "line")}
        sock, skb, packet = self._decode(what, registers)
        if packet is not None:
            event["packet"] = packet
        if skb is not None:
            event["skb"] = skb
        if sock is not None:
            event["sock"] = sock
        arguments = {
            item["name"]: _shown(registers[item["register"]], item) for item in what["args"]
        }
        if arguments:
            event["args"] = arguments
        return event

    def _decode(
        self, what: Dict[str, Any], registers: Registers
    ) -> Tuple[Optional[Decoded], Optional[Decoded], Optional[Decoded]]:
        """The sock, the skb and its packet. The sock is the function's argument, or what the
        skb belongs to, or what the kernel is about to find for it."""
        memory, layout = self.kernel.memory, self.kernel.layout
        sock = skb = packet = None
        if what.get("sock") is not None:
            sock = _from("argument", decode_sock(memory, layout, registers[what["sock"]]))
        if what.get("skb") is None:
            return sock, skb, packet
        address = registers[what["skb"]]
        skb, packet = decode_skb(memory, layout, address, what["site"], sock)
        if skb is None or what.get("sock") is not None:
            return sock, skb, packet  # a sock argument that is NULL says that there is none
        if "sk" in skb:  # what early demux or the sender attached
            sock = _from("skb", decode_sock(memory, layout, int(skb["sk"], 16)))
        elif what["site"].get("lookup") and packet is not None:
            found = self._look_up(address, packet)
            sock = _from("lookup", decode_sock(memory, layout, found)) if found else None
        return sock, skb, packet

    def _look_up(self, skb: int, packet: Decoded) -> Optional[int]:
        device = skb_device(self.kernel.memory, self.kernel.layout, skb)
        net = self.kernel.tables.net_of(device) if device else None
        return self.kernel.tables.find(packet, net) if net else None


def _from(via: str, sock: Optional[Decoded]) -> Optional[Decoded]:
    if sock is not None:
        sock["via"] = via
    return sock


class Probe(gdb.Breakpoint):  # type: ignore[misc]
    """A breakpoint at one entry of one function, where the trampoline cannot be used."""

    def __init__(self, tracer: Tracer, what: Dict[str, Any]) -> None:
        super().__init__("*0x%x" % what["address"], gdb.BP_BREAKPOINT, internal=True)
        self.silent = True
        self._tracer = tracer
        self._what = what

    def stop(self) -> bool:
        """Called by GDB with the guest stopped; False lets it run on."""
        return self._tracer.hit(self._what, Registers(gdb.selected_frame()))


def _shown(value: int, argument: Dict[str, Any]) -> Any:
    """An argument's value: addresses as "0x…", numbers cut to their type's width."""
    if argument["kind"] == "pointer":
        return "0x%x" % value
    bits = 8 * int(argument["size"])
    value &= (1 << bits) - 1
    if argument["kind"] == "signed" and value >> (bits - 1):
        value -= 1 << bits
    return value


_armed: List[Tracer] = []


def arm(path: str) -> None:
    """Set the probes of the plan in the file ``path``; the guest must be stopped."""
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    # A removed and reinserted breakpoint costs two round trips at every stop.
    gdb.execute("set breakpoint always-inserted on")
    tracer = Tracer(plan)
    tracer.trampoline, left = plant(
        tracer.kernel.memory, plan.get("trampoline"), plan["probes"], tracer.hit
    )
    tracer.breakpoints = [Probe(tracer, what) for what in left]
    _armed.append(tracer)


def sent() -> int:
    """Events sent so far."""
    return sum(tracer.sent for tracer in _armed)


def disarm(path: str) -> None:
    """Remove all probes and write what was counted to the file ``path``; guest stopped."""
    said = {"hits": 0, "filtered": 0, "sent": 0, "breakpoints": 0}
    for tracer in _armed:
        if tracer.trampoline is not None:
            tracer.trampoline.remove()
        said["breakpoints"] += len(tracer.breakpoints)
        for probe in tracer.breakpoints:
            probe.delete()
        tracer.close()
        for key in ("hits", "filtered", "sent"):
            said[key] += getattr(tracer, key)
    _armed.clear()
    with open(path, "w", encoding="utf-8") as file:
        json.dump(said, file)
