"""Running exactly one vCPU, both, or none; and what was true when they stopped.

GDB's thread of a stop is believed only where one of our posts was hit: after an interrupt it
names whichever vCPU it likes. GDB 13 can die of an interrupt while a vCPU stands in inlined
code, so nothing here interrupts unless a limit has passed.
"""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from kernlab.config.paths import python_path
from kernlab.debugger.mi import Gdb, GdbError
from kernlab.errors import WeFailed

_ATTACH = 30.0
_ANSWER = 60.0
Run = Literal["all"] | int


class Vcpus:
    """One GDB on one guest, for a schedule. Ends GDB at the end of its block."""

    def __init__(self, vmlinux: Path, log: Path, plan: dict[str, Any], sockets: Path) -> None:
        self._gdb = Gdb(log)
        self._vmlinux = vmlinux
        self._plan = plan
        self._sockets = sockets
        self.running = False

    def prepare(self) -> None:
        """What needs no guest: settings and the kernel's debug info."""
        path = [str(entry) for entry in python_path()]
        self._gdb.command("-gdb-set mi-async on", _ATTACH)
        self._gdb.command("-gdb-set architecture i386:x86-64", _ATTACH)
        self._gdb.console("python import sys; sys.dont_write_bytecode = True", _ATTACH)
        self._gdb.console(f"python sys.path[:0] = {path!r}", _ATTACH)
        self._gdb.command(f"-file-exec-and-symbols {self._vmlinux}", _ATTACH)
        self._gdb.console("set may-call-functions off", _ATTACH)
        self._gdb.console("python from gdb_scripts import hold", _ATTACH)
        (self._sockets / "stage.json").write_text(json.dumps(self._plan), "utf-8")

    def attach(self, gdb_socket: Path, stale: Sequence[int] = ()) -> None:
        """Stop the guest. It stands until ``go``. ``stale``: where a GDB that died may have
        left breakpoints, which QEMU keeps."""
        self._gdb.command(f"-target-select remote {gdb_socket}", _ATTACH)
        for address in stale:
            self._gdb.console(f"maintenance packet z0,{address:x},1", _ATTACH)
        self._gdb.console(f"python hold.setup({str(self._sockets / 'stage.json')!r})", _ATTACH)
        self._drain()

    def _drain(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._gdb.records.get_nowait()

    # -- running and stopping ---------------------------------------------------

    def go(self, who: Run) -> None:
        """Let one vCPU run, or all."""
        self._drain()
        if who == "all":
            self._gdb.console("set scheduler-locking off", _ANSWER)
        else:
            self._gdb.console("set scheduler-locking on", _ANSWER)
            self._gdb.command(f"-thread-select {who + 1}", _ANSWER)
        self.running = True
        self._gdb.command("-exec-continue", _ANSWER)

    def stopped(self, seconds: float) -> bool:
        """Whether the guest stops within ``seconds``. Raises ``WeFailed`` when GDB died."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                record = self._gdb.records.get(timeout=left)
            except queue.Empty:
                return False
            if record.kind == "exit":
                raise self._gdb.died()
            if record.message == "stopped":
                self.running = False
                return True
        return False

    def interrupt(self) -> None:
        """Stop everybody. QEMU passes over an interrupt that comes while it is stopped, so it
        is sent until it is answered. Raises ``WeFailed``."""
        deadline = time.monotonic() + _ANSWER
        while self.running and time.monotonic() < deadline:
            self._gdb.command("-exec-interrupt --all", _ANSWER)
            if self.stopped(0.5):
                return
        if self.running:
            raise WeFailed("the guest did not stop for GDB", f"waited {_ANSWER:g} s",
                           "kernlab stop --all")  # fmt: skip

    # -- asking -------------------------------------------------------------------

    def _ask(self, text: str) -> Any:
        said = self._gdb.ask(f"python hold.{text}", _ANSWER)
        try:
            return json.loads(said)
        except ValueError as error:
            raise WeFailed("GDB's answer is not to be understood", said[-500:],
                           "read gdb.log in the run directory") from error  # fmt: skip

    def post(self, specs: list[dict[str, Any]]) -> None:
        """Plant posts (``gdb_scripts.hold``) instead of those before. Raises ``WeFailed`` for
        an expression that has no meaning where its actor stands."""
        try:
            self._gdb.console(f"python hold.post({json.dumps(specs)!r})", _ANSWER)
        except GdbError as error:
            raise WeFailed(
                "a place of the schedule cannot be watched", error.why, "kernlab race validate"
            ) from error

    def clear(self) -> None:
        self._gdb.console("python hold.clear()", _ANSWER)

    def hit(self) -> tuple[dict[str, Any] | None, int]:
        """Which post was hit (``post``, ``cpu``, ``right``), and how many stops were passed."""
        said = self._ask("hit()")
        return said["hit"], said["passed"]

    def look(self, what: dict[str, Any], cpu: int) -> dict[str, Any]:
        """Where a vCPU stands, as an event with ``pcs`` and ``locks``."""
        said: dict[str, Any] = self._ask(f"look({json.dumps({'what': what, 'cpu': cpu})!r})")
        return said

    def value(self, text: str, cpu: int) -> int | None:
        """A C expression in a vCPU's innermost frame."""
        said: int | None = self._ask(f"evaluate({json.dumps({'text': text, 'cpu': cpu})!r})")
        return said

    # -- the end ------------------------------------------------------------------

    def release(self) -> None:
        """Take all posts away and let everybody run, GDB still attached."""
        if self.running:
            self.interrupt()
        self.clear()
        self.go("all")

    def alive(self) -> bool:
        return self._gdb.alive()

    def close(self) -> None:
        """Leave the guest running, whatever state it is in: QEMU lets a guest go on when its
        debugger is detached, and stands when it only goes away."""
        with suppress(WeFailed):
            if self.running:
                self.interrupt()
            self.clear()
            self._gdb.command("-target-detach", _ANSWER)
        self._gdb.close()
