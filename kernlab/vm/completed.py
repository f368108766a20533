"""What a guest command printed, and its status."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 64 << 20  # bytes that are kept of one command's output, or of one file


@dataclass(frozen=True)
class GuestCompleted:
    """What a guest command left. ``returncode`` is its status, or 128 + signal."""

    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


class Kept:
    """A sink that keeps the first bytes of what a guest says: a guest may say anything for
    ever. ``more``: there was more than ``most``."""

    def __init__(self, most: int = MOST) -> None:
        self.data = bytearray()
        self.more = False
        self._most = most

    def __call__(self, data: bytes) -> None:
        room = self._most - len(self.data)
        self.data += data[:room]
        self.more = self.more or len(data) > room

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")
