"""What a workload prints, piece by piece, in step with the events (rootfs/guest/words.c)."""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kernlab.errors import MachineFailed, WeFailed
from kernlab.guest.build import program
from kernlab.progress import Reporter
from kernlab.record import output
from kernlab.vm.channel import GuestProcess
from kernlab.vm.completed import Kept
from kernlab.vm.machine import Machine
from kernlab.vm.share import put

_PROGRAM = "words"
_HEADER = struct.Struct("<B3xIQ")
_COUNTED, _OUT, _ERR, _FAILED = range(4)
_MOST_BYTES = 1 << 16  # of one piece
_READY = 15.0  # seconds for the guest's program to say where it counts
_LATE = 3.0  # seconds for words that were counted before an event to arrive
COUNTER = "net_msg_warn"  # the kernel's variable in which the guest's program counts them


class Piece(NamedTuple):
    """Something that was printed. ``number`` from 1, ``at``: the guest's CLOCK_MONOTONIC, ns."""

    number: int
    stream: str  # stdout | stderr
    at: int
    data: bytes


OnWords = Callable[[Piece], None]


def place(share: Path, report: Reporter) -> None:
    put(program(_PROGRAM, report), share)


class Words:
    """A command that waits for ``go``. ``failed``: the errno of one that could not be
    started."""

    def __init__(self, argv: Sequence[str], machine: Machine) -> None:
        self._machine = machine
        self._pieces: deque[Piece] = deque()
        self._changed = threading.Condition()
        self._half = bytearray()
        self.arrived = 0
        self.failed: int | None = None
        self.counted: bool | None = None  # whether they are counted where a debugger sees it
        self._trouble = Kept(1 << 12)
        words = [f"/mnt/share/{_PROGRAM}", str(machine.spec.cpus), *argv]
        self.process: GuestProcess = machine.channel.start(
            words, stdin=True, on_stdout=self._take, on_stderr=self._trouble
        )

    def ready(self) -> bool:
        """Whether it counts. Raises ``WeFailed`` when the guest's program does not say."""
        with self._changed:
            self._changed.wait_for(lambda: self.counted is not None or self.process.done(), _READY)
        if self.counted is None:
            raise WeFailed(
                "the workload could not be prepared",
                self._trouble.text.strip(),
                "read console.log in the run directory",
            )
        return self.counted

    def go(self) -> None:
        with suppress(MachineFailed):  # gone already: whoever waits for it says so
            self.process.write(b"g", _READY)
            self.process.close_stdin()

    def _take(self, data: bytes) -> None:
        """Called by the channel's reader."""
        self._half += data
        at = 0
        with self._changed:
            while len(self._half) - at >= _HEADER.size:
                kind, size, when = _HEADER.unpack_from(self._half, at)
                if kind > _FAILED or size > _MOST_BYTES:
                    self._half.clear()  # it is not our program that speaks
                    return
                if len(self._half) - at < _HEADER.size + size:
                    break
                at += _HEADER.size
                self._frame(kind, when, bytes(self._half[at : at + size]))
                at += size
            del self._half[:at]
            self._changed.notify_all()

    def _frame(self, kind: int, when: int, data: bytes) -> None:
        if kind == _COUNTED:
            self.counted = data == b"\1\0\0\0"
        elif kind == _FAILED and len(data) == 4:
            self.failed = int.from_bytes(data, "little")
        elif kind in (_OUT, _ERR):
            self.arrived += 1
            name = "stdout" if kind == _OUT else "stderr"
            self._pieces.append(Piece(self.arrived, name, when, data))

    def first(self) -> Piece | None:
        """The piece that is next."""
        return self._pieces[0] if self._pieces else None

    def pop(self) -> Piece:
        return self._pieces.popleft()

    def wait(self, number: int) -> None:
        """Return when so many pieces have come, or will not come. A number that is wrong (the
        variable is anybody's) costs time once."""
        with self._changed:
            if self.counted and not self._changed.wait_for(
                lambda: self.arrived >= number or self.process.done(), _LATE
            ):
                self.counted = False


class Story:
    """Tells words and keeps them in ``path``, each with ``after``: the number of the event
    that it came after."""

    def __init__(self, words: Words | None, path: Path, tell: OnWords) -> None:
        self._words = words
        self._writer = output.OutputWriter(path)
        self._tell = tell
        self.said = Kept(1 << 16)

    @property
    def arrived(self) -> int:
        return self._words.arrived if self._words else 0

    def count(self, number: int, after: int) -> None:
        """The first ``number`` pieces came before what follows."""
        if self._words is not None:
            self._words.wait(number)
        if self._words is not None and self._words.counted:
            self._while(lambda piece: piece.number <= number, after)

    def until(self, at: int, after: int) -> None:
        """What was printed up to the guest's time ``at``."""
        self._while(lambda piece: piece.at <= at, after)

    def arrived_until(self, number: int, after: int) -> None:
        self._while(lambda piece: piece.number <= number, after)

    def rest(self, after: int) -> None:
        """All that is left."""
        self._while(lambda piece: True, after)

    def _while(self, wanted: Callable[[Piece], bool], after: int) -> None:
        while self._words and (piece := self._words.first()) is not None and wanted(piece):
            self._words.pop()
            self.said(piece.data)
            self._writer.write(output.Piece(after, piece.stream, piece.at, piece.data))
            self._tell(piece)
