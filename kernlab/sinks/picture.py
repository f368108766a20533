"""A round's picture from its record: the timeline, and its SVG beside the record."""

from __future__ import annotations

from pathlib import Path

from kernlab.config.paths import arriving_file
from kernlab.config.text import Language
from kernlab.lessons.race import Race
from kernlab.lessons.rounds import rounds, stops
from kernlab.record.left import Left
from kernlab.record.leg import LegDir, load
from kernlab.record.rundir import RunDir
from kernlab.sinks.timeline import Timeline
from kernlab.sinks.timeline_build import Round, build
from kernlab.sinks.timeline_svg import svg
from kernlab.verdict.judge import judge

SVG_FILE = "timeline.svg"


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
        stops(race, leg.events or [], directory),
        leg.segments,
        Round(
            about=" · ".join(part for part in about if part),
            ending=ending,
            lines=judge(ending.when, leg, language) if ending else (),
            said=str(told.get("said") or told.get("trouble") or "") if ending is None else "",
        ),
        language=language,
    )


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
