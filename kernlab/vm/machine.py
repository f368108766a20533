"""The life of one machine: listen, start QEMU, watch it boot, use it, end it.

Everything opened is on one ExitStack, so that it is closed in order on every way
out. A machine tells four failures apart: it hangs, it panics, it has no init, it
is lost (QEMU ended), and each error carries the console's tail.

When is a boot hung? Not after so many seconds: on a busy host a healthy boot may
take long. The guest is given ``SILENT_CPU`` seconds of QEMU's own CPU time, and
``SILENT_WALL`` seconds at most, between two signs of life.
"""

from __future__ import annotations

import os
import queue
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from kernlab.errors import HostLacks, KernlabError, MachineFailed, WeFailed
from kernlab.process import Child
from kernlab.vm.channel import Channel, Hello
from kernlab.vm.console import Console, Verdict, fatal
from kernlab.vm.loss import AgentLost, ConsoleShown
from kernlab.vm.needs import QEMU, require_qemu
from kernlab.vm.qmp import Qmp
from kernlab.vm.spec import SOCKETS, MachineSpec, arguments

SILENT_CPU = 15.0
SILENT_WALL = 30.0
INIT_MARK = "kernlab: init"
READY_MARK = "kernlab: rcS done"
AGAIN_MARK = "kernlab-agent: started again"


_FAST = 1.1  # of the time that QEMU runs


@dataclass(frozen=True)
class BootTimes:
    """Seconds from QEMU's start to each stage, on the host's monotonic clock. ``fast``: how
    many times too fast the guest's clock runs, at least; 1 for one that may be right."""

    init: float
    ready: float
    fast: float = 1.0


@dataclass(frozen=True)
class _Line:
    text: str


@dataclass(frozen=True)
class _Agent:
    hello: Hello | None


