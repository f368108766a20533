"""One run of a lab's program in the guest, in a network namespace of its own."""

from __future__ import annotations

import queue
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernlab.config.paths import arriving_file
from kernlab.errors import KernlabError, MachineFailed, WeFailed
from kernlab.lab.model import Family, Lab, Part
from kernlab.reasons.match import findings
from kernlab.reasons.model import table as reasons_table
from kernlab.reasons.report import completed
from kernlab.record.counters import moved, parse
from kernlab.record.leg import LegDir, load, write_json
from kernlab.record.pcapng import convert
from kernlab.record.rundir import RunDir
from kernlab.record.store import EventWriter
from kernlab.trace.engines.gdb import GdbEngine
from kernlab.verdict.judge import Line, holds, judge
from kernlab.vm.machine import Machine

_TURN = 0.1
_ANSWER = 20.0
_MARGIN = 120.0  # seconds a leg may take beyond the program's limit: the debugger's stops
_LAST = b"kernlab: end of capture"  # rootfs/guest/labrun.c
_UNFIT, _TOO_LONG = 120, 124  # labrun's own exit statuses


@dataclass(frozen=True)
class LabRequest:
    """One lab to run, from the file ``path``."""

    id: str
    lab: Lab
    path: Path
    family: Family = "ipv4"

    @property
    def name(self) -> str:
        """The name of the directory of what it leaves."""
        return self.id if self.family == "ipv4" else f"{self.id}-{self.family}"


@dataclass
class LegResult:
    """How a leg ended. ``error``: why it could not be judged."""

    name: str
    directory: LegDir
    lines: list[Line] = field(default_factory=list)
    error: str = ""
    explained: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rst(self) -> list[dict[str, Any]]:
        """The RSTs' causes, in their order."""
        return [event["rst"] for event in self.explained]

    @property
    def holds(self) -> bool:
        return not self.error and holds(self.lines)


@dataclass(frozen=True)
class Told:
    """The story while it happens: a leg begins, a step, a result, an event, a leg's end."""

    kind: str  # leg | step | got | said | event | verdict
    request: LabRequest
    leg: str
    text: str = ""
    value: str = ""
    event: dict[str, Any] | None = None
    result: LegResult | None = None


Tell = Callable[[Told], None]


