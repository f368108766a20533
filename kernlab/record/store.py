"""events.jsonl: written line by line, read back even when its last line is torn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kernlab.config.paths import arriving_file
from kernlab.errors import BadInput, HostLacks
from kernlab.record.identity import Identity


class EventWriter:
    """Appends events, each with its packet's id; each line reaches the file before
    ``write`` returns."""

    def __init__(self, path: Path) -> None:
        self._identity = Identity()
        self._path = path
        self._file = path.open("wb", buffering=0)
        self.count = 0

    def write(self, event: dict[str, Any]) -> None:
        """Notes ``packet.id`` in the event too. Raises ``HostLacks`` when the disk is full."""
        self._identity.take(event)
        line = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        try:
            self._file.write(line)
        except OSError as error:
            raise HostLacks(
                f"cannot write {self._path}",
                str(error.strerror),
                "kernlab clean runs, or set KERNLAB_HOME to a larger disk",
            ) from error
        self.count += 1

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 where: TracebackType | None) -> None:  # fmt: skip
        self.close()


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events in a file. A torn last line (kernlab was killed) is left out.

    Raises ``BadInput`` naming the line that is no event elsewhere.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"cannot read {path}", str(error.strerror), "kernlab show latest") from error
    with file:
        for number, line in enumerate(file, 1):
            try:
                event = json.loads(line)
                if not isinstance(event, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                if not line.endswith(b"\n"):
                    return
                raise BadInput(
                    f"{path}:{number}: not an event", str(error), "kernlab trace writes such files"
                ) from error
            yield event


def rewrite(path: Path, events: Mapping[int, Mapping[str, Any]]) -> None:
    """Replace events of a finished file by their ``seq``. Raises ``BadInput``."""
    with arriving_file(path) as temporary, temporary.open("wb") as file:
        for event in read_events(path):
            new = events.get(event.get("seq", 0), event)
            file.write(json.dumps(new, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
