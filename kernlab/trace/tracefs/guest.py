"""rootfs/guest/tracefs.c at work: a script for tracefs, and what comes back while it runs."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kernlab.errors import KernlabError, MachineFailed, WeFailed
from kernlab.guest.build import program
from kernlab.progress import Reporter
from kernlab.trace.backlog import Backlog
from kernlab.vm.machine import Machine
from kernlab.vm.share import put

_PROGRAM = "tracefs"
_SCRIPT = "/run/kernlab-tracefs"
_READY = 60.0  # arming a hundred probes takes seconds under TCG
_STOP = 60.0
_HEADER = struct.Struct("<III")
_CONTENT, _READY_FRAME, _FAILED, _REFUSED = 3, 4, 5, 6
PAGE, ROUND = 1, 2


class Piece(NamedTuple):
    """What the guest sent: a PAGE of a vCPU's ring buffer, or the end of a ROUND: all from
    before its time has been sent. ``at``: when it came, in ns since 1970."""

    at: int
    kind: int
    cpu: int
    data: bytes


class Clock:
    """The TSC, by which events of all vCPUs are in order, as CLOCK_MONOTONIC in ns.

    A busy host lets the guest's kernel find its TSC unusable as a clock; it then counts ticks,
    and so does each of its trace clocks but that of the
    architecture. Each round tells both, and between two of
    them time is a straight line.
    """

    def __init__(self) -> None:
        self._last = (0, 0)
        self._slope = 0.0
        self._from = (0, 0)

    def round(self, piece: Piece) -> int:
        """Take a round's times; its TSC."""
        tsc, ns = struct.unpack("<QQ", piece.data)
        self._from, self._last = self._last, (tsc, ns)
        if tsc > self._from[0] > 0:
            self._slope = (ns - self._from[1]) / (tsc - self._from[0])
        return int(tsc)

    def ns(self, tsc: int) -> int:
        """The time of an event that the last round ended."""
        return self._last[1] - int((self._last[0] - tsc) * self._slope)


class Refused(KernlabError):
    """The guest's kernel did not take a line of the script; ``number`` is its errno."""

    exit_status = 4

    def __init__(self, line: str, number: int, log: str) -> None:
        last = [text for text in log.splitlines() if text.strip()][-4:]
        why = "\n".join([f"{os.strerror(number)}: {line}", *last])
        super().__init__(
            "the guest's tracefs refused a request",
            why,
            "--engine gdb",
        )
        self.line = line
        self.number = number


def place(share: Path, report: Reporter) -> None:
    """Build the guest program and put it into the share."""
    put(program(_PROGRAM, report), share)


class Tracefs:
    """One script. ``contents`` has the files it sent, ``refused`` the lines of ``try``
    that the kernel did not take, each as (path, errno)."""

    def __init__(self, script: Sequence[str]) -> None:
        self._script = "".join(f"{line}\n" for line in script)
        self._backlog = Backlog[Piece](lambda piece: len(piece.data))
        self.take = self._backlog.take
        self._partial = bytearray()
        self._said = bytearray()
        self._failed: tuple[str, int] | None = None
        self._told = threading.Semaphore(0)
        self.contents: dict[str, str] = {}
        self.refused: list[tuple[str, int]] = []

    def start(self, machine: Machine) -> None:
        """Carry out the script's first half. Raises ``Refused``, ``WeFailed``,
        ``MachineFailed``."""
        machine.channel.write_file(_SCRIPT, self._script.encode())
        self._backlog.process = machine.channel.start(
            [f"/mnt/share/{_PROGRAM}", _SCRIPT],
            stdin=True,
            on_stdout=self._came,
            on_stderr=self._said.extend,
        )
        self._until_told("set the probes")
        if self._failed is not None:
            self.stop()
            raise Refused(*self._failed, self.contents.get("error_log", ""))

    def _until_told(self, what: str) -> None:
        """Until the script has come to ``run``, to ``wait`` or to a failure."""
        process = self._backlog.process
        assert process is not None
        deadline = time.monotonic() + _READY
        while not self._told.acquire(timeout=0.05):
            if process.done():
                if self._told.acquire(blocking=False):
                    return
                raise self._broken()
            if time.monotonic() > deadline:
                raise MachineFailed(
                    f"the guest did not {what} in {_READY:g} s", "", "trace fewer functions"
                )

    def _broken(self) -> KernlabError:
        assert self._backlog.process is not None
        said = self._said.decode("utf-8", "replace").strip()
        status = self._backlog.process.wait(_STOP)  # raises when the machine is gone
        return WeFailed(
            f"the guest's tracefs program ended with status {status}",
            said,
            "kernlab run -- ls /sys/kernel/tracing",
        )

    # -- called by the channel's reader ---------------------------------------

    def _came(self, data: bytes) -> None:
        buffer = self._partial
        buffer += data
        at, now = 0, time.time_ns()
        while len(buffer) - at >= _HEADER.size:
            kind, arg, length = _HEADER.unpack_from(buffer, at)
            end = at + _HEADER.size + length
            if end > len(buffer):
                break
            self._frame(now, kind, arg, bytes(buffer[at + _HEADER.size : end]))
            at = end
        del buffer[:at]

    def _frame(self, now: int, kind: int, arg: int, payload: bytes) -> None:
        if kind in (PAGE, ROUND):
            self._backlog.put(Piece(now, kind, arg, payload))
        elif kind == _CONTENT:
            name, _, text = payload.partition(b"\0")
            self.contents[name.decode()] = text.decode("utf-8", "replace")
        elif kind == _REFUSED:
            self.refused.append((payload.decode("utf-8", "replace"), arg))
        elif kind == _FAILED:
            self._failed = (payload.decode("utf-8", "replace"), arg)
            self._told.release()
        elif kind == _READY_FRAME:
            self._told.release()

    # -- called by the engine -------------------------------------------------

    @property
    def waiting(self) -> int:
        """Bytes that have come and were not taken yet."""
        return self._backlog.waiting

    def check(self) -> None:
        """Raise ``WeFailed`` or ``MachineFailed`` when the guest program has ended."""
        if self._backlog.process is not None and self._backlog.process.done():
            raise self._broken()

    def pause(self) -> None:
        """End ``run``: the script goes on until ``wait``. All that came of it can then be
        taken. A machine that is gone has nothing to go on with."""
        process = self._backlog.process
        if process is None or process.done():
            return
        with suppress(MachineFailed):
            self._backlog.resume()
            process.write(b".", _STOP)
            self._until_told("end its trace")

    def stop(self) -> None:
        """Have the rest of the script carried out."""
        process = self._backlog.process
        if process is None:
            return
        with suppress(MachineFailed):
            if not process.done():
                self._backlog.resume()
                process.close_stdin()
            self._backlog.ended(_STOP)