class Run:
    """One run of the program."""

    def __init__(self, request: LabRequest, name: str, part: Part, machine: Machine,
                 run: RunDir, engine: GdbEngine | None, tell: Tell) -> None:  # fmt: skip
        self._request = request
        self._name = name
        self._part = part
        self._machine = machine
        self._engine = engine
        self._tell_all = tell
        self._raw = run.share / "leg"
        directory = LegDir(run.path / request.name / name)
        directory.path.mkdir(parents=True, exist_ok=True)
        self.result = LegResult(name, directory)
        self._lines: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._waiting: tuple[int, str] | None = None  # a line that an event came before
        self._half = b""
        self._stderr = bytearray()
        self._steps: list[str] = []
        self._got: dict[str, str] = {}

    def _tell(self, kind: str, **words: Any) -> None:
        self._tell_all(Told(kind, self._request, self._name, **words))

    def run(self, source: Path) -> None:
        """Run and judge it; ``source``: the kernel's tree, for the lines that decided."""
        self._tell("leg")
        shutil.rmtree(self._raw, ignore_errors=True)
        self._raw.mkdir()
        lab = self._request.lab
        argv = ["/mnt/share/labrun", "-o", "/mnt/share/leg", "-w", str(lab.timeout)]
        if lab.topology == "veth":
            argv.append("-v")
        for key, value in self._part.sysctl.items():
            argv += ["-s", f"{key}={value}"]
        for command in self._part.setup:
            argv += ["-c", command]
        argv += ["--", f"/mnt/share/{Path(self._part.program or '').stem}", *self._part.args]
        if self._request.family == "ipv6":
            argv.append("-6")
        with ExitStack() as stack:
            writer = None
            if self._engine is not None:
                writer = stack.enter_context(EventWriter(self.result.directory.events))
            status = self._go(argv, writer, lab.timeout + _MARGIN)
        self._keep(status)
        self._judge(status, source)
        self._tell("verdict", result=self.result)

    def _go(self, argv: list[str], writer: EventWriter | None, limit: float) -> int:
        """Run labrun to its end, taking lines and events; its status."""
        process = self._machine.channel.start(
            argv, on_stdout=self._heard, on_stderr=self._stderr.extend
        )
        deadline = time.monotonic() + limit
        while not process.done():
            self._take(writer)
            if self._machine.child.poll() is not None:
                raise self._machine.lost()
            if self._engine is not None and self._engine.ended():
                raise WeFailed("GDB ended while a lab ran", "", "read gdb.log in the run directory")
            if time.monotonic() > deadline:
                with suppress(KernlabError):
                    process.signal(9)
                raise MachineFailed(
                    f"{self._request.name}: the guest did not end the lab in {limit:g} s",
                    self._stderr.decode("utf-8", "replace").strip(),
                    "read console.log in the run directory",
                )
        status = process.wait(_ANSWER)
        if self._engine is not None:
            # The guest has answered after the program's end: every probe it hit has been sent.
            self._machine.channel.ping(_ANSWER)
        self._take(writer, last=True)
        return status

    def _heard(self, data: bytes) -> None:
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            self._lines.put((time.time_ns(), line.decode("utf-8", "replace")))

    def _take(self, writer: EventWriter | None, last: bool = False) -> None:
        """Events and lines as they come, each in its turn; the ``last`` time all there are."""
        if self._engine is None or writer is None:
            with suppress(queue.Empty):
                self._line(self._lines.get(timeout=0 if last else _TURN)[1])
            self._say()
            return
        for event in self._engine.drain() if last else self._engine.events(_TURN):
            self._say(event["host_ns"])
            writer.write(event)
            self._tell("event", event=event)
        if last:
            self._say()

    def _say(self, until: int | None = None) -> None:
        """Tell the lines that came before ``until`` (ns since 1970), or all."""
        with suppress(queue.Empty):
            while True:
                at, line = self._waiting or self._lines.get_nowait()
                self._waiting = None
                if until is not None and at > until:
                    self._waiting = (at, line)
                    return
                self._line(line)

    def _line(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "@step":
            self._steps.append(rest)
            self._tell("step", text=rest)
        elif kind == "@got":
            name, _, value = rest.partition(" ")
            self._got[name] = value
            self._tell("got", text=name, value=value)
        else:
            self._tell("said", text=line)

    def _keep(self, status: int) -> None:
        """Bring what the guest left into the record."""
        keep = self.result.directory
        said = self._stderr.decode("utf-8", "replace").strip()
        results = {"status": status, "said": said, "steps": self._steps, "got": self._got}
        write_json(keep.results, results)
        before, after, raw = (self._raw / name for name in ("before", "after", "capture.pcap"))
        if before.exists() and after.exists():
            first, last = (parse(path.read_text("utf-8")) for path in (before, after))
            write_json(keep.counters, moved(first, last))
        if raw.exists():
            convert(raw, keep.capture, without=_LAST)
        if (self._raw / "kmsg").exists():
            with arriving_file(keep.kmsg) as temporary:
                shutil.copyfile(self._raw / "kmsg", temporary)

    def _judge(self, status: int, source: Path) -> None:
        keep = self.result.directory
        leg = load(keep)
        if leg.events is not None:
            found = list(findings(leg.events, reasons_table()))
            self.result.explained = completed(found, leg.events, leg.segments, source)
            write_json(keep.rst, self.result.rst)
            leg = load(keep)
        if status == _UNFIT:
            self.result.error = f"it cannot run here: {leg.said or 'labrun said nothing'}"
        elif status == _TOO_LONG:
            self.result.error = f"the guest program hung: {leg.said}"
        elif status != 0:
            self.result.error = f"the guest program ended with status {status}: {leg.said}"
        self.result.lines = judge(self._part.verdict, leg)
