"""What one run of a lab's program left in its directory, and reading it back.

A leg is a lab's main part or one of its variants. Its directory holds

    results.json     status, stderr, steps in order, what the program got, what else it
                     printed, and whether a debugger looked on; symbols: which of those that
                     the lab asks for the kernel has
    counters.json    by how much each of the kernel's counters moved
    capture.pcapng   tcpdump's
    events.jsonl     what the probes recorded; absent without a debugger
    rst.json         each RST with its cause (kernlab.reasons); absent without a debugger
    kmsg.txt         what the kernel logged meanwhile
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kernlab.config.files import is_regular, read_regular
from kernlab.config.paths import arriving_file
from kernlab.errors import BadInput, KernlabError
from kernlab.record.counters import Counters
from kernlab.record.event import Rst
from kernlab.record.left import Left
from kernlab.record.segments import segments
from kernlab.record.shapes import Counts, Results, read
from kernlab.record.store import read_events

_LOG = 16 << 20  # bytes of what a kernel logged


@dataclass(frozen=True)
class LegDir:
    """The files of a leg."""

    path: Path

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def counters(self) -> Path:
        return self.path / "counters.json"

    @property
    def capture(self) -> Path:
        return self.path / "capture.pcapng"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def rst(self) -> Path:
        return self.path / "rst.json"

    @property
    def kmsg(self) -> Path:
        return self.path / "kmsg.txt"


@dataclass(frozen=True)
class Leg:
    """What is known of a leg. ``events`` and ``rst`` are None without a debugger. ``missing``:
    why a part is not there or does not count, by its name: results, counters, capture, events,
    rst, kmsg."""

    got: dict[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    status: int = 0
    said: str = ""
    counters: Counters = field(default_factory=dict)
    segments: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] | None = None
    rst: list[dict[str, Any]] | None = None
    kmsg: str = ""
    symbols: dict[str, bool] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def write_json(path: Path, value: Any) -> None:
    """A value as JSON, complete or not at all."""
    with arriving_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load(directory: LegDir, left: Left | None = None, debugger: bool = True) -> Leg:
    """Read a leg back. A file that is not there, is torn, or by ``left`` is not the run's own
    leaves its part empty, and ``missing`` says why. ``debugger``: whether one looked on, where
    the results do not say."""
    missing: dict[str, str] = {}

    def part(name: str, read: Callable[[Path], Any], nothing: Any) -> Any:
        path: Path = getattr(directory, name)
        missing[name] = left.wrong(path) if left is not None else ""
        try:
            if not there(path, directory.path):
                missing[name] = missing[name] or f"{path.name} is missing"
                return nothing
            found = read(path)
            if found is not None:
                return found
            missing[name] = missing[name] or f"{path.name} is torn"
        except KernlabError as error:
            why = f"{error.what}: {error.why}"
            missing[name] = missing[name] or f"{path.name} cannot be read: {why}"
        except OSError as error:
            missing[name] = missing[name] or f"{path.name} cannot be read: {error}"
        return nothing

    results = part("results", _json(Results), {})
    found = Leg(
        got=dict(results.get("got", {})),
        steps=tuple(results.get("steps", ())),
        status=results.get("status", 0),
        said=results.get("said", ""),
        symbols=dict(results.get("symbols") or {}),
        counters=part("counters", _json(Counts), {}),
        segments=part("capture", segments, []),
        events=part("events", lambda path: list(read_events(path)), None),
        rst=part("rst", _json(list[Rst]), None),
        kmsg=part("kmsg", _text, ""),
    )
    if not results.get("debugger", debugger):
        # Nothing of it was to be there.
        for name in ("events", "rst"):
            if not getattr(directory, name).is_file() and not missing[name].endswith("left one"):
                missing[name] = ""
    return replace(found, missing={name: why for name, why in missing.items() if why})


def _json(shape: Any) -> Callable[[Path], Any]:
    return lambda path: read(path, shape, path.parent)


def _text(path: Path) -> str:
    return read_regular(path, _LOG, path.parent).decode("utf-8", "replace")


def there(path: Path, below: Path) -> bool:
    """Whether a record has a file. Raises ``BadInput`` where something else lies there."""
    if not os.path.lexists(path):
        return False
    if not is_regular(path, below):
        raise BadInput(
            f"{path} is not a regular file",
            "a record contains only regular files",
            f"ls -l {path}",
        )
    return True
