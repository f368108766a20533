"""configs/races: a schedule a file, named by its id (R1.yaml).

Actors are processes of the guest program, each pinned to a vCPU of its own
(rootfs/guest/races/race.h). When a round begins, each actor stands at its mark, the call of
``racing()``; then the steps are taken in order. A step names one actor, which runs alone
until it comes to the step's place; everybody else stands.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from kernlab.config.paths import config_file, config_names, expanded
from kernlab.config.programs import Program
from kernlab.config.text import Text
from kernlab.config.yaml import Model, listed, load, near
from kernlab.errors import BadInput
from kernlab.verdict.model import Check

# In a run's record: the race as it was run, beside its rounds; in a round's, how it ended.
RACE_FILE = "race.yaml"
ROUND_FILE = "round.json"
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
_WORDS = ("done", "blocked")


class Place(Model):
    """Where an actor stops; one of

    entry     a function's first instruction; of a list the first that the kernel has
    returns   the return of the function at whose entry the actor stands
    word      the moment a memory word changes (to ``becomes``, if given); a C expression
              with the names of the place where the actor stands before the step
    inlined   an inlined call, in the function ``inside``
    source    a line of the function ``inside`` that contains this text
    """

    entry: str | list[str] | None = None
    returns: str | None = None
    word: str | None = None
    becomes: int | None = None
    inlined: str | list[str] | None = None
    source: str | None = None
    inside: str | list[str] | None = None

    @model_validator(mode="after")
    def _one(self) -> Place:
        kinds = [
            kind
            for kind in ("entry", "returns", "word", "inlined", "source")
            if getattr(self, kind) is not None
        ]
        if len(kinds) != 1:
            raise ValueError("a place needs exactly one of entry, returns, word, inlined, source")
        if (kinds[0] in ("inlined", "source")) != (self.inside is not None):
            raise ValueError("inlined and source need inside, and only they take it")
        if self.becomes is not None and self.word is None:
            raise ValueError("becomes needs word")
        return self

    @property
    def kind(self) -> str:
        return next(
            kind
            for kind in ("entry", "returns", "word", "inlined", "source")
            if getattr(self, kind) is not None
        )

    def text(self) -> str:
        """In a few words, for people."""
        value = getattr(self, self.kind)
        name = listed(value)[0]
        if self.kind == "entry":
            return str(name)
        if self.kind == "returns":
            return f"return of {name}"
        if self.kind == "word":
            becomes = f" becomes {self.becomes}" if self.becomes is not None else " changes"
            return f"{name}{becomes}"
        inside = (listed(self.inside) or ["?"])[0]
        return f"{name} in {inside}" if self.kind == "inlined" else f"'{name}' in {inside}"


# A plain name is an entry, a plain list the first entry that the kernel has.
Where = str | list[str] | Place


def place_of(where: Where) -> Place:
    """A place as it is written in a file."""
    return where if isinstance(where, Place) else Place(entry=where)


class Actor(Model):
    """``vcpu``: where it runs. ``task`` false: it is any task (a timer, a
    softirq). ``mark`` false: it does not wait for the others at a mark."""

    vcpu: int
    task: bool = True
    mark: bool = True


class Step(Model):
    """``hold`` and ``run`` let one actor run alone; ``hold ... at`` leaves it standing at the
    place, ``run ... until`` also takes ``done`` (its process ends) and ``blocked`` (it waits
    for something that a standing vCPU has). ``when``: a C condition at the place. ``limit``:
    seconds. ``release: all`` lets everybody run on."""

    hold: str | None = None
    at: Where | None = None
    run: str | None = None
    until: str | Place | list[str | Place] | None = None
    when: str | None = None
    limit: float = 10.0
    release: Literal["all"] | None = None
    says: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> Step:
        kinds = [kind for kind in ("hold", "run", "release") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError("a step needs exactly one of hold, run, release")
        if (self.hold is not None) != (self.at is not None):
            raise ValueError("hold: ACTOR needs at: PLACE")
        if (self.run is not None) != (self.until is not None):
            raise ValueError("run: ACTOR needs until: PLACE, done, blocked, or a list of them")
        if not 0 < self.limit <= 60:
            raise ValueError(
                "limit is at most 60 seconds, so that the guest's watchdogs stay quiet"
            )
        return self

    @property
    def actor(self) -> str | None:
        return self.hold or self.run

    @property
    def targets(self) -> list[str | Place]:
        """Where it may end: ``done``, ``blocked`` or places; a plain name is an entry."""
        if self.at is not None:
            return [place_of(self.at)]
        wanted = self.until
        rows = wanted if isinstance(wanted, list) else [] if wanted is None else [wanted]
        return [
            row if isinstance(row, Place) or row in _WORDS else Place(entry=row) for row in rows
        ]


class Ending(Model):
    """How a round may end: the first of the list whose predicates all hold. ``fired``: the
    race happened."""

    id: str
    title: Text
    fired: bool = False
    when: list[Check] = Field(min_length=1)


class Natural(Model):
    """The program unforced: `--natural TRIES` is its last two arguments. ``fired`` names what
    counts: something the program says, or a counter's delta (less one for each try, where
    every try moves it once). ``window``: it is open from when one vCPU is at the first place
    until it is at the second."""

    tries: int = Field(gt=0)
    fired: Fired
    window: tuple[Place, Place] | None = None


class Fired(Model):
    """One of: a name the program says, a counter (as in ``counters``)."""

    got: str | None = None
    counter: str | None = None
    beyond_tries: bool = False

    @model_validator(mode="after")
    def _one(self) -> Fired:
        if (self.got is None) == (self.counter is None):
            raise ValueError("fired needs exactly one of got, counter")
        return self


class Race(Model):
    """A schedule and what may come of it. ``explore``: where `race explore` cuts an actor's way, in
    its order; by default at its hold places. ``ends``: the ending that every round comes to on
    the default kernel, by which a shipped race is tested."""

    title: Text
    idea: Text
    source: list[str]
    program: Program
    args: list[str] = []
    natural: Natural | None = None
    topology: Literal["loopback", "tun", "veth"] = "tun"
    sysctl: dict[str, int | str] = {}
    setup: list[str] = []
    timeout: int = 30
    actors: dict[str, Actor]
    steps: list[Step]
    explore: dict[str, list[Where]] = {}
    ends: str | None = None
    endings: list[Ending]
    differs: Text | None = None

    @model_validator(mode="after")
    def _whole(self) -> Race:
        for number, step in enumerate(self.steps, 1):
            if step.actor is not None and step.actor not in self.actors:
                close = near(step.actor, self.actors)
                hint = f", did you mean {close[0]}?" if close else ""
                raise ValueError(f"steps.{number}: there is no actor '{step.actor}'{hint}")
        for name in self.explore:
            if name not in self.actors:
                raise ValueError(f"explore: there is no actor '{name}'")
        vcpus = [actor.vcpu for actor in self.actors.values()]
        if sorted(vcpus) != list(range(len(vcpus))) or len(vcpus) != 2:
            raise ValueError("actors: a race needs two, on vCPU 0 and vCPU 1")
        if self.ends is not None and self.ends not in {one.id for one in self.endings}:
            raise ValueError(f"ends: there is no ending '{self.ends}'")
        if not any(step.actor for step in self.steps):
            raise ValueError("steps: no step holds or runs an actor")
        return self


def ids() -> list[str]:
    """Every race there is, the user's own included."""
    return config_names("races")


def find(name: str) -> tuple[Path, Race]:
    """A race by its id (any case) or a path. Raises ``BadInput`` naming file and line, or
    near names."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = expanded(name)
        if not _ID.match(path.stem):
            raise BadInput(
                f"{path}: a race's file is named by its id",
                "an id has letters, digits, - and _",
                "rename the file",
            )
        return path, load(path, Race)
    known = ids()
    for one in known:
        if one.lower() == name.lower():
            path = config_file("races", f"{one}.yaml")
            return path, load(path, Race)
    close = near(name.upper(), known) or near(name, known)
    raise BadInput(
        f"there is no race '{name}'",
        f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}",
        "kernlab race list",
    )


def program_of(race: Race) -> str:
    """The guest program, as ``kernlab.config.programs.source_of`` takes it."""
    return race.program if race.program.endswith(".c") else f"races/{race.program}"


def entries(place: Place) -> list[str]:
    """The functions whose entry a place may be."""
    return listed(place.entry)
