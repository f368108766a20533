"""What is asked of a lab's run, what it tells while it happens, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernlab.errors import BadInput
from kernlab.lessons.lab import Family, Lab, find, ids, path_of
from kernlab.lessons.lab_check import require
from kernlab.record.leg import LegDir
from kernlab.verdict.judge import Line, holds


@dataclass(frozen=True)
class LabRequest:
    """One lab to run, from the file ``path``; ``round`` counts from 1."""

    id: str
    lab: Lab
    path: Path
    family: Family = "ipv4"
    round: int = 1

    @property
    def title(self) -> str:
        """Which lab it is, whatever the round."""
        return self.id if self.family == "ipv4" else f"{self.id}-{self.family}"

    @property
    def name(self) -> str:
        """The name of the directory of what it leaves. (No lab's id has a dot.)"""
        return self.title if self.round == 1 else f"{self.title}.{self.round}"


def every_lab() -> list[str]:
    """The labs by id, without the cases of a course."""
    return [name for name in ids() if find(name)[1].topic != "course"]


def requested(names: Sequence[str], times: int = 1) -> list[LabRequest]:
    """The labs that are meant, by id or file, each once for each family and round. Raises
    ``BadInput`` with all that is wrong with their files."""
    if not names:
        raise BadInput("no lab is named", "an id, or --all", "kernlab lab list")
    require(path_of(name) for name in names)
    found = []
    for name in names:
        path, lab = find(name)
        found += [
            LabRequest(path.stem, lab, path, family, number)
            for family in lab.families
            for number in range(1, times + 1)
        ]
    return found


@dataclass
class LegResult:
    """How a leg ended. ``error``: why it could not be judged."""

    name: str
    directory: LegDir
    lines: list[Line] = field(default_factory=list)
    error: str = ""
    explained: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rst(self) -> list[dict[str, Any]]:
        """The RSTs' causes, in their order."""
        return [event["rst"] for event in self.explained]

    @property
    def holds(self) -> bool:
        return not self.error and holds(self.lines)


@dataclass(frozen=True)
class Told:
    """The story while it happens: a leg begins, a step, a result, an event, a leg's end."""

    kind: str  # leg | step | got | said | event | verdict
    request: LabRequest
    leg: str
    text: str = ""
    value: str = ""
    event: dict[str, Any] | None = None
    result: LegResult | None = None
    capture: Path | None = None  # of a leg that begins: the pcap that grows while it runs


Tell = Callable[[Told], None]


@dataclass
class LabResult:
    """How a lab ended."""

    request: LabRequest
    legs: list[LegResult] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return bool(self.legs) and all(leg.holds for leg in self.legs)
