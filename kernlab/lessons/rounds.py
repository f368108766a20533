"""The rounds of a recorded race: which there are, how each ended, and what stopped in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kernlab.config.yaml import load as load_yaml
from kernlab.errors import BadInput
from kernlab.lessons.race import RACE_FILE, ROUND_FILE, Race
from kernlab.record.event import validate
from kernlab.record.left import Left
from kernlab.record.leg import LegDir
from kernlab.record.rundir import RunDir, find, parts
from kernlab.record.shapes import RoundJson, first_problem, read

_MOST = 1000  # stops of a round: each takes a card


def stops(race: Race, events: list[dict[str, Any]], directory: LegDir) -> list[dict[str, Any]]:
    """The events of a round, each of which is a whole stop of one of the race's actors. Raises
    ``BadInput`` where one is not: then this is no round of this race."""
    if len(events) > _MOST:
        raise BadInput(
            f"{directory.events}: {len(events)} stops in one round",
            f"a picture shows at most {_MOST} stops",
            "kernlab race run R1",
        )
    for event in events:
        try:
            told = validate(event).race
            if told is None or told.actor not in race.actors:
                raise ValueError("no actor of this race stopped at it")
        except ValueError as error:
            said = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise BadInput(
                f"{directory.events}: no round of this race",
                f"event {event.get('seq', '?')}: {said}",
                "kernlab race run R1",
            ) from error
    return events


def recorded(name: str) -> tuple[RunDir, Path, Race]:
    """A run by id, path or ``latest`` (of those that hold a race), the directory of its
    race, and the race as it was kept there. Raises ``BadInput``."""
    run = find(name, latest_with=(f"*/{RACE_FILE}",))
    for path in parts(run.path, RACE_FILE):
        return run, path, load_yaml(path / RACE_FILE, Race, run.path)
    raise BadInput(f"{run.path} contains no race", f"no */{RACE_FILE} in it", "kernlab race run R1")


def rounds(directory: Path) -> list[tuple[LegDir, dict[str, Any]]]:
    """The rounds of a recorded race in order, each with what was noted of it. One whose record
    is not as the run left it came to no ending that could be told, and says why."""
    left = Left(directory.parent)
    found = []
    for path in sorted({*directory.glob("round-*"), *left.below(directory, "round-")}):
        if path.is_symlink():
            continue
        place, note = LegDir(path), read(path / ROUND_FILE, RoundJson, path)
        told = dict(note) if note is not None else {"round": _number(path)}
        wrong = _wrong(place, left)
        if wrong:
            told |= {"ending": None, "trouble": "changed", "said": wrong}
        found.append((place, told))
    return found


def _number(path: Path) -> int | str:
    number = path.name.removeprefix("round-")
    return int(number) if number.isdigit() else number


def _wrong(place: LegDir, left: Left) -> str:
    note = place.path / ROUND_FILE
    files = (
        place.path.parent / RACE_FILE,
        note,
        place.results,
        place.counters,
        place.capture,
        place.events,
        place.kmsg,
    )
    said = [left.wrong(file) for file in files]
    if not left.known:  # a round that was done again need not have more than its note
        said += [f"{file.name} is missing" for file in (note,) if not file.is_file()]
    return "; ".join(filter(None, said))


def shown(race: Race, told: list[tuple[LegDir, dict[str, Any]]]) -> LegDir | None:
    """The round that stands for the run: the first that fired, or else the last."""
    fired = {one.id for one in race.endings if one.fired}
    counted = [one for one in told if not one[1].get("again")] or told
    for directory, note in counted:
        if note.get("ending") in fired:
            return directory
    return counted[-1][0] if counted else None


@dataclass(frozen=True)
class KernelRow:
    """How a race ended on one kernel. ``counts``: endings (and troubles) with how often;
    ``places``: a place's words → its names in this kernel and ``file:line``; ``missing``: why
    it cannot be run there; ``run``: the run's directory."""

    release: str
    counts: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    again: int = 0
    definite: bool = False
    missing: str = ""
    run: str = ""
