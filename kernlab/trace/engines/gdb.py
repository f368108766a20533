"""Engine ``gdb``: stops the guest at each hit, sees everything.

The host's half: starts GDB while the guest boots, attaches it, hands it the plan, and
turns the lines it sends into events. The inner half is gdb_scripts.probes.
"""

from __future__ import annotations

import array
import fcntl
import json
import queue
import socket
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from kernlab.debugger.mi import Gdb, GdbError
from kernlab.decode.plans import TracePlan
from kernlab.errors import BadInput, KernlabError
from kernlab.kernel.model import Kernel
from kernlab.progress import Reporter
from kernlab.record.event import begin
from kernlab.record.rundir import RunDir
from kernlab.symbols.kernel import KernelSymbols
from kernlab.trace.engine import Cost, Counted, HitFilter, Kind
from kernlab.trace.plan import Plan
from kernlab.trace.request import TraceRequest
from kernlab.vm.machine import Machine
from kernlab.vm.mechanisms import BOOT, BREAK, STOP

_ATTACH = 30.0
_LEARN = 120.0  # seconds for GDB to read what an expression needs of the kernel's debug info
_STOP = 20.0
_IDLE = 0.1  # seconds without an event after which the reader has no half line left


# Of what GDB sends for a hit, that with which an event begins.
_HEAD = ("probe", "cpu", "task", "guest_ns", "host_ns", "site")
# What GDB sent, a line each, with the time it came (ns since 1970); None: it has ended.
_Lines = queue.SimpleQueue[bytes | None]


