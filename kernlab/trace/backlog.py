"""What a guest program sent while it traces, until the engine takes it.

A host that decodes more slowly than the guest records would run out of memory: above so many
bytes the program in the guest stands still, and the kernel's buffer counts what it then has no
room for.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from kernlab.errors import MachineFailed, WeFailed
from kernlab.vm.channel import GuestProcess

_HIGH, _LOW = 256 << 20, 128 << 20
_SIGKILL, _SIGCONT, _SIGSTOP = 9, 18, 19

T = TypeVar("T")


class Backlog(Generic[T]):
    """Pieces of ``size`` bytes each. ``process``, once it is set, is the program that sends
    them. ``put`` is called by the channel's reader, the rest by the engine."""

    def __init__(self, size: Callable[[T], int]) -> None:
        self._size = size
        self._pieces: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._paused = False
        self.waiting = 0  # bytes that have come and were not taken yet
        self.process: GuestProcess | None = None

    def put(self, piece: T) -> None:
        with self._lock:
            self.waiting += self._size(piece)
            pause = self.waiting > _HIGH and not self._paused
            self._paused |= pause
        self._pieces.put(piece)
        if pause and self.process is not None:
            self.process.signal(_SIGSTOP)

    def take(self, seconds: float) -> T | None:
        """The next piece; None when none came within ``seconds``."""
        try:
            piece = self._pieces.get(seconds > 0, max(seconds, 0))
        except queue.Empty:
            return None
        with self._lock:
            self.waiting -= self._size(piece)
            resume = self._paused and self.waiting < _LOW
            self._paused &= not resume
        if resume:
            self.resume()
        return piece

    def resume(self) -> None:
        """Let the program go on, whether or not it stands."""
        if self.running():
            assert self.process is not None
            with suppress(MachineFailed):
                self.process.signal(_SIGCONT)

    def running(self) -> bool:
        return self.process is not None and not self.process.done()

    def ended(self, seconds: float) -> None:
        """Wait until the program has taken its probes away. Raises ``WeFailed``."""
        assert self.process is not None
        try:
            self.process.wait(seconds)
        except TimeoutError as error:
            self.process.signal(_SIGKILL)
            raise WeFailed(
                f"the guest did not remove its probes in {seconds:g} s", "", "kernlab stop --all"
            ) from error
