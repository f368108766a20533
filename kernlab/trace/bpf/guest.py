"""rootfs/guest/probe at work: a plan goes in, records come out while it runs."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kernlab.config.paths import shipped
from kernlab.errors import KernlabError, MachineFailed, WeFailed
from kernlab.guest.bpf import BpfSource, build
from kernlab.kernel.model import Kernel
from kernlab.progress import Reporter
from kernlab.trace.backlog import Backlog
from kernlab.trace.bpf.records import COUNTS, SIZE
from kernlab.vm.machine import Machine
from kernlab.vm.share import put_program

NAME = "probe"
_PLAN, _PROBES = "/run/kernlab-plan", "/run/kernlab-probes"
_READY = 120.0  # a verifier under TCG, and a hundred probes
_STOP = 60.0
_SIGINT, _SIGKILL, _SIGTERM = 2, 9, 15
_TURN = 0.02


class Batch(NamedTuple):
    """Whole records, one after the other. ``at``: when they came, in ns since 1970."""

    at: int
    data: bytes


class Refused(KernlabError):
    """The guest's kernel lets nobody put the probe ``number`` where it is."""

    exit_status = 4

    def __init__(self, number: int, why: str) -> None:
        super().__init__("the guest's kernel refused a probe", why, "--engine gdb")
        self.number = number


def place(kernel: Kernel, share: Path, report: Reporter) -> None:
    """Build the guest's program for a kernel and put it into the share."""
    source = BpfSource(NAME, shipped("rootfs", "guest", NAME))
    put_program(build(source, kernel, report).program, share)


class Loader:
    """The program in the guest. ``counts`` is what it counted, once it has paused."""

    def __init__(self, plan: bytes, probes: Sequence[bytes]) -> None:
        self._plan = plan
        self._probes = b"".join(probes)
        self._backlog = Backlog[Batch](lambda batch: len(batch.data))
        self.take = self._backlog.take
        self._partial = bytearray()
        self._said = bytearray()
        self._told = threading.Event()
        self.counts: dict[str, int] = {}

    @property
    def said(self) -> str:
        return self._said.decode("utf-8", "replace")

    def start(self, machine: Machine) -> None:
        """Load and attach. Raises ``Refused``, ``WeFailed``, ``MachineFailed``."""
        machine.channel.write_file(_PLAN, self._plan)
        machine.channel.write_file(_PROBES, self._probes)
        process = self._backlog.process = machine.channel.start(
            [f"/mnt/share/{NAME}", _PLAN, _PROBES],
            on_stdout=self._came,
            on_stderr=self._said.extend,
        )
        deadline = time.monotonic() + _READY
        while b"\nready " not in b"\n" + self._said:
            if process.done():
                raise self._broken()
            if time.monotonic() > deadline:
                process.signal(_SIGKILL)
                raise MachineFailed(
                    f"the guest did not set the probes in {_READY:g} s", "", "trace fewer functions"
                )
            threading.Event().wait(_TURN)

    def _broken(self) -> KernlabError:
        assert self._backlog.process is not None
        status = self._backlog.process.wait(_STOP)  # raises when the machine is gone
        refused = re.search(r"^refused (\d+) (.*)$", self.said, re.M)
        if refused:
            return Refused(int(refused[1]), refused[2])
        return WeFailed(
            f"the guest's BPF program ended with status {status}",
            self.said.strip()[-3000:],
            "--engine gdb",
        )

    # -- called by the channel's reader ---------------------------------------

    def _came(self, data: bytes) -> None:
        buffer = self._partial
        buffer += data
        end = 0
        while len(buffer) - end >= SIZE:
            size = int.from_bytes(buffer[end : end + 4], "little")
            if size < SIZE or end + size > len(buffer):
                break
            if buffer[end + 4] == COUNTS:  # the last one
                self.counts = json.loads(buffer[end + SIZE : end + size])
                self._told.set()
                break
            end += size
        if not end:
            return
        self._backlog.put(Batch(time.time_ns(), bytes(buffer[:end])))
        del buffer[:end]

    # -- called by the engine -------------------------------------------------

    @property
    def waiting(self) -> int:
        """Bytes that have come and were not taken yet."""
        return self._backlog.waiting

    def check(self) -> None:
        """Raise ``WeFailed`` or ``MachineFailed`` when the program has ended."""
        if self._backlog.process is not None and self._backlog.process.done():
            raise self._broken()

    def pause(self) -> None:
        """End the recording; all that came of it can then be taken, and ``counts`` is there.
        A machine that is gone has nothing to tell."""
        process = self._backlog.process
        if process is None or process.done():
            return
        with suppress(MachineFailed):
            self._backlog.resume()
            process.signal(_SIGINT)
            deadline = time.monotonic() + _STOP
            while not self._told.wait(_TURN) and not process.done():
                if time.monotonic() > deadline:
                    raise WeFailed(
                        f"the guest's BPF program did not pause in {_STOP:g} s",
                        self.said[-3000:],
                        "kernlab stop --all",
                    )

    def stop(self) -> None:
        """Have the probes taken away."""
        process = self._backlog.process
        if process is None or process.done():
            return
        with suppress(MachineFailed):
            process.signal(_SIGTERM)
            self._backlog.ended(_STOP)
