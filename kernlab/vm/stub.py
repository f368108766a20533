"""QEMU's gdbstub spoken directly: the few packets of GDB's remote protocol that a test of an
accelerator needs, without a GDB.

The guest stands from the connection on. Documented in GDB's manual, appendix "GDB Remote Serial
Protocol"; QEMU's side is gdbstub.c. Threads are vCPUs, counted from 1.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from pathlib import Path
from types import TracebackType

from kernlab.decode.arch import ARCH
from kernlab.errors import MachineFailed

_THREAD = re.compile(rb"thread:(?:p[0-9a-f]+\.)?([0-9a-f]+)")
SOFT, WATCH = 0, 4  # kinds of Z: a software breakpoint, a watchpoint for any access
_STEPS = 8  # tries at one instruction
_DEAF = "QEMU's gdbstub does not answer"


class Stub:
    """A connection to the gdbstub of one machine; every wait ends within ``limit`` seconds."""

    def __init__(self, path: Path, limit: float) -> None:
        self._limit = limit
        self._data = b""
        self._running = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(limit)
        self._socket.connect(str(path))
        self._send("?")  # QEMU forgets what a debugger before this one had planted
        self._send("qAttached")
        until = time.monotonic() + limit
        while self._next(until) != b"1":
            pass  # why it stands, told once or twice

    def __enter__(self) -> Stub:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._socket.close()

    # -- packets ----------------------------------------------------------------

    def _send(self, text: str) -> None:
        data = text.encode()
        self._socket.sendall(b"$%s#%02x" % (data, sum(data) & 255))

    def _next(self, until: float) -> bytes:
        """The next packet's content."""
        while True:
            self._data = self._data.lstrip(b"+-")
            end = self._data.find(b"#")
            if self._data[:1] == b"$" and 0 <= end <= len(self._data) - 3:
                packet, self._data = self._data[1:end], self._data[end + 3 :]
                self._socket.sendall(b"+")  # without it QEMU takes no Ctrl-C
                return packet
            left = until - time.monotonic()
            try:
                self._socket.settimeout(max(left, 0.001))
                more = self._socket.recv(1 << 16)
            except TimeoutError as error:
                said = f"nothing for {self._limit:g} s"
                raise MachineFailed(_DEAF, said, "kernlab doctor") from error
            if not more:
                raise MachineFailed("QEMU's gdbstub is gone", "", "kernlab doctor")
            self._data += more

    def ask(self, text: str) -> bytes:
        """A packet's answer. Raises ``MachineFailed`` for an error, and after ``limit``."""
        self._send(text)
        said = self._next(time.monotonic() + self._limit)
        if re.fullmatch(rb"E[0-9a-fA-F]{2}", said) or said == b"":
            name = text.split(",")[0]
            raise MachineFailed(f"QEMU's gdbstub refuses {name}", said.decode(), "kernlab doctor")
        return said

    # -- while the guest stands ---------------------------------------------------

    def registers(self, vcpu: int) -> tuple[int, int]:
        """The program counter and the stack pointer of a vCPU."""
        self.ask(f"Hg{vcpu:x}")
        block = bytes.fromhex(self.ask("g").decode())
        words = struct.unpack_from(f"<{len(ARCH.remote)}Q", block)
        return words[ARCH.remote.index(ARCH.pc)], words[ARCH.remote.index(ARCH.sp)]

    def read(self, address: int, size: int) -> bytes:
        return bytes.fromhex(self.ask(f"m{address:x},{size:x}").decode())

    def write(self, address: int, data: bytes) -> None:
        self.ask(f"M{address:x},{len(data):x}:{data.hex()}")

    def plant(self, kind: int, address: int) -> None:
        self.ask(f"Z{kind},{address:x},1")

    def pull(self, kind: int, address: int) -> None:
        self.ask(f"z{kind},{address:x},1")

    # -- running ------------------------------------------------------------------

    def go(self, vcpu: int | None = None, step: bool = False) -> None:
        """Let one vCPU run, or all; ``step``: that one by one instruction."""
        how = "s" if step else "c"
        self._send(f"vCont;{how}:{vcpu:x}" if vcpu is not None else "vCont;c")
        self._running = True

    def stopped(self, seconds: float) -> int | None:
        """The vCPU that stops within ``seconds``; None when none does, and the guest runs on."""
        try:
            said = self._next(time.monotonic() + seconds)
        except MachineFailed:
            if not self._alive():
                raise
            return None
        self._running = False
        found = _THREAD.search(said)
        return int(found[1], 16) if found else 1

    def _alive(self) -> bool:
        try:
            self._socket.settimeout(0.001)
            return self._socket.recv(1, socket.MSG_PEEK) != b""
        except TimeoutError:
            return True
        except OSError:
            return False

    def stop(self) -> None:
        """Stop everybody."""
        if self._running:
            self._socket.sendall(b"\x03")
            if self.stopped(self._limit) is None:
                raise MachineFailed("the guest cannot be stopped", "", "kernlab doctor")

    def over(self, address: int, vcpu: int) -> None:
        """Let a vCPU that stands at a breakpoint do the instruction under it, alone."""
        self.pull(SOFT, address)
        for _ in range(_STEPS):
            self.go(vcpu, step=True)
            if self.stopped(self._limit) is None:
                raise MachineFailed("a single step does not end", "", "kernlab doctor")
            if self.registers(vcpu)[0] != address:
                break  # else the stop was another vCPU's, which had hit at the same time
        else:
            raise MachineFailed("a single step does not advance", "", "kernlab doctor")
        self.plant(SOFT, address)

    def leave(self) -> None:
        """Let the guest go on without a debugger."""
        self.stop()
        self.ask("D")
