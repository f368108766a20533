"""The floor of every debugger on a gdbstub: the remote protocol itself, nothing between.

Stop at a breakpoint, fetch the registers and three blocks of memory (the skb, its header,
the stack), step over the breakpoint, go on: what engine gdb reads at a hit, without GDB and
without decoding. GDB manual, "GDB Remote Serial Protocol".
"""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

from kernlab.decode.arch import ARCH
from kernlab.errors import MachineFailed

_SKB, _HEADER, _STACK = 256, 128, 1024  # bytes


class Remote:
    """A connection to a gdbstub. Use as a context manager."""

    def __init__(self, path: Path, limit: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(limit)
        self._socket.connect(str(path))
        self._buffer = b""

    def ask(self, text: str) -> str:
        """Send a packet and return the answer. Raises ``MachineFailed`` at the limit."""
        self.send(text)
        said = self.answer()
        while said.startswith("T02") and text != "?":  # QEMU tells that our coming stopped it
            said = self.answer()
        return said

    def send(self, text: str) -> None:
        data = text.encode()
        self._socket.sendall(b"$%s#%02x" % (data, sum(data) & 255))

    def answer(self) -> str:
        while True:
            start = self._buffer.find(b"$")
            end = self._buffer.find(b"#", start + 1)
            if start >= 0 and 0 <= end <= len(self._buffer) - 3:
                packet = self._buffer[start + 1 : end]
                self._buffer = self._buffer[end + 3 :]
                self._socket.sendall(b"+")
                return packet.decode("latin-1")
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                data = b""
            if not data:
                raise MachineFailed("the gdbstub no longer answers", "", "kernlab bench")
            self._buffer += data

    def interrupt(self) -> None:
        """Stop the guest; every answer until the stop is passed over."""
        self._socket.sendall(b"\x03")
        while not self.answer().startswith(("T", "S")):
            pass

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *about: object) -> None:
        self._socket.close()


def rate(path: Path, address: int, header: int, events: int, limit: float) -> float:
    """Stops per second at ``address``; ``header`` is the offset of skb->head."""
    with Remote(path, limit) as stub:
        stub.ask("qSupported:multiprocess+;vContSupported+")
        stub.ask("?")
        here = f"0,{address:x},1"
        stub.ask("Z" + here)
        stub.send("vCont;c")
        started = 0.0
        for count in range(events + 1):
            stop = stub.answer()
            if count == 0:
                started = time.monotonic()  # the wait for the first packet is no cost
            _read(stub, header)
            thread = stop.split("thread:")[1].split(";")[0]
            stub.ask("z" + here)
            stub.ask(f"vCont;s:{thread}")
            stub.ask("Z" + here)
            stub.send("vCont;c")
        spent = time.monotonic() - started
        stub.interrupt()
        stub.ask("z" + here)
        stub.ask("D;1")
    return events / spent


def _read(stub: Remote, header: int) -> None:
    block = bytes.fromhex(stub.ask("g")[: 16 * len(ARCH.remote)])
    words = struct.unpack(f"<{len(ARCH.remote)}Q", block)
    registers = dict(zip(ARCH.remote, words, strict=True))
    sp = registers[ARCH.sp]
    skb = bytes.fromhex(stub.ask(f"m{registers[ARCH.arguments[0]]:x},{_SKB:x}"))
    head = int.from_bytes(skb[header : header + 8], "little")
    stub.ask(f"m{head:x},{_HEADER:x}")
    room = 4096 - sp % 4096
    stub.ask(f"m{sp:x},{min(_STACK, room):x}")
