"""output.jsonl: what a run's program printed, each piece with its place among the events.

    {"after": 2, "stream": "stdout", "guest_ns": 2804124250, "text": "refused\\n"}

``after``: the number of the event (``seq``) that it came after, 0 for none; ``guest_ns``: the
guest's CLOCK_MONOTONIC. ``text`` is UTF-8; a byte that is none is a lone surrogate (U+DC80 and
on, as Python's surrogateescape). A last line with ``"more":true`` says that it was not all.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kernlab.errors import HostLacks

LIMIT = 64 << 20  # bytes of the file


class Piece(NamedTuple):
    """Something that was printed: after which event, on stdout or stderr, when, and what."""

    after: int
    stream: str
    at: int
    data: bytes


class OutputWriter:
    """Appends pieces; the file is made with the first one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._room = LIMIT

    def write(self, piece: Piece) -> None:
        """Raises ``HostLacks`` when the disk is full."""
        row = {
            "after": piece.after,
            "stream": piece.stream,
            "guest_ns": piece.at,
            "text": piece.data.decode("utf-8", "surrogateescape"),
        }
        line = json.dumps(row, separators=(",", ":")) + "\n"
        if self._room <= 0:
            return
        self._room -= len(line)
        if self._room <= 0:
            line = json.dumps({"after": piece.after, "more": True}) + "\n"
        try:
            with self._path.open("a", encoding="ascii") as file:
                file.write(line)
        except OSError as error:
            raise HostLacks(
                f"cannot write {self._path}",
                f"{error.strerror}; KERNLAB_HOME may name a directory on a larger disk",
                "kernlab clean runs",
            ) from error


def read(path: Path) -> deque[Piece]:
    """The pieces in a file; none where there is not a file. A line that is none is left out."""
    found: deque[Piece] = deque()
    try:
        with path.open("rb") as file:
            for line in file:
                piece = _piece(line)
                if piece is not None:
                    found.append(piece)
    except OSError:
        pass
    return found


def _piece(line: bytes) -> Piece | None:
    try:
        row = json.loads(line)
        text = row["text"].encode("utf-8", "surrogateescape")
        stream = row["stream"]
        if stream not in ("stdout", "stderr"):
            return None
        return Piece(int(row["after"]), stream, int(row["guest_ns"]), text)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def before(pieces: deque[Piece], seq: int) -> Iterator[Piece]:
    """Take those that came before the event after ``seq``."""
    while pieces and pieces[0].after <= seq:
        yield pieces.popleft()
