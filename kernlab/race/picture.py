"""A round's picture from its record: the timeline, and its SVG beside the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kernlab.config.paths import arriving_file
from kernlab.config.text import Language
from kernlab.config.yaml import load as load_yaml
from kernlab.errors import BadInput
from kernlab.race.model import RACE_FILE, ROUND_FILE, Race
from kernlab.record.event import validate
from kernlab.record.left import Left
from kernlab.record.leg import LegDir, load
from kernlab.record.rundir import RunDir, find, parts
from kernlab.record.shapes import RoundJson, first_problem, read
from kernlab.sinks.timeline import Timeline
from kernlab.sinks.timeline_build import Round, build
from kernlab.sinks.timeline_svg import svg
from kernlab.verdict.judge import judge

SVG_FILE = "timeline.svg"
_MOST = 1000  # stops of a round: each takes a card


def picture(race: Race, run: RunDir, directory: LegDir, language: Language = "en") -> Timeline:
    """One round as it is in the record."""
    told = dict(rounds(directory.path.parent)).get(directory, {})
    leg = load(directory, Left(run.path))
    ending = next((one for one in race.endings if one.id == told.get("ending")), None)
    resolved = run.read().get("resolved", {})
    about = [str(resolved.get("release", "")), f"round {told.get('round', '?')}"]
    return build(
        directory.path.parent.name,
        race,
        _stops(race, leg.events or [], directory),
        leg.segments,
        Round(
            about=" · ".join(part for part in about if part),
            ending=ending,
            lines=judge(ending.when, leg, language) if ending else (),
            said=str(told.get("said") or told.get("trouble") or "") if ending is None else "",
        ),
        language=language,
    )


def _stops(race: Race, events: list[dict[str, Any]], directory: LegDir) -> list[dict[str, Any]]:
    """The events of a round, each of which is a whole stop of one of the race's actors. Raises
    ``BadInput`` where one is not: then this is no round of this race."""
    if len(events) > _MOST:
        raise BadInput(
            f"{directory.events}: {len(events)} stops in one round",
            f"a round's picture has {_MOST} at most",
            "kernlab race run R1",
        )
    for event in events:
        try:
            told = validate(event).race
            if told is None or told.actor not in race.actors:
                raise ValueError("no actor of this race stopped there")
        except ValueError as error:
            said = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise BadInput(
                f"{directory.events}: no round of this race",
                f"event {event.get('seq', '?')}: {said}",
                "kernlab race run R1",
            ) from error
    return events


def keep(race: Race, run: RunDir, directory: LegDir, language: Language = "en") -> Timeline:
    """The picture, written as ``timeline.svg`` in the round's directory."""
    timeline = picture(race, run, directory, language)
    _write(directory.path / SVG_FILE, timeline)
    return timeline


def keep_shown(timeline: Timeline, run: RunDir) -> Path:
    """The picture of the round that is shown, at the top of the run's directory."""
    path = run.path / SVG_FILE
    _write(path, timeline)
    return path


def _write(path: Path, timeline: Timeline) -> None:
    with arriving_file(path) as temporary:
        temporary.write_text(svg(timeline), "utf-8")


def recorded(name: str) -> tuple[RunDir, Path, Race]:
    """A run by id, path or ``latest`` (of those that hold a race), the directory of its
    race, and the race as it was kept there. Raises ``BadInput``."""
    run = find(name, latest_with=(f"*/{RACE_FILE}",))
    for path in parts(run.path, RACE_FILE):
        return run, path, load_yaml(path / RACE_FILE, Race, run.path)
    raise BadInput(f"{run.path} holds no race", f"no */{RACE_FILE} in it", "kernlab race run R1")


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
