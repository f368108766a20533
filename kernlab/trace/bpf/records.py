"""The records of rootfs/guest/probe/probe.h: what the BPF program says of each hit."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from kernlab.decode.layout import Layout
from kernlab.decode.memory import BytesMemory
from kernlab.trace.bpf.layout import Shapes

HIT, RETURN, ROUND, COUNTS, STACK = 1, 2, 3, 4, 5
_RECORD = struct.Struct("<IHHQQII16s6QQQQQQQIIHHHHHHHH")
SIZE = _RECORD.size


class Record(NamedTuple):
    """struct kl_record, with what follows it."""

    kind: int
    cpu: int
    ns: int
    task: int
    pid: int
    number: int
    comm: bytes
    registers: tuple[int, ...]
    slot: int
    skb: int
    sock: int
    dev: int
    header: int
    dev_net: int
    dev_ns: int
    sock_ns: int
    looked_up: bool
    shape: int
    stack_id: int | None  # what a STACK told of it
    parts: tuple[bytes, ...]  # skb, device name, header, sock, stack

    @property
    def stack(self) -> bytes:
        return self.parts[4]

    def memory(self, shapes: Shapes) -> BytesMemory:
        """What was copied, where it was."""
        skb, name, header, sock, _ = self.parts
        blocks = {}
        if skb:
            blocks[self.skb + shapes.skb[0]] = skb
        if name:
            place = shapes.layout.field("net_device", "name")
            blocks[self.dev + (place[0] if place else 0)] = name
        if header:
            blocks[self.header] = header
        if sock:
            blocks[self.sock] = shapes.sock(self.shape, sock)
        self._namespaces(shapes.layout, blocks)
        return BytesMemory(blocks)

    def _namespaces(self, layout: Layout, blocks: dict[int, bytes]) -> None:
        number = layout.field("net", "ns.inum")
        device = layout.field("net_device", "nd_net.net")
        own = layout.field("sock", "__sk_common.skc_net.net")
        if number is None or device is None or own is None:
            return
        if self.dev_ns:
            blocks[self.dev + device[0]] = self.dev_net.to_bytes(8, "little")
            blocks[self.dev_net + number[0]] = self.dev_ns.to_bytes(4, "little")
        net = blocks.get(self.sock, b"")[own[0] : own[0] + 8]
        if self.sock_ns and len(net) == 8:
            blocks[int.from_bytes(net, "little") + number[0]] = self.sock_ns.to_bytes(4, "little")


def unpack(data: bytes, at: int) -> Record:
    """The record at ``at``, which is all there."""
    (_, kind, cpu, ns, task, pid, number, comm, *rest) = _RECORD.unpack_from(data, at)
    registers, rest = tuple(rest[:6]), rest[6:]
    slot, skb, sock, dev, header, dev_net, dev_ns, sock_ns, *sizes = rest
    *lengths, looked_up, shape, stack = sizes
    parts, at = [], at + SIZE
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    return Record(
        kind,
        cpu,
        ns,
        task,
        pid,
        number,
        comm,
        registers,
        slot,
        skb,
        sock,
        dev,
        header,
        dev_net,
        dev_ns,
        sock_ns,
        bool(looked_up),
        shape,
        stack - 1 if stack else None,
        tuple(parts),
    )


def task_of(record: Record) -> dict[str, Any]:
    """pid and comm of the current task; comm's bytes as the guest wrote them."""
    name = record.comm.split(b"\0")[0]
    return {"pid": record.pid, "comm": name.decode("utf-8", "replace")}
