"""The capture of the other network namespaces (rootfs/guest/nets.c), which tcpdump does not see."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kernlab.errors import MachineFailed
from kernlab.guest.build import program
from kernlab.progress import Reporter
from kernlab.record import tcpdump
from kernlab.record.pcapng import SLL2, Captured, inner
from kernlab.vm.machine import Machine
from kernlab.vm.share import put

_PROGRAM = "nets"
_HEADER = struct.Struct("<B3xI")
_READY, _NAMESPACE, _DEVICE, _PACKET, _END = range(5)
_MOST_BYTES = 1 << 18  # of one frame
_KEPT = 256 << 20  # bytes of packets that are kept
_LIMIT = 15.0


@dataclass
class _Net:
    """A namespace while somebody was in it. ``missed``: packets before its capture began."""

    name: str = "?"
    devices: str = ""
    dropped: int = 0
    missed: int = 0


@dataclass
class _Found:
    nets: dict[int, _Net] = field(default_factory=dict)
    packets: list[tuple[int, Captured]] = field(default_factory=list)
    kept: int = 0
    left_out: int = 0
    trouble: str | None = None


class Nets:
    """Namespaces beside the guest's first one, and their packets."""

    def __init__(self, machine: Machine, share: Path, report: Reporter) -> None:
        put(program(_PROGRAM, report), share)
        self._half = bytearray()
        self._found = _Found()
        self._ready = threading.Event()
        self._process = machine.channel.start(
            [f"/mnt/share/{_PROGRAM}", str(machine.spec.cpus)], on_stdout=self._take
        )

    def wait(self) -> None:
        """Return when each namespace that appears will be seen, or none will."""
        if not self._ready.wait(_LIMIT) and self._found.trouble is None:
            self._found.trouble = "the guest's program for them did not start"

    def stop(self) -> None:
        """All packets that were sent by now are here when this returns."""
        with suppress(MachineFailed, TimeoutError):
            self._process.signal(15)
            self._process.wait(_LIMIT)

    def _take(self, data: bytes) -> None:
        """Called by the channel's reader."""
        self._half += data
        at = 0
        while len(self._half) - at >= _HEADER.size:
            kind, size = _HEADER.unpack_from(self._half, at)
            if kind > _END or size > _MOST_BYTES:
                self._found.trouble = "the guest's program for them sent something else"
                self._half.clear()
                return
            if len(self._half) - at < _HEADER.size + size:
                break
            at += _HEADER.size
            with suppress(struct.error):
                self._frame(kind, bytes(self._half[at : at + size]))
            at += size
        del self._half[:at]

    def _frame(self, kind: int, data: bytes) -> None:
        found = self._found
        if kind == _READY:
            found.trouble = data.decode("utf-8", "replace") or None
            self._ready.set()
            return
        (number,) = struct.unpack_from("<I", data)
        net = found.nets.setdefault(number, _Net())
        if kind == _NAMESPACE:
            net.name = data[12:].decode("utf-8", "replace")
        elif kind == _DEVICE:
            net.devices += data[4:].decode("utf-8", "replace")
        elif kind == _PACKET:
            length, at = struct.unpack_from("<IQ", data, 4)
            if found.kept + len(data) > _KEPT:
                found.left_out += 1
                return
            found.kept += len(data)
            found.packets.append((number, Captured(at, SLL2, length, data[16:])))
        elif kind == _END:
            net.dropped, net.missed = struct.unpack_from("<IQ", data, 4)

    def frames(self) -> Iterator[Captured]:
        """Their packets in the order of time, each with ``DEVICE@NAMESPACE`` as interface."""
        names = {number: tcpdump.devices(net.devices) for number, net in self._found.nets.items()}
        for number, frame in sorted(self._found.packets, key=lambda row: row[1].at):
            inside = inner(frame)
            index = inside.ifindex if inside is not None else None
            device = names[number].get(index or 0, f"index {index}")
            yield frame._replace(interface=f"{device}@{self._found.nets[number].name}")

    def notes(self) -> Iterator[str]:
        """What the capture lacks of them, in words."""
        found = self._found
        if found.trouble:
            yield f"packets of other network namespaces are not captured: {found.trouble}"
        if found.left_out:
            yield f"{found.left_out} packets of other network namespaces were lost: buffer full"
        for net in found.nets.values():
            if net.missed:
                yield (
                    f"up to {net.missed} packets in the network namespace {net.name} came "
                    "before its capture began"
                )
            if net.dropped:
                yield f"the kernel dropped {net.dropped} packets of the capture in {net.name}"
