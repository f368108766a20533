"""One race on several kernels: which ending each comes to, and where each has the places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kernlab.race.model import Race
from kernlab.race.runner import RaceResult
from kernlab.race.stage import Stage


@dataclass(frozen=True)
class Row:
    """A kernel. ``counts``: endings (and troubles) with how often; ``places``: a place's
    words → its names in this kernel and ``file:line``; ``missing``: why it cannot be run
    there; ``run``: the run's directory."""

    release: str
    counts: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    again: int = 0
    definite: bool = False
    missing: str = ""
    run: str = ""


def row(release: str, result: RaceResult, stage: Stage, run: str) -> Row:
    """What a run of the race on one kernel says."""
    return Row(release, result.counts, located(result.race, stage), len(result.again),
               result.definite, run=run)  # fmt: skip


def located(race: Race, stage: Stage) -> dict[str, tuple[str, str]]:
    """Every place of a schedule, in its order: its names in this kernel, and ``file:line``."""
    texts = dict.fromkeys(
        target.text()
        for step in race.steps
        for target in step.targets
        if not isinstance(target, str)
    )
    return {text: (stage.named(text), stage.where(text)) for text in texts}