class Machine:
    """A running QEMU. Made by ``start``; usable once ``wait_ready`` has returned."""

    def __init__(self, spec: MachineSpec, sockets: Path, stack: ExitStack) -> None:
        self.spec = spec
        self.sockets = sockets
        self._stack = stack
        self._news: queue.SimpleQueue[_Line | _Agent] = queue.SimpleQueue()
        self._verdict: Verdict | None = None
        self._qmp: Qmp | None = None
        fds = self._listen()
        self.argv = arguments(require_qemu(), spec, fds)
        self.child = self._start(fds)
        self.started = time.monotonic()
        for fd in fds.values():
            os.close(fd)
        self.console = Console(self._connect("console"), self._heard)
        stack.callback(self.console.close)
        self.channel = Channel(self._connect("channel"))
        stack.callback(self.channel.close)
        self.channel.on_hello(lambda hello: self._news.put(_Agent(hello)))

    def _listen(self) -> dict[str, int]:
        fds = {}
        for name in SOCKETS:
            path = self.sockets / f"{name}.sock"
            with socket.socket(socket.AF_UNIX) as listening:
                try:
                    listening.bind(str(path))
                except OSError as error:
                    raise HostLacks(
                        f"cannot listen on {path}", str(error), "kernlab clean runs"
                    ) from error
                listening.listen(1)
                fds[name] = listening.detach()
        return fds

    def _connect(self, name: str) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(10.0)
        connected.connect(str(self.sockets / f"{name}.sock"))
        connected.settimeout(None)
        return connected

    def _start(self, fds: dict[str, int]) -> Child:
        log = (self.sockets / "qemu.log").open("wb")
        self._stack.callback(log.close)
        for fd in fds.values():
            os.set_inheritable(fd, True)
        child = Child(
            self.argv,
            stdout=log,
            stderr=log,
            pass_fds=tuple(fds.values()),
        )
        self._stack.callback(child.close)
        return child

    def _heard(self, line: str) -> None:
        verdict = fatal(line)
        if verdict is not None and self._verdict is None:
            self._verdict = verdict
        if AGAIN_MARK in line:
            self.channel.agent_lost()
        self._news.put(_Line(line))

    @property
    def broken(self) -> bool:
        """Whether the console has told that the guest cannot go on (a panic)."""
        return self._verdict is not None

    @property
    def qmp(self) -> Qmp:
        if self._qmp is None:
            self._qmp = Qmp(self.sockets / "qmp.sock")
            self._stack.callback(self._qmp.close)
        return self._qmp

    @property
    def gdb_socket(self) -> Path:
        return self.sockets / "gdb.sock"

    # -- boot ---------------------------------------------------------------

    def wait_ready(self, silent_wall: float = SILENT_WALL) -> BootTimes:
        """Return when the guest takes commands; raise ``MachineFailed`` when it never will.

        ``silent_wall``: seconds between two signs of life after which it is called hung.
        """
        stage = "the kernel"
        init = 0.0
        silent = _Silence(self.child.pid, silent_wall)
        while True:
            try:
                news = self._news.get(timeout=0.25)
            except queue.Empty:
                self._give_up_if_over(stage, silent)
                continue
            silent.broken()
            if isinstance(news, _Agent):
                now = time.monotonic() - self.started
                return BootTimes(init or now, now, self._fast())
            if INIT_MARK in news.text:
                init = time.monotonic() - self.started
                stage = "init (rcS)"
            elif READY_MARK in news.text:
                stage = "the command agent"
            self._give_up_if_over(stage, silent)

    def _fast(self) -> float:
        """How many times too fast the guest's clock runs. Its kernel measures the rate of the
        TSC while it boots (arch/x86/kernel/tsc.c, pit_calibrate_tsc()); a host that gives the
        vCPU no time meanwhile makes it tenfold wrong. No guest can be up longer than QEMU."""
        try:
            up = float(self.channel.read_file("/proc/uptime").split()[0])
        except (OSError, ValueError, IndexError):
            return 1.0
        elapsed = time.monotonic() - self.started
        return up / elapsed if up > _FAST * elapsed else 1.0

    def _give_up_if_over(self, stage: str, silent: _Silence) -> None:
        if self._verdict is not None:
            self._wait_for_last_words()
            raise self._failed(self._verdict.what, self._verdict.next_step)
        if self.child.poll() is not None:
            raise self.lost()
        if silent.too_long():
            raise self._failed(
                f"the guest hangs: it printed nothing after the start of {stage}",
                "read console.log in the run directory",
            )

    def _wait_for_last_words(self) -> None:
        """A panic prints on for a moment, then ``-no-reboot`` ends QEMU."""
        with suppress(WeFailed):
            self.child.wait(3.0)

    def _failed(self, what: str, next_step: str) -> MachineFailed:
        tail = "\n".join(f"  | {line}" for line in self.console.tail() if line.strip())
        return ConsoleShown(
            what, f"the console's last lines:\n{tail or '  | (nothing)'}", next_step
        )

    def lost(self) -> MachineFailed:
        """The error for a machine that went away under a user: panic, power-off or QEMU's end."""
        self._wait_for_last_words()
        if self._verdict is not None:
            return self._failed(self._verdict.what, self._verdict.next_step)
        status = self.child.poll()
        if status is None:
            return self._failed("the guest no longer answers", "kernlab stop --all")
        said = self._qemu_said()
        if status == 0:
            return self._failed(
                "the machine is gone: the guest powered off or rebooted",
                "read console.log in the run directory",
            )
        how = f"signal {-status}" if status < 0 else f"status {status}"
        error = self._failed(f"the machine is lost: QEMU ended with {how}", "kernlab doctor")
        if said:
            error.why = f"QEMU said: {said}\n{error.why}"
        return error

    def answers(self) -> bool:
        """Whether the guest still takes commands: then it is not the machine that failed."""
        with suppress(KernlabError):
            self.channel.ping(5.0)
            return True
        return False

    def ended(self) -> None:
        """Return for a machine that powered off; raise ``MachineFailed`` for one that broke."""
        with suppress(WeFailed):
            self.child.wait(5.0)
        if self.child.poll() != 0 or self._verdict is not None:
            raise self.lost()

    def _qemu_said(self) -> str:
        with suppress(OSError):
            return (self.sockets / "qemu.log").read_text("utf-8", "replace").strip()[-2000:]
        return ""

    # -- host forwards ------------------------------------------------------

    def forward(self, guest_port: int) -> int:
        """Forward a port of 127.0.0.1, chosen by the host, to the guest; return it."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        said = self.qmp.human(f"hostfwd_add net tcp:127.0.0.1:{port}-:{guest_port}")
        if said.strip():
            raise WeFailed("QEMU did not forward a port", said.strip(), "again")
        return port


class _Silence:
    """How long a machine has given no sign of life, in wall and in CPU seconds."""

    def __init__(self, pid: int, wall: float) -> None:
        self._wall = wall
        self._process: psutil.Process | None = None
        with suppress(psutil.Error):
            self._process = psutil.Process(pid)
        self.broken()

    def _cpu(self) -> float:
        with suppress(psutil.Error):
            if self._process is not None:
                times = self._process.cpu_times()
                return float(times.user + times.system)
        return 0.0

    def broken(self) -> None:
        self._wall_mark = time.monotonic()
        self._cpu_mark = self._cpu()

    def too_long(self) -> bool:
        if time.monotonic() - self._wall_mark > self._wall:
            return True
        return self._cpu() - self._cpu_mark > SILENT_CPU


@contextmanager
def start(spec: MachineSpec, sockets: Path) -> Iterator[Machine]:
    """Start a machine whose sockets lie in the directory ``sockets``; end it with the block."""
    with ExitStack() as stack:
        machine = Machine(spec, sockets, stack)
        try:
            yield machine
        except MachineFailed as error:
            if isinstance(error, (AgentLost, ConsoleShown)) or machine.answers():
                raise
            raise machine.lost() from error


__all__ = ["QEMU", "BootTimes", "Machine", "start"]
