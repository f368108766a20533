"""How fast what the guest sent is taken, by engines that do not stop it.

Where the host has no vCPU to spare, decoding takes from the guest what it would run on: it gets a
small share of the time while the guest runs, and the rest waits for the end, as long as that is
no more than so many bytes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

_SHARE, _PATIENCE = 0.05, 128 << 20
_PAUSE = 0.01

T = TypeVar("T")


class Pace:
    """For a guest of ``cpus`` vCPUs."""

    def __init__(self, cpus: int) -> None:
        self._yields = (os.cpu_count() or 1) <= cpus

    def pieces(
        self, seconds: float, take: Callable[[float], T | None], waiting: Callable[[], int]
    ) -> Iterator[T]:
        """What comes within the next ``seconds``; ends when nothing does. ``take`` waits so
        long for a piece, ``waiting`` tells how many bytes have not been taken yet. The time
        that the caller spends on a piece counts as decoding."""
        started = time.monotonic()
        idle = 0.0
        while (left := started + seconds - (now := time.monotonic())) > 0:
            busy = now - started - idle
            if (
                self._yields
                and busy > _SHARE * (now - started) + _PAUSE
                and (waiting() < _PATIENCE)
            ):
                threading.Event().wait(min(_PAUSE, left))
                idle += time.monotonic() - now
                continue
            piece = take(left)
            idle += time.monotonic() - now
            if piece is None:
                return
            yield piece
