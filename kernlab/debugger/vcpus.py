"""Running exactly one vCPU, both, or none; and what was true when they stopped.

GDB's thread of a stop is believed only where one of our posts was hit: after an interrupt it
names whichever vCPU it likes.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from kernlab.debugger.mi import Gdb, GdbError
from kernlab.decode.place import ProbeSpec
from kernlab.decode.plans import HoldPlan, PostHit, PostSpec
from kernlab.errors import WeFailed

_ATTACH = 30.0
_ANSWER = 60.0
Run = Literal["all"] | int


class Vcpus:
    """One GDB on one guest, for a schedule. Ends GDB at the end of its block."""

    def __init__(self, vmlinux: Path, log: Path, plan: HoldPlan, sockets: Path) -> None:
        self._gdb = Gdb(log)
        self._vmlinux = vmlinux
        self._plan = plan
        self._sockets = sockets
        self.running = False

    def prepare(self) -> None:
        """What needs no guest: settings and the kernel's debug info."""
        self._gdb.prepare("hold", _ATTACH)
        self._gdb.read_symbols(self._vmlinux, _ATTACH)
        self._gdb.console("python hold.warm()", _ATTACH)
        (self._sockets / "stage.json").write_text(json.dumps(self._plan), "utf-8")

    def attach(self, gdb_socket: Path, cpus: int) -> None:
        """Stop the guest of so many vCPUs. It stands until ``go``."""
        self._gdb.command(f"-target-select remote {gdb_socket}", _ATTACH)
        for cpu in range(cpus):
            # QEMU keeps what a GDB that died had planted. At the question why the guest stands
            # it forgets it, but only that of the vCPU it calls current, and a removal (z0)
            # ends at the first vCPU that has nothing (gdbstub.c, handle_target_halt(); accel/
            # tcg/tcg-accel-ops.c, tcg_remove_breakpoint()): hence once for each.
            self._gdb.console(f"maintenance packet Hc{cpu + 1}", _ATTACH)
            self._gdb.console("maintenance packet ?", _ATTACH)
        self._gdb.console(f"python hold.setup({str(self._sockets / 'stage.json')!r})", _ATTACH)
        self._gdb.forget()

    # -- running and stopping ---------------------------------------------------

    def go(self, who: Run) -> None:
        """Let one vCPU run, or all."""
        self._gdb.forget()
        if who == "all":
            self._gdb.console("set scheduler-locking off", _ANSWER)
        else:
            self._gdb.console("set scheduler-locking on", _ANSWER)
            self._gdb.command(f"-thread-select {who + 1}", _ANSWER)
            # An interrupt is told of the vCPU that QEMU calls current (gdbstub.c,
            # gdb_vm_state_change()): by default the one that stopped last. GDB 13 dies when
            # that is one that stood all the while (skip_inline_frames()'s assertion).
            self._gdb.console(f"maintenance packet Hc{who + 1}", _ANSWER)
        self.running = True
        self._gdb.command("-exec-continue", _ANSWER)

    def stopped(self, seconds: float) -> bool:
        """Whether the guest stops within ``seconds``. Raises ``WeFailed`` when GDB died."""
        if self._gdb.stopped(seconds):
            self.running = False
            return True
        return False

    def interrupt(self) -> None:
        """Stop everybody who runs. Raises ``WeFailed``."""
        if self.running:
            self._gdb.interrupt(_ANSWER)
            self.running = False

    # -- asking -------------------------------------------------------------------

    def _ask(self, text: str) -> Any:
        said = self._gdb.ask(f"python hold.{text}", _ANSWER)
        try:
            return json.loads(said)
        except ValueError as error:
            raise WeFailed(
                "GDB's answer cannot be understood",
                said[-500:],
                "read gdb.log in the run directory",
            ) from error

    def post(self, specs: list[PostSpec]) -> None:
        """Plant posts (``gdb_scripts.hold``) instead of those before. Raises ``WeFailed`` for
        an expression that has no meaning where its actor stands."""
        try:
            self._gdb.console(f"python hold.post({json.dumps(specs)!r})", _ANSWER)
        except GdbError as error:
            raise WeFailed(
                "GDB cannot watch a place of the schedule", error.why, "kernlab race list"
            ) from error

    def hit(self) -> PostHit | None:
        """Which post was hit; None for a stop that is no post's."""
        said: PostHit | None = self._ask("hit()")
        return said

    def look(self, what: ProbeSpec | None, cpu: int) -> dict[str, Any]:
        """What was read where a vCPU stands, with ``pcs`` and ``locks``; without a probe these
        alone."""
        said: dict[str, Any] = self._ask(f"look({json.dumps({'what': what, 'cpu': cpu})!r})")
        return said

    # -- the end ------------------------------------------------------------------

    def alive(self) -> bool:
        return self._gdb.alive()

    def close(self) -> None:
        """Leave the guest running, whatever state it is in: QEMU lets a guest go on when its
        debugger is detached, and stands when it only goes away."""
        with suppress(WeFailed):
            self.interrupt()
            self._gdb.console("python hold.clear()", _ANSWER)
            self._gdb.command("-target-detach", _ANSWER)
        self._gdb.close()
