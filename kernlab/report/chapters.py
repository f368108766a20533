"""From a run's directory to the chapters of its page."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kernlab.config.text import Language, say
from kernlab.config.yaml import load as load_yaml
from kernlab.errors import BadInput
from kernlab.lessons.grade import Grade, grade, labs_of
from kernlab.lessons.lab import LAB_FILE
from kernlab.lessons.race import RACE_FILE, Race
from kernlab.lessons.rounds import rounds, shown
from kernlab.reasons.match import findings
from kernlab.reasons.model import table
from kernlab.reasons.report import completed
from kernlab.record.left import Left
from kernlab.record.leg import Leg, LegDir, load, there
from kernlab.record.pcapng import Lost, losses
from kernlab.record.rundir import RunDir, parts
from kernlab.record.segments import segments
from kernlab.record.source import known_tree
from kernlab.record.store import read_events
from kernlab.sinks.picture import picture
from kernlab.sinks.report.page import Chapter, Page
from kernlab.sinks.timeline_svg import svg
from kernlab.verdict.judge import holds, judge

_ROUNDS = 12  # of a race that are shown whole
_MOVED = ("Tcp", "TcpExt", "conntrack", "Icmp")


def page(run: RunDir, language: Language = "en") -> Page:
    """The page of a run. Raises ``BadInput`` when it holds nothing to look at."""
    told = run.read()
    resolved = told.get("resolved", {})
    tree = known_tree(resolved.get("source"), resolved.get("kernel"))
    command = shlex.join(map(str, told.get("asked", {}).get("argv", [])))
    found = Page(
        title=command or run.id,
        chapters=[],
        source=tree,
        language=language,
        argv=shlex.join(resolved.get("argv") or []),
        kicker=" · ".join(
            filter(
                None,
                (
                    f"Linux {resolved['release']}" if resolved.get("release") else "",
                    f"run {run.id}",
                ),
            )
        ),
    )
    if parts(run.path, LAB_FILE) or "labs" in (told.get("result") or {}):
        _labs(found, run, language)
    elif parts(run.path, RACE_FILE):
        _race(found, run, language)
    else:
        _trace(found, run, told)
    if not found.chapters:
        raise BadInput(
            f"{run.path} contains nothing to report",
            "it has no events, no capture, no lab and no race",
            "kernlab trace tcp_v4_rcv",
        )
    known = [
        ("again", command),
        ("kernel", resolved.get("kernel")),
        ("release", resolved.get("release")),
        ("image", resolved.get("image")),
        ("accelerator", resolved.get("accelerator")),
        ("run", run.id),
    ]
    found.facts = [(name, str(value)) for name, value in known if value]
    return found


def _events(path: Path) -> Callable[[], Iterable[dict[str, Any]]]:
    return lambda: read_events(path) if there(path, path.parent) else ()


# -- a trace, and the detective's --------------------------------------------------------


def _trace(found: Page, run: RunDir, told: Mapping[str, Any]) -> None:
    wire = segments(run.capture) if there(run.capture, run.path) else []
    events = there(run.events, run.path)
    if not events and not wire:
        return
    probes: Counter[str] = Counter()
    rsts: list[Mapping[str, Any]] = []
    if events:
        for event in read_events(run.events):
            probes[str(event.get("probe"))] += 1
            if "rst" in event and len(rsts) < 50:
                rsts.append(event["rst"])
    result = told.get("result", {})
    facts = [("events", ", ".join(f"{name} {count}" for name, count in probes.most_common(40)))]
    flows = len({one["flow"] for one in wire})
    facts += [("segments", f"{len(wire)} in the capture, {flows} connection" + "s" * (flows != 1))]
    facts += [
        (name, str(result[name]))
        for name in ("hits", "filtered", "seconds", "reason")
        if result.get(name)
    ]
    facts += _missing(run.capture)
    found.chapters = [
        Chapter(
            id="trace",
            name="trace",
            title="What passed",
            events=_events(run.events),
            segments=wire,
            rsts=rsts,
            facts=facts,
            capture=run.capture,
        )
    ]


# -- labs --------------------------------------------------------------------------------


def _labs(found: Page, run: RunDir, language: Language) -> None:
    grades = [grade(path, language=language) for path in labs_of(run.path)]
    several = len(grades) > 1
    found.chapters = [
        _leg(one, name, run, found.source, several, language) for one in grades for name in one.legs
    ]
    found.holds = all(one.holds for one in grades) if grades else None
    if len(grades) == 1:
        found.title = f"{grades[0].name}  {say(grades[0].lab.title, language)}"


def _leg(
    one: Grade, name: str, run: RunDir, tree: Path | None, several: bool, language: Language
) -> Chapter:
    directory = LegDir(run.path / one.name / name)
    lab = one.lab
    left = Left(run.path)
    leg = load(directory, left, left.debugger and lab.debugger)
    told = _caused(leg, tree)
    if name == "main":
        title = say(lab.title, language)
        about = [say(lab.idea, language), say(lab.watch, language)]
        about += [say(text, language) for text in lab.elsewhere]
    else:
        then = next(part for part in lab.then if part.id == name)
        title, about = say(then.title, language), [say(then.teaches, language)]
    lines = one.legs[name]
    error = one.errors.get(name)
    return Chapter(
        id=f"{one.name}-{name}",
        name=f"{one.name} {name}" if several else name,
        title=f"{one.name}  {title}" if several else title,
        about=[*about, *one.said, *([error] if error else [])],
        events=lambda: _with_causes(leg.events or (), told),
        segments=leg.segments,
        lines=lines,
        holds=holds(lines) and not error,
        steps=[say(lab.steps[step], language) if step in lab.steps else step for step in leg.steps],
        got=list(leg.got.items()),
        rsts=[event["rst"] for event in told.values()],
        facts=_counted(leg, directory),
        capture=None if "capture" in leg.missing else directory.capture,
    )


def _caused(leg: Leg, tree: Path | None) -> dict[int, dict[str, Any]]:
    """The events at which a RST was sent, with its cause, by their number."""
    causes = list(findings(leg.events or (), table()))
    return {one["seq"]: one for one in completed(causes, leg.events or (), leg.segments, tree)}


def _with_causes(
    events: Iterable[dict[str, Any]], told: Mapping[int, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for event in events:
        yield told.get(event.get("seq", 0), event)


def _counted(leg: Leg, directory: LegDir) -> list[tuple[str, str]]:
    found = [
        (name, f"+{by}")
        for name, by in leg.counters.items()
        if by and name.partition(".")[0] in _MOVED
    ]
    return found + ([] if "capture" in leg.missing else _missing(directory.capture))


def _missing(capture: Path) -> list[tuple[str, str]]:
    """What the capture itself says that it has not got."""
    lost = losses(capture) if there(capture, capture.parent) else Lost()
    return [("not in the capture", f"{lost.packets} packets that tcpdump lost")] if lost.any else []


# -- races -------------------------------------------------------------------------------


def _race(found: Page, run: RunDir, language: Language) -> None:
    path = parts(run.path, RACE_FILE)[0] / RACE_FILE
    race = load_yaml(path, Race, run.path)
    told = rounds(path.parent)
    best = shown(race, told)
    order = sorted(told, key=lambda row: best is None or row[0].path != best.path)[:_ROUNDS]
    found.title = f"{path.parent.name}  {say(race.title, language)}"
    found.chapters = [_round(race, run, *row, len(told), found.source, language) for row in order]


def _round(
    race: Race,
    run: RunDir,
    directory: LegDir,
    note: Mapping[str, Any],
    count: int,
    tree: Path | None,
    language: Language,
) -> Chapter:
    leg = load(directory, Left(run.path))
    told = _caused(leg, tree)
    ending = next((one for one in race.endings if one.id == note.get("ending")), None)
    number = note.get("round", directory.path.name)
    result = say(ending.title, language) if ending else str(note.get("said") or "no known ending")
    about = [say(race.idea, language), *([f"one of {count} rounds"] if count > 1 else [])]
    if race.differs is not None and not told:
        about.append(say(race.differs, language))
    for event in told.values():
        # A cause's remedy is for one who meets it alone; here a race is why it came to it.
        event["rst"].pop("remedy", None)
        event["rst"]["race"] = result
        if race.differs is not None:
            event["rst"]["kernels"] = say(race.differs, language)
    return Chapter(
        id=directory.path.name,
        name=f"round {number}",
        title=result,
        about=about,
        segments=leg.segments,
        events=lambda: _with_causes(leg.events or (), told),
        rsts=[event["rst"] for event in told.values()],
        got=list(leg.got.items()),
        facts=_counted(leg, directory),
        lines=judge(ending.when, leg, language) if ending else (),
        picture=svg(picture(race, run, directory, language)),
        capture=None if "capture" in leg.missing else directory.capture,
    )
