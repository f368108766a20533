"""configs/workloads.yaml, and running one in a machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load, near
from kernlab.errors import BadInput, MachineFailed
from kernlab.guest.build import program
from kernlab.progress import Reporter
from kernlab.trace.words import Words
from kernlab.vm.channel import GuestProcess
from kernlab.vm.completed import Kept
from kernlab.vm.machine import Machine
from kernlab.vm.share import put

_STOP = 5.0
_SAID = 1 << 20  # bytes that are kept of what a workload says
_PREPARE = 60.0


class HostPart(Model):
    """What the host does: ``requests`` GETs (without end when there is a count)."""

    do: Literal["http-get"]
    port: int
    path: str
    requests: int


class WorkloadRow(Model):
    """What makes packets flow; the keys are explained at the head of workloads.yaml."""

    title: str
    before: str | None = None
    program: str | None = None
    command: list[str] = []
    args: list[str] = []
    endless: list[str] = []
    host: HostPart | None = None


class WorkloadTable(Model):
    workloads: dict[str, WorkloadRow]


class Workload(WorkloadRow):
    """A row by its name, or a command that stands in its place."""

    name: str


NOTHING = Workload(name="none", title="nothing")


def table() -> dict[str, WorkloadRow]:
    """The user's own workloads.yaml or the shipped one."""
    return load(config_file("workloads.yaml"), WorkloadTable).workloads


def of_command(command: Sequence[str]) -> Workload:
    """A command of the guest in place of a workload."""
    return Workload(name=command[0], title=command[0], command=list(command))


def find(name: str) -> Workload:
    """A workload by name, or a guest command line (anything with a blank or a slash).

    Raises ``BadInput`` with near names.
    """
    rows = table()
    if name in rows:
        return Workload(name=name, **rows[name].model_dump())
    if " " in name.strip() or "/" in name:
        return Workload(name=name, title=name, command=["sh", "-c", name])
    close = near(name, rows)
    raise BadInput(
        f"--workload {name}: there is no such workload",
        f"did you mean {close[0]}?"
        if close
        else f"there are: {', '.join(rows)}; or a command "
        "for the guest's shell, with a blank or a slash in it",
        f"--workload {close[0] if close else 'http'}",
    )


def place(row: WorkloadRow, share: Path, report: Reporter) -> None:
    """Build the workload's program and put it into the share."""
    if row.program is not None:
        put(program(row.program, report), share, row.program)


class Running:
    """A workload at work."""

    def __init__(self, process: GuestProcess | None, host: _HostClient | None) -> None:
        self._process = process
        self._host = host
        self.said = Kept(_SAID)

    def done(self) -> bool:
        """Whether it has come to its own end. A server never does: its client does."""
        if self._host is not None:
            return self._host.done.is_set()
        return self._process is not None and self._process.done()

    def status(self) -> int | None:
        """The guest command's exit status, where it ended by itself."""
        return self._process.returncode if self._process is not None else None

    def stop(self) -> None:
        """Ask it to end politely, so that its connections close in order."""
        if self._host is not None:
            self._host.stop.set()
            self._host.join(_STOP)
        if self._process is not None and not self._process.done():
            with suppress(MachineFailed, TimeoutError):
                self._process.signal(15)
                self._process.wait(_STOP)


def argv_of(row: WorkloadRow, endless: bool) -> list[str]:
    """What the guest runs of it; empty when it runs nothing."""
    if row.program is not None:
        return [f"/mnt/share/{row.program}", *(row.endless if endless else row.args)]
    return list(row.command)


@contextmanager
def running(
    row: WorkloadRow, machine: Machine, endless: bool, words: Words | None = None
) -> Iterator[Running]:
    """Start a workload; stopped at the block's end. ``words``: its command, which waits; what
    it prints then goes there."""
    with ExitStack() as stack:
        said = Kept(_SAID)
        if row.before is not None:
            _prepare(row.before, machine)
        argv = argv_of(row, endless)
        process = None
        if words is not None:
            process = words.process
            words.go()
        elif argv:
            process = machine.channel.start(argv, on_stdout=said, on_stderr=said)
        host = None
        if row.host is not None:
            port = machine.forward(row.host.port)
            host = _HostClient(port, row.host, endless)
            host.start()
        live = Running(process, host)
        live.said = said
        stack.callback(live.stop)
        yield live


def _prepare(command: str, machine: Machine) -> None:
    said = Kept(_SAID)
    process = machine.channel.start(["sh", "-c", command], on_stdout=said, on_stderr=said)
    if process.wait(_PREPARE) != 0:
        raise BadInput(
            f"the workload could not be prepared: '{command}' ended with {process.returncode}",
            said.text.strip(),
            "edit workloads.yaml",
        )


class _HostClient(threading.Thread):
    """GETs from the host, one connection each."""

    def __init__(self, port: int, part: HostPart, endless: bool) -> None:
        super().__init__(name="workload", daemon=True)
        self._url = f"http://127.0.0.1:{port}{part.path}"
        self._left = None if endless else part.requests
        self.stop = threading.Event()
        self.done = threading.Event()

    def run(self) -> None:
        import requests

        session = requests.Session()
        session.trust_env = False  # a proxy of the host's is not on the way to a guest
        while not self.stop.is_set() and self._left != 0:
            # A refused connection is the guest's server not listening yet; ask again.
            with suppress(requests.RequestException):
                session.get(self._url, timeout=20, headers={"Connection": "close"})
                if self._left is not None:
                    self._left -= 1
            self.stop.wait(0.05)
        self.done.set()
