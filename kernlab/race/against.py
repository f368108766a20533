"""What a kernel says of a schedule before it is run: places that it does not have, conditions
whose names are not there, and a step that would wait for a lock that is held."""

from __future__ import annotations

from kernlab.errors import BadInput
from kernlab.lessons import locks
from kernlab.lessons.race import Place, Race, Step
from kernlab.lessons.race_check import Against, Said, Way
from kernlab.race import held
from kernlab.race.stage import MARK, Stage, stage
from kernlab.symbols.dwarf import Function, Line
from kernlab.symbols.kernel import KernelSymbols


def against(symbols: KernelSymbols) -> Against:
    """For ``kernlab.lessons.race_check.problems``: what this kernel says of a race."""
    return lambda race: _Against(race, symbols).all()


class _Against:
    """A race on one kernel."""

    def __init__(self, race: Race, symbols: KernelSymbols) -> None:
        self._race = race
        self._symbols = symbols
        self._stages: dict[int, Stage] = {}

    def all(self) -> Said:
        for at, step in enumerate(self._race.steps):
            if step.actor is None:
                continue
            try:
                alone = self._race.model_copy(update={"steps": [step]})
                self._stages[at] = stage(alone, self._symbols)
            except BadInput as error:
                why = f" ({error.why})" if error.why else ""
                key = "at" if step.hold is not None else "until"
                yield ("steps", at, key), f"step {at + 1}: {error.what}{why}", True
        yield from self._names()
        yield from self._locks()

    def _names(self) -> Said:
        """Conditions and words: whether their names are there."""
        last: dict[str, list[Function | Line]] = {}
        for at, step in enumerate(self._race.steps):
            if step.actor is None:
                continue
            if at not in self._stages:
                last[step.actor] = []
                continue
            here = self._places(at, step)
            if step.when is not None and here:
                yield from self._told(("steps", at, "when"), at, step.when, here)
            marks: list[Function | Line] = list(self._symbols.functions([MARK]))
            for target in step.targets:
                if isinstance(target, Place) and target.word is not None:
                    where = last.get(step.actor, marks)
                    key = "at" if step.hold is not None else "until"
                    yield from self._told(("steps", at, key), at, target.word, where)
            last[step.actor] = here

    def _told(self, way: Way, at: int, text: str, places: list[Function | Line]) -> Said:
        if not places:
            return
        for place, shown in zip(places, self._symbols.dwarf.shows([text], places)[0], strict=True):
            if shown.error is not None:
                yield way, f"step {at + 1}: '{text}' in {place.func}: {shown.error}", True
                return

    def _places(self, at: int, step: Step) -> list[Function | Line]:
        found: list[Function | Line] = []
        for target in step.targets:
            if not isinstance(target, Place):
                continue
            name = self._stages[at].named(target.text())
            if target.kind == "entry":
                found += self._symbols.functions([name])
        return found

    def _locks(self) -> Said:
        """A run that would wait for what a standing actor holds, and never come anywhere."""
        rows = locks.table()
        stands: dict[str, tuple[int, Place]] = {}
        for at, step in enumerate(self._race.steps):
            name = step.actor
            if name is None or at not in self._stages:
                continue
            if step.run is not None and "blocked" not in step.targets:
                for other, (since, place) in stands.items():
                    if other != name:
                        yield from self._waits(at, step, other, since, place, rows)
            stands.pop(name, None)
            stops = [one for one in step.targets if isinstance(one, Place)]
            if len(stops) == 1 and stops[0].kind in ("entry", "inlined", "source"):
                stands[name] = (at, stops[0])

    def _waits(
        self, at: int, step: Step, other: str, since: int, place: Place, rows: locks.LockTable
    ) -> Said:
        owns = {one.key: one for one in held.at(place, self._stages[since], rows)}
        for target in step.targets:
            if not isinstance(target, Place) or target.kind not in ("entry", "inlined", "source"):
                continue
            for wants in held.at(target, self._stages[at], rows):
                if wants.key in owns:
                    has = owns[wants.key]
                    yield (
                        ("steps", at, "until"),
                        f"step {at + 1}: {step.actor} would wait for {has.name} that {other} "
                        f"holds since {has.since}, and never come to {target.text()}, if both "
                        f"mean the same one: add `blocked` to its until",
                        False,
                    )
