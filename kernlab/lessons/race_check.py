"""What can be said of a schedule's file without running it and without a kernel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kernlab.config.programs import names as programs
from kernlab.config.programs import source_of, text_of
from kernlab.config.yaml import line_of, load, near
from kernlab.errors import BadInput
from kernlab.lessons.problems import Problem, of_file
from kernlab.lessons.race import Place, Race, Step, entries, program_of
from kernlab.verdict.model import Check

_REACHED = re.compile(r"\brace\.(reached|actor|waits\.kind)\s*==\s*('[^']*'|\"[^\"]*\"|[\w.]+)")
_ACTOR = re.compile(r'\bactor\("([^"]+)",\s*(\d+)')
_RACING = re.compile(r'\bracing\(("[^"]+"|\w+)\)')
_KINDS = ("lock", "ipi", "rcu")


Way = tuple[int | str, ...]  # to a place in the file
Said = Iterator[tuple[Way, str, bool]]
Against = Callable[[Race], Said]


def problems(path: Path, against: Against = lambda race: iter(())) -> list[Problem]:
    """Everything that is wrong with a race's file, in the file's order. ``against``: what a
    kernel says of it (``kernlab.race.against``)."""
    try:
        race = load(path, Race)
    except BadInput as error:
        return of_file(path, error)
    text = path.read_text("utf-8")
    said = [*_order(race), *_names(race), *_programs(path, race), *against(race)]
    found = [Problem(path, line_of(text, *way), what, sure) for way, what, sure in said]
    return sorted(found, key=lambda one: one.line or 0)


# -- the order of the steps ------------------------------------------------------------


def _order(race: Race) -> Said:
    for name in race.actors:
        if not any(step.actor == name for step in race.steps):
            yield (
                ("actors", name),
                f"actors: {name} has no step: the actor is never held or run",
                True,
            )
    began: dict[str, Step] = {}
    released = 0
    for at, step in enumerate(race.steps):
        where = ("steps", at)
        if released:
            yield where, f"step {at + 1} is never taken: step {released} has released all", True
            continue
        if step.release is not None:
            if not began:
                yield where, f"step {at + 1} releases before any actor was held or run", True
            released = at + 1
            continue
        yield from _turn(race, at, step, began)
        assert step.actor is not None
        began[step.actor] = step
    if not any(ending.fired for ending in race.endings):
        yield ("endings",), "endings: none has `fired: true`, so the race can never fire", False


def _turn(race: Race, at: int, step: Step, began: dict[str, Step]) -> Said:
    """One step against those before it; ``began``: each actor's last."""
    name = step.actor
    assert name is not None
    before = began.get(name)
    key = "at" if step.hold is not None else "until"
    if before is not None and before.targets == ["done"]:
        yield (
            ("steps", at),
            f"step {at + 1}: {name} has ended: its step before is until done",
            True,
        )
    for target in step.targets:
        if isinstance(target, Place) and target.kind == "returns" and not _enters(before, target):
            yield (
                ("steps", at, key),
                f"step {at + 1}: {name} does not stand at the entry of {target.returns}: "
                f"hold it there first",
                True,
            )
        if isinstance(target, Place) and target.kind == "word" and before is None:
            yield (
                ("steps", at, key),
                f"step {at + 1}: '{target.word}' has the names of the place where {name} stands,"
                f" and that is its mark: hold it at a function first",
                False,
            )
    others = {one: actor for one, actor in race.actors.items() if one != name}
    stands = any((one.task and one.mark) or other in began for other, one in others.items())
    if "blocked" in step.targets and not stands:
        yield (
            ("steps", at, "until"),
            f"step {at + 1}: no other actor is stopped, so {name} cannot be blocked",
            step.targets == ["blocked"],
        )


def _enters(step: Step | None, place: Place) -> bool:
    if step is None:
        return False
    return any(isinstance(one, Place) and place.returns in entries(one) for one in step.targets)


# -- names in the endings, and the program -----------------------------------------------


def _names(race: Race) -> Said:
    reached = {"done", "blocked", "timeout"}
    for step in race.steps:
        reached |= {one.text() for one in step.targets if isinstance(one, Place)}
    known = {"reached": reached, "actor": set(race.actors), "waits.kind": set(_KINDS)}
    seen: set[str] = set()
    for at, ending in enumerate(race.endings):
        if ending.id in seen:
            yield ("endings", at, "id"), f"endings: there are two '{ending.id}'", True
        seen.add(ending.id)
        for number, check in enumerate(ending.when):
            for text in _expressions(check):
                for key, word in _REACHED.findall(text):
                    word = word.strip("'\"")
                    if word not in known[key]:
                        close = near(word, known[key])
                        hint = f", did you mean {close[0]}?" if close else ""
                        yield (
                            ("endings", at, "when", number),
                            f"endings: race.{key} is never '{word}'{hint}",
                            True,
                        )


def _expressions(check: Check) -> Iterable[str]:
    while check.negated is not None:
        check = check.negated
    for text in (check.event, check.no_event, *(check.events or ())):
        if text is not None:
            yield str(text)


def _programs(path: Path, race: Race) -> Said:
    source = source_of(program_of(race), path.parent)
    text = text_of(program_of(race), path.parent)
    if text is None:
        known = [name.removeprefix("races/") for name in programs() if name.startswith("races/")]
        close = near(race.program, known)
        hint = f", did you mean '{close[0]}'?" if close else ""
        yield ("program",), f"program: there is no guest program '{race.program}'{hint}", True
        return
    vcpus = {name: int(number) for name, number in _ACTOR.findall(text)}
    for name, actor in race.actors.items():
        if name in vcpus and vcpus[name] != actor.vcpu:
            yield (
                ("actors", name),
                f"actors: {name} is on vCPU {actor.vcpu} here and on {vcpus[name]} in "
                f"{source.name}",
                True,
            )
        marks = _RACING.findall(text)
        told = all(mark.startswith('"') for mark in marks)  # else the name is a variable's
        if actor.task and actor.mark and told and f'"{name}"' not in marks:
            yield (
                ("actors", name),
                f'actors: no racing("{name}") is written in {source.name}: does {name} come '
                f"to its mark?",
                False,
            )
