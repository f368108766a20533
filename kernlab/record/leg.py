"""What one run of a lab's program left in its directory, and reading it back.

A leg is a lab's main part or one of its variants. Its directory holds

    results.json     status, stderr, steps in order, what the program got, and whether a
                     debugger looked on; symbols: which of those that the lab asks for the
                     kernel has
    counters.json    by how much each of the kernel's counters moved
    capture.pcapng   tcpdump's
    events.jsonl     what the probes recorded; absent without a debugger
    rst.json         each RST with its cause (kernlab.reasons); absent without a debugger
    kmsg.txt         what the kernel logged meanwhile
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kernlab.config.paths import arriving_file
from kernlab.errors import KernlabError
from kernlab.record.counters import Counters
from kernlab.record.left import Left
from kernlab.record.segments import segments
from kernlab.record.store import read_events


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
        missing[name] = (left.wrong(path) if left is not None else "") or (
            "" if path.is_file() else f"{path.name} is missing"
        )
        if path.is_file():
            try:
                found = read(path)
                if found is not None:
                    return found
                missing[name] = missing[name] or f"{path.name} is torn"
            except (KernlabError, OSError) as error:
                missing[name] = missing[name] or f"{path.name} cannot be read: {error}"
        return nothing

    results = part("results", _mapping, {})
    found = Leg(
        got=dict(results.get("got", {})),
        steps=tuple(results.get("steps", ())),
        status=int(results.get("status", 0)),
        said=str(results.get("said", "")),
        symbols={str(name): has is True for name, has in _items(results.get("symbols"))},
        counters=part("counters", _mapping, {}),
        segments=part("capture", segments, []),
        events=part("events", lambda path: list(read_events(path)), None),
        rst=part("rst", _rows, None),
        kmsg=part("kmsg", lambda path: path.read_text("utf-8", "replace"), ""),
    )
    if not results.get("debugger", debugger):
        # Nothing of it was to be there.
        for name in ("events", "rst"):
            if not getattr(directory, name).is_file() and not missing[name].endswith("left one"):
                missing[name] = ""
    return replace(found, missing={name: why for name, why in missing.items() if why})


def _mapping(path: Path) -> dict[str, Any] | None:
    found = read_json(path)
    return found if isinstance(found, dict) else None


def _rows(path: Path) -> list[dict[str, Any]] | None:
    found = read_json(path)
    return found if isinstance(found, list) and all(isinstance(e, dict) for e in found) else None


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else ()


def read_json(path: Path) -> Any:
    """What a JSON file holds; None when it is not there or torn."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
