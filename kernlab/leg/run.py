"""A guest program's run: labrun around it, lines and stops as they come, the record after.

What labs and races share. The record's files are those of ``kernlab.record.leg``.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kernlab.config.paths import arriving_file
from kernlab.config.programs import source_of
from kernlab.errors import KernlabError, MachineFailed, WeFailed
from kernlab.guest.build import compiled, program
from kernlab.progress import Reporter
from kernlab.record.counters import moved, parse
from kernlab.record.leg import LegDir, write_json
from kernlab.record.store import EventWriter
from kernlab.trace.capture import keep_capture
from kernlab.vm.channel import GuestProcess
from kernlab.vm.completed import Kept
from kernlab.vm.machine import Machine
from kernlab.vm.share import fresh, put, text

_LEG = "leg"  # in the share: what labrun writes
_CAPTURE = f"{_LEG}/capture.pcap"
_SAID, _STORY = 1 << 16, 32 << 20  # bytes that are kept of a line, and of all that is said
_TURN = 0.1
_ANSWER = 20.0
_MARGIN = 120.0  # seconds a run may take beyond the program's limit: the debugger's stops
_IN_STEP = "KERNLAB_IN_STEP"
_UNFIT, _TOO_LONG = 120, 124  # labrun's own exit statuses


def growing(share: Path) -> Path:
    """The classic pcap that is there while a program runs."""
    return share / _CAPTURE


@dataclass(frozen=True)
class Setup:
    """What is run and in which surroundings. ``name`` stands in messages; ``program`` is a
    path or a name in rootfs/guest, of which the guest sees the stem; ``timeout`` in seconds
    of the guest; ``capture``: a filter (pcap-filter(7)), empty for everything; ``symbols``: what
    is known of the kernel, for the record."""

    name: str
    program: str
    args: tuple[str, ...] = ()
    sysctl: dict[str, int | str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    topology: str = "loopback"
    family: str = "ipv4"
    timeout: int = 60
    capture: str = ""
    symbols: dict[str, bool] = field(default_factory=dict)


class Recorder(Protocol):
    """Who gives events while a program runs: an engine, or a race's director."""

    @property
    def reasons(self) -> Mapping[int, str]:
        """The kernel's names of reasons to drop a packet, where its events have their numbers."""

    def events(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Those that come within ``seconds``."""

    def drain(self) -> Iterator[dict[str, Any]]:
        """All of hits that are over."""

    def ended(self) -> bool:
        """Whether it is over for good, which while a program runs it should not be."""


class Listener(Protocol):
    """Who hears the story."""

    def __call__(
        self, kind: str, text: str = "", value: str = "", event: dict[str, Any] | None = None
    ) -> None:
        """``kind`` is step, got, said or event."""


def deaf(kind: str, text: str = "", value: str = "", event: dict[str, Any] | None = None) -> None:
    """A listener for a run whose story is in its record."""


def bring(programs: dict[str, Path], share: Path, report: Reporter) -> None:
    """labrun and the programs (name → the directory beside which a path is meant) into the
    share, each by its file's stem. Raises ``BadInput``, ``HostLacks``, ``WeFailed``."""
    put(program("labrun", report), share)
    for name, beside in programs.items():
        put(compiled(source_of(name, beside), report, beside), share, Path(name).stem)


def trouble(status: int, said: str) -> str:
    """Why a program's run cannot be judged, by labrun's status; empty when it can."""
    if status == _UNFIT:
        return f"it cannot run in this guest: {said or 'labrun said nothing'}"
    if status == _TOO_LONG:
        return f"the guest program hung: {said}"
    return f"the guest program ended with status {status}: {said}" if status else ""


class Run:
    """One run; ``status`` and ``said`` (stderr) are known when it is over.

    With ``in_step`` the program waits after each line of its story until the host has it
    (rootfs/guest/labs/lab.h): what it does next, an event of it too, then comes after the line.
    """

    def __init__(
        self,
        setup: Setup,
        machine: Machine,
        share: Path,
        directory: LegDir,
        recorder: Recorder | None,
        tell: Listener,
        in_step: bool = False,
    ) -> None:
        self._in_step = in_step
        self._heard_of: queue.SimpleQueue[int] = queue.SimpleQueue()  # lines to answer; 0: the end
        self._setup = setup
        self._machine = machine
        self._recorder = recorder
        self._tell = tell
        self._share = share
        self._directory = directory
        directory.path.mkdir(parents=True, exist_ok=True)
        self._lines: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._waiting: tuple[int, str] | None = None  # a line that an event came before
        self._half = b""
        self._room = _STORY
        self._stderr = Kept(_SAID)
        self._steps: list[str] = []
        self._got: dict[str, str] = {}
        self._printed: list[str] = []
        self.status = 0

    @property
    def said(self) -> str:
        return self._stderr.text.strip()

    def run(self) -> None:
        """Run it and write the record. Raises ``MachineFailed``, ``WeFailed``."""
        fresh(self._share, _LEG)
        with ExitStack() as stack:
            writer = None
            if self._recorder is not None:
                writer = stack.enter_context(
                    EventWriter(self._directory.events, self._recorder.reasons)
                )
            self.status = self._go(self._argv(), writer, self._setup.timeout + _MARGIN)
        self._keep()

    def _argv(self) -> list[str]:
        setup = self._setup
        argv = ["/mnt/share/labrun", "-o", f"/mnt/share/{_LEG}", "-w", str(setup.timeout)]
        if setup.topology == "veth":
            argv.append("-v")
        if setup.capture:
            argv += ["-f", setup.capture]
        for key, value in setup.sysctl.items():
            argv += ["-s", f"{key}={value}"]
        for command in setup.setup:
            argv += ["-c", command]
        argv += ["--", f"/mnt/share/{Path(setup.program).stem}", *setup.args]
        return [*argv, "-6"] if setup.family == "ipv6" else argv

    def _go(self, argv: list[str], writer: EventWriter | None, limit: float) -> int:
        """Run labrun to its end, taking lines and events; its status."""
        process = self._machine.channel.start(
            argv,
            on_stdout=self._heard,
            on_stderr=self._stderr,
            stdin=self._in_step,
            env={_IN_STEP: "1"} if self._in_step else None,
        )
        if self._in_step:
            answering = threading.Thread(target=self._answer, args=[process], daemon=True)
            answering.start()
            try:
                return self._follow(process, writer, limit)
            finally:
                self._heard_of.put(0)
                answering.join(_ANSWER)
        return self._follow(process, writer, limit)

    def _answer(self, process: GuestProcess) -> None:
        """A byte for each line that has come. The channel's reader must not wait for room."""
        with suppress(KernlabError):
            while (lines := self._heard_of.get()) and process.write(b"\n" * lines, _ANSWER / 2):
                pass

    def _follow(self, process: GuestProcess, writer: EventWriter | None, limit: float) -> int:
        deadline = time.monotonic() + limit
        while not process.done():
            self._take(writer)
            if self._machine.child.poll() is not None:
                raise self._machine.lost()
            if self._recorder is not None and self._recorder.ended():
                raise WeFailed(
                    "GDB ended while a program ran", "", "read gdb.log in the run directory"
                )
            if time.monotonic() > deadline:
                with suppress(KernlabError):
                    process.signal(9)
                raise MachineFailed(
                    f"{self._setup.name}: the guest did not end the program in {limit:g} s",
                    self.said,
                    "read console.log in the run directory",
                )
        status = process.wait(_ANSWER)
        if self._recorder is not None:
            # The guest has answered after the program's end: every probe it hit has been sent.
            self._machine.channel.ping(_ANSWER)
        if self._half:
            self._heard(b"\n")  # a last line without its end
        self._take(writer, last=True)
        return status

    def _heard(self, data: bytes) -> None:
        *lines, self._half = (self._half + data).split(b"\n")
        self._half = self._half[:_SAID]
        for line in lines:
            self._room -= len(line[:_SAID]) + 64
            if self._room > 0:
                self._lines.put((time.time_ns(), line[:_SAID].decode("utf-8", "replace")))
        if lines and self._in_step:
            self._heard_of.put(len(lines))

    def _take(self, writer: EventWriter | None, last: bool = False) -> None:
        """Events and lines as they come, each in its turn; the ``last`` time all there are."""
        if self._recorder is None or writer is None:
            with suppress(queue.Empty):
                self._line(self._lines.get(timeout=0 if last else _TURN)[1])
            self._say()
            return
        for event in self._recorder.drain() if last else self._recorder.events(_TURN):
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
            self._printed.append(line)
            self._tell("said", text=line)

    def _keep(self) -> None:
        """Bring what the guest left into the record."""
        keep = self._directory
        symbols = self._setup.symbols
        write_json(
            keep.results,
            {
                "status": self.status,
                "said": self.said,
                "steps": self._steps,
                "got": self._got,
                **({"printed": self._printed} if self._printed else {}),
                "debugger": self._recorder is not None,
                **({"symbols": symbols} if symbols else {}),
            },
        )
        before, after, links, words, kmsg = (
            text(self._share, f"{_LEG}/{name}")
            for name in ("before", "after", "links", "tcpdump", "kmsg")
        )
        if before is not None and after is not None:
            write_json(keep.counters, moved(parse(before), parse(after)))
        keep_capture(self._share, _CAPTURE, keep.capture, links or "", words or "")
        if kmsg is not None:
            with arriving_file(keep.kmsg) as temporary:
                temporary.write_text(kmsg, "utf-8")
