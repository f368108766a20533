"""What one run of a lab's program left in its directory, and reading it back.

A leg is a lab's main part or one of its variants. Its directory holds

    results.json     status, stderr, steps in order, and what the program got; symbols: which
                     of those that the lab asks for the kernel has
    counters.json    by how much each of the kernel's counters moved
    capture.pcapng   tcpdump's
    events.jsonl     what the probes recorded; absent without a debugger
    rst.json         each RST with its cause (kernlab.reasons); absent without a debugger
    kmsg.txt         what the kernel logged meanwhile
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernlab.config.paths import arriving_file
from kernlab.record.counters import Counters
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
    """What is known of a leg. ``events`` and ``rst`` are None without a debugger."""

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


def write_json(path: Path, value: Any) -> None:
    """A value as JSON, complete or not at all."""
    with arriving_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load(directory: LegDir) -> Leg:
    """Read a leg back. A file that is not there leaves its part empty."""
    results = read_json(directory.results) or {}
    return Leg(
        got=dict(results.get("got", {})),
        steps=tuple(results.get("steps", ())),
        status=int(results.get("status", 0)),
        said=str(results.get("said", "")),
        counters=dict(read_json(directory.counters) or {}),
        segments=segments(directory.capture) if directory.capture.exists() else [],
        events=list(read_events(directory.events)) if directory.events.exists() else None,
        rst=read_json(directory.rst),
        symbols={str(name): has is True for name, has in _mapping(results.get("symbols"))},
        kmsg=directory.kmsg.read_text("utf-8", "replace") if directory.kmsg.exists() else "",
    )


def _mapping(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else ()


def read_json(path: Path) -> Any:
    """What a JSON file holds; None when it is not there or torn."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