class GdbEngine:
    """One plan on one machine. Use as a context manager: it ends GDB whatever happens."""

    name = "gdb"
    exact = False

    def __init__(self, plan: Plan, symbols: KernelSymbols, log: Path, sockets: Path) -> None:
        self._plan = plan
        self._symbols = symbols
        self._sockets = sockets
        self._running = False
        self._has_debug_info = False
        self._connection: socket.socket | None = None
        self._lines: _Lines = queue.SimpleQueue()
        self._gdb = Gdb(log)
        self._symbolizer = symbols.symbolizer()
        self._listener = socket.socket(socket.AF_UNIX)
        self._counted = Counted()
        self._filter = self._host_filter()
        self._counter: int | None = None

    def prepare(self) -> None:
        """What needs no guest: GDB's settings, and the plan's file."""
        self._gdb.prepare("probes", _ATTACH)
        self._load()

    def reload(self, plan: Plan) -> None:
        """Another plan, after ``finish``: the same GDB, with all that it knows by now."""
        self._plan = plan
        self._counted = Counted()
        self._filter = self._host_filter()
        self._listener.close()
        self._listener = socket.socket(socket.AF_UNIX)
        self._lines = queue.SimpleQueue()
        self._load()

    @property
    def reasons(self) -> Mapping[int, str]:
        """The kernel's names of reasons to drop a packet, for the events of this plan."""
        return self._plan.reasons

    @property
    def _on_host(self) -> bool:
        """Whether the filter asks for frames' names, which are known here alone."""
        return self._plan.where is not None and "stack" in self._plan.where.fields()

    def _host_filter(self) -> HitFilter:
        where = self._plan.where if self._on_host else None
        return HitFilter(where, self._plan.request.stack, self._counted)

    def _load(self) -> None:
        if self._plan.needs_debug_info and not self._has_debug_info:
            self._gdb.read_symbols(self._symbols.files.vmlinux, _ATTACH)
            self._has_debug_info = True
        events = self._sockets / "events.sock"
        events.unlink(missing_ok=True)  # an engine before this one may have used it
        self._listener.bind(str(events))
        self._listener.listen(1)
        self._listener.settimeout(_ATTACH)
        request = self._plan.request
        plan: TracePlan = {
            "layout": self._symbols.layout(),
            "orc": str(self._symbols.orc()),
            "stack": request.stack,
            "where": None if self._on_host else request.where.text or None,
            # With a filter on the stack the host counts: names are known only there.
            "count": None if self._on_host else request.count,
            "events": str(events),
            "trampoline": self._symbols.holes(),
            "returns": request.returns,
            "probes": [probe.spec for probe in self._plan.probes],
        }
        path = self._sockets / "plan.json"
        path.write_text(json.dumps(plan), "utf-8")
        if any(probe.show for probe in self._plan.probes):
            self._gdb.console(f"python probes.learn({str(path)!r})", _LEARN)

    def heed(self, counter: int) -> None:
        self._counter = counter

    def arm(self, machine: Machine) -> None:
        """Attach to the guest (it stops), set the probes, let it run."""
        self._gdb.command(f"-target-select remote {machine.gdb_socket}", _ATTACH)
        plan = str(self._sockets / "plan.json")
        self._gdb.console(f"python probes.arm({plan!r})", _ATTACH)
        if self._counter is not None:
            self._gdb.console(f"python probes.heed({self._counter:#x})", _ATTACH)
        connection, _ = self._listener.accept()
        self._connection = connection
        threading.Thread(
            target=self._read, args=(connection, self._lines), name="events", daemon=True
        ).start()
        self._gdb.forget()
        self._continue()

    def _continue(self) -> None:
        self._running = True
        self._gdb.command("-exec-continue", _ATTACH)

    @staticmethod
    def _read(connection: socket.socket, lines: _Lines) -> None:
        with connection, connection.makefile("rb", buffering=1 << 16) as file:
            for line in file:
                lines.put(line)
        lines.put(None)

    # -- while it runs ------------------------------------------------------

    def events(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The events that come within the next ``seconds``; returns when there are none."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                return
            if line is None:
                return
            yield from self._filter.passed(self._event(json.loads(line)))

    def drain(self) -> Iterator[dict[str, Any]]:
        """All events of hits that are over: GDB sends before it lets the guest go on."""
        while True:
            none = True
            for event in self.events(_IDLE):
                none = False
                yield event
            # Naming a stack may take longer than the wait: what is queued is looked at, too.
            if none and self._lines.empty() and not self._unread():
                return

    def _unread(self) -> int:
        """Bytes that GDB has sent and the reader has not taken yet."""
        size = array.array("i", [0])
        try:
            if self._connection is not None:
                fcntl.ioctl(self._connection, termios.FIONREAD, size)
        except (OSError, ValueError):
            return 0  # closed: nothing more will come
        return size[0]

    def _event(self, data: dict[str, Any]) -> dict[str, Any]:
        pcs = data.pop("pcs")
        head = {key: data.pop(key) for key in _HEAD if key in data}
        event = begin(self.name, **head) | data
        event["stack"] = self._symbolizer.stack([(pc, exact) for pc, exact in pcs])
        return event

    def ended(self) -> bool:
        """Whether GDB stopped the guest for good: the count is reached. Raises ``WeFailed``
        when GDB died. A stop that is no probe's is passed over."""
        with suppress(queue.Empty):
            while True:
                record = self._gdb.records.get_nowait()
                if record.kind == "exit":
                    raise self._gdb.died()
                if record.message == "stopped":
                    self._running = False
                    reason = (record.payload or {}).get("reason", "")
                    if reason in ("exited", "exited-normally", "exited-signalled"):
                        return True
                    if self._count_reached():
                        return True
                    self._continue()
        return False

    def _count_reached(self) -> bool:
        count = self._plan.request.count
        if count is None:
            return False
        self._gdb.console("python gdb.set_convenience_variable('kl_sent', probes.sent())", _STOP)
        value = self._gdb.command("-data-evaluate-expression $kl_sent", _STOP)
        return int(value["value"]) >= count

    def finish(self) -> Counted:
        """Stop the guest, remove the probes, detach: the guest runs on. What was counted."""
        counted = self._counted
        if not self._gdb.alive():
            return counted
        said: dict[str, Any] = {"hits": 0, "filtered": 0, "breakpoints": 0, "cost": {}}
        try:
            if self._running:
                self._gdb.interrupt(_STOP)
                self._running = False
            result = self._sockets / "counted.json"
            self._gdb.console(f"python probes.disarm({str(result)!r})", _STOP)
            said = json.loads(result.read_text("utf-8"))
            self._gdb.command("-target-detach", _STOP)
        except GdbError:
            pass  # the guest is gone: there is nothing to remove the probes from
        counted.hits = said["hits"]
        counted.filtered += said["filtered"]
        counted.cost = {name: Cost(*row) for name, row in said["cost"].items()}
        if said["breakpoints"]:
            counted.notes.append(
                f"{said['breakpoints']} of {len(self._plan.probes)} probes are breakpoints: "
                "inside a function, or where ftrace left no NOP; each of their stops is slower"
            )
        return counted

    def remove(self) -> None:
        """Nothing: ``finish`` did, with the guest stopped."""

    def close(self) -> None:
        for thing in (self._gdb, self._symbolizer, self._listener):
            with suppress(KernlabError, OSError):
                thing.close()

    def __enter__(self) -> GdbEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def _check(request: TraceRequest) -> None:
    if request.buffer is not None:
        raise BadInput(
            "--buffer: the engine gdb has no buffer",
            "it stops the guest at each hit until the event is read, so no event is lost",
            "without --buffer",
        )


def _bring(
    plan: Plan, kernel: Kernel, symbols: KernelSymbols, share: Path, report: Reporter
) -> None:
    symbols.orc()
    if symbols.holes() is None and plan.request.returns:
        raise BadInput(
            "--return: this kernel's image has no room for the code that catches a return",
            "see kernlab/symbols/holes.py",
            "without --return",
        )


def _open(plan: Plan, symbols: KernelSymbols, machine: Machine, run: RunDir) -> GdbEngine:
    return GdbEngine(plan, symbols, run.gdb_log, machine.sockets)


KIND = Kind(
    "gdb", "stops the guest, sees everything", _check, _bring, _open, needs=(BOOT, BREAK, STOP)
)
