"""events.jsonl: written line by line, read back even when its last line is torn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from kernlab.config.files import open_regular, parse_json
from kernlab.config.paths import arriving_file
from kernlab.errors import BadInput, HostLacks
from kernlab.record import drops
from kernlab.record.event import number, validate
from kernlab.record.identity import Identity
from kernlab.record.shapes import first_problem

_LONGEST = 1 << 20  # bytes of a line: an event with its stack takes 20 thousand


class EventWriter:
    """Where all events of a run, a leg or a round go: it gives each its number and the notes
    that only all events together tell, and appends it. Each line reaches the file before
    ``write`` returns. ``reasons``: the kernel's names of reasons to drop a packet, by number."""

    def __init__(self, path: Path, reasons: Mapping[int, str] | None = None) -> None:
        self._identity = Identity()
        self._reasons = reasons or {}
        self._path = path
        self._file = path.open("wb", buffering=0)
        self.count = 0

    def write(self, event: dict[str, Any]) -> None:
        """Notes ``seq``, ``drop.reason`` and ``packet.id`` in the event too. Raises
        ``HostLacks`` when the disk is full."""
        number(event, self.count + 1)
        drops.name(event, self._reasons)
        self._identity.take(event)
        line = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        try:
            self._file.write(line)
        except OSError as error:
            raise HostLacks(
                f"cannot write {self._path}",
                f"{error.strerror}; KERNLAB_HOME may name a directory on a larger disk",
                "kernlab clean runs",
            ) from error
        self.count += 1

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events in a file, of which any field may be absent, and those that are there are
    of their type. A torn last line (kernlab was killed) is left out.

    Raises ``BadInput`` naming the line that is no event elsewhere.
    """
    try:
        file = open_regular(path, path.parent)
    except OSError as error:
        raise BadInput(f"cannot read {path}", str(error.strerror), "kernlab show latest") from error
    with file:
        row = 0
        while line := file.readline(_LONGEST):
            row += 1
            try:
                event = parse_json(line)
                problem = _problem(event)
                if problem:
                    raise ValueError(problem)
            except ValueError as error:
                if not line.endswith(b"\n") and len(line) < _LONGEST:
                    return
                raise BadInput(
                    f"{path}:{row}: not an event",
                    str(error)[:300],
                    "kernlab trace tcp_v4_rcv",
                ) from error
            yield event


def rewrite(path: Path, events: Mapping[int, Mapping[str, Any]]) -> None:
    """Replace events of a finished file by their ``seq``. Raises ``BadInput``."""
    with arriving_file(path) as temporary, temporary.open("wb") as file:
        for event in read_events(path):
            new = events.get(event.get("seq", 0), event)
            file.write(json.dumps(new, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")


def _problem(event: Any) -> str:
    """What is wrong with an event; a field that is absent is not."""
    if not isinstance(event, dict):
        return "not an object"
    try:
        validate(event)
    except ValidationError as error:
        return first_problem(error, but="missing")
    return ""
