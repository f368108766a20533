"""Every order of a race's hold places, each run once: which order ends how.

An actor's way is cut where a schedule holds it; an order says whose piece comes next. An
order is not run when another one has shown where it leads: its actor had ended, or waited
for the other, before the point where the two part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kernlab.lessons.race import Place, Race, Step, place_of
from kernlab.race.floor import RoundResult, Scene, floor
from kernlab.race.runner import AGAIN
from kernlab.record.leg import load

_STEP = 5.0  # seconds for a piece: who does not come so far in it will not come
_TRIES = 3


@dataclass(frozen=True)
class Piece:
    """A part of an actor's way, its ``number`` from 1: up to a place, or, without one, to
    its end."""

    actor: str
    number: int
    place: Place | None = field(default=None, compare=False)
    when: str | None = field(default=None, compare=False)

    def text(self) -> str:
        return f"{self.actor} to {self.place.text()}" if self.place else f"{self.actor} to its end"


Order = tuple[Piece, ...]


@dataclass
class Tried:
    """An order that was run. ``outcome`` is an ending's id, or what was seen instead."""

    order: Order
    round: RoundResult
    outcome: str


@dataclass(frozen=True)
class Cut:
    """An order that was not run, and why; ``same``: the number of the one it is like."""

    order: Order
    why: str
    same: int | None = None


@dataclass
class Table:
    """What came of every order."""

    race: Race
    pieces: dict[str, list[Piece]]
    tried: list[Tried] = field(default_factory=list)
    cut: list[Cut] = field(default_factory=list)
    health: str = ""

    @property
    def merged(self) -> dict[str, list[Tried]]:
        """Outcome → its orders, in the order in which they were first seen."""
        found: dict[str, list[Tried]] = {}
        for one in self.tried:
            found.setdefault(one.outcome, []).append(one)
        return found


def pieces(race: Race) -> dict[str, list[Piece]]:
    """Each actor's way, cut at its hold places or at those that the file wants explored."""
    found: dict[str, list[Piece]] = {name: [] for name in race.actors}
    for step in race.steps:
        if step.hold is not None and step.at is not None and step.hold not in race.explore:
            row = found[step.hold]
            row.append(Piece(step.hold, len(row) + 1, place_of(step.at), step.when))
    for name, places in race.explore.items():
        found[name] = [Piece(name, at, place_of(one)) for at, one in enumerate(places, 1)]
    for name, row in found.items():
        if race.actors[name].task:  # what is no task has no end to come to
            row.append(Piece(name, len(row) + 1))
    return found


def orders(ways: dict[str, list[Piece]]) -> Iterator[Order]:
    """All orders in which the pieces of two actors can follow each other."""
    first, second = ways.values()

    def mixed(a: list[Piece], b: list[Piece]) -> Iterator[Order]:
        if not a or not b:
            yield tuple(a + b)
            return
        yield from ((a[0], *rest) for rest in mixed(a[1:], b))
        yield from ((b[0], *rest) for rest in mixed(a, b[1:]))

    return mixed(first, second)


def steps(order: Order, race: Race) -> list[Step]:
    """An order as a schedule. The places that the race's own ``run`` steps name are stops on
    the way: its endings speak of them."""
    on_the_way: dict[str, list[str | Place]] = {name: [] for name in race.actors}
    for step in race.steps:
        if step.run is not None:
            on_the_way[step.run] += [one for one in step.targets if isinstance(one, Place)]
    found = []
    for piece in order:
        limit = max([_STEP, *(one.limit for one in race.steps if one.hold == piece.actor)])
        if piece.place is not None and not race.actors[piece.actor].task:
            # A timer's time goes on with its vCPU; it is waited for as in the race itself.
            found.append(Step(hold=piece.actor, at=piece.place, when=piece.when, limit=limit))
            continue
        until: list[str | Place] = [piece.place] if piece.place else []
        until += ["done", "blocked", *on_the_way[piece.actor]]
        found.append(Step(run=piece.actor, until=until, when=piece.when, limit=limit))
    return [*found, Step(release="all")]


def explore(scene: Scene, limit: int) -> Table:
    """Run every order, ``limit`` of them at most. Raises ``BadInput`` before anything boots
    for a place that the kernel does not have."""
    ways = pieces(scene.race)
    table = Table(scene.race, ways)
    known: dict[tuple[Piece, ...], tuple[int, str]] = {}  # a beginning → its run, and why it ends
    number = 0
    with floor(scene) as opened:
        for order in orders(ways):
            begun = (order[:at] for at in range(1, len(order)))
            like = next((known[one] for one in begun if one in known), None)
            if like is not None:
                table.cut.append(Cut(order, like[1], like[0] or None))
                continue
            if len(table.tried) == limit:
                table.cut.append(Cut(order, f"more than {limit} orders: --orders"))
                continue
            for _ in range(_TRIES):
                number += 1
                ran = opened.round(number, steps(order, scene.race))
                ran.keep(ran.trouble in AGAIN)
                if ran.trouble not in AGAIN:
                    break
            asleep = sleeper(order, ran, scene.race)
            if asleep is not None:
                table.cut.append(Cut(order, asleep[1]))
                known[asleep[0]] = (0, asleep[1])
                continue
            table.tried.append(Tried(order, ran, _outcome(ran)))
            beginning = decided(order, ran, scene.race)
            if beginning is not None:
                known[beginning[0]] = (len(table.tried), beginning[1])
        table.health = opened.health()
    return table


def decided(order: Order, one: RoundResult, race: Race) -> tuple[Order, str] | None:
    """The beginning after which the rest of an order made no difference, and why."""
    if one.trouble:
        return None
    came: dict[int, str] = {}  # step → what its piece came to in the end
    for event in load(one.directory).events or []:
        came[event["race"]["step"]] = event["race"]["reached"]
    for at, piece in enumerate(order, 1):
        rest = order[at:]
        mine = any(later.actor == piece.actor for later in rest)
        if came.get(at) == "done" and piece.place is not None and mine:
            return order[:at], f"{piece.actor} had ended before {piece.place.text()}"
        if came.get(at) == "blocked" and rest:
            return order[:at], f"{piece.actor} waited for {_other(race, piece.actor)} there"
    return None


def sleeper(order: Order, one: RoundResult, race: Race) -> tuple[Order, str] | None:
    """The beginning of an order that cannot be, and why: whoever was to come next sleeps, and
    its vCPU idles (task 0), until the other one does something."""
    events = load(one.directory).events or []
    if one.trouble != "timeout" or not events or (events[-1].get("task") or {}).get("pid") != 0:
        return None
    at = int(events[-1]["race"]["step"])
    name = order[at - 1].actor
    return order[:at], f"cannot be: {name} sleeps until {_other(race, name)} goes on"


def _other(race: Race, name: str) -> str:
    return next(one for one in race.actors if one != name)


def _outcome(one: RoundResult) -> str:
    """The ending's id; else what the capture and the program say."""
    if one.ending is not None:
        return one.ending.id
    if one.trouble:
        return f"{one.trouble}: {one.said}"
    leg = load(one.directory)
    resets = sum("R" in str(row.get("flags", "")) for row in leg.segments)
    got = ", ".join(f"{name} {value}" for name, value in sorted(leg.got.items()))
    return f"{resets or 'no'} RST; {got}"
