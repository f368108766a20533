"""One race on several kernels: which ending each comes to, and where each has the places."""

from __future__ import annotations

from kernlab.lessons.race import Race
from kernlab.lessons.rounds import KernelRow
from kernlab.race.runner import RaceResult
from kernlab.race.stage import Stage
from kernlab.record.store import read_events
from kernlab.sinks.stops import frames, place


def row(release: str, result: RaceResult, stage: Stage, run: str) -> KernelRow:
    """What a run of the race on one kernel says."""
    places = located(result.race, stage)
    for text, (name, where) in _stops(result).items():
        if text == "blocked" or not places.get(text, ("", "-"))[1]:
            places[text] = (name, where)
    return KernelRow(release, result.counts, places, len(result.again), result.definite, run=run)


def _stops(result: RaceResult) -> dict[str, tuple[str, str]]:
    """Where actors stopped at what only a run can find: a word that changed, a return, and
    where who was blocked waits. The function and ``file:line``, of the first round that did."""
    found: dict[str, tuple[str, str]] = {}
    for one in result.rounds:
        for event in read_events(one.directory.events) if one.ending else ():
            reached = event["race"]["reached"]
            frame, _ = frames(event.get("stack") or (), entry=False, waits=reached == "blocked")
            if reached not in ("done", "timeout") and place(frame):
                found.setdefault(reached, (str(frame["func"]), place(frame)))
    return found


def located(race: Race, stage: Stage) -> dict[str, tuple[str, str]]:
    """Every place of a schedule, in its order: its names in this kernel, and ``file:line``."""
    texts = dict.fromkeys(
        target.text()
        for step in race.steps
        for target in step.targets
        if not isinstance(target, str)
    )
    return {text: (stage.named(text), stage.where(text)) for text in texts}
