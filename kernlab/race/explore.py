"""Every order of a race's hold places, each run once: which order ends how.

An actor's way is cut where a schedule holds it; an order says whose piece comes next. An
order is not run when another one has shown where it leads: its actor had ended, or waited
for the other, before the point where the two part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import comb

from kernlab.progress import Reporter
from kernlab.race.floor import RoundResult, Scene, floor
from kernlab.race.model import Place, Race, Step
from kernlab.race.runner import AGAIN
from kernlab.record.leg import load

LIMIT = 40  # orders, unless more are asked for
_STEP = 5.0  # seconds for a piece: who does not come so far in it will not come
_TRIES = 3


@dataclass(frozen=True)
class Piece:
    """A part of an actor's way: up to a place, or, without one, to its end."""

    actor: str
    place: Place | None = None
    when: str | None = None

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
    """Each actor's way, cut at its hold places."""
    found: dict[str, list[Piece]] = {name: [] for name in race.actors}
    for step in race.steps:
        if step.hold is None:
            continue
        place = step.targets[0]
        assert isinstance(place, Place)
        found[step.hold].append(Piece(step.hold, place, step.when))
    return {name: [*row, Piece(name)] for name, row in found.items()}


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


def count(ways: dict[str, list[Piece]]) -> int:
    """How many orders there are."""
    first, second = (len(row) for row in ways.values())
    return comb(first + second, first)


def steps(order: Order, race: Race) -> list[Step]:
    """An order as a schedule. The places that the race's own ``run`` steps name are stops on
    the way: its endings speak of them."""
    on_the_way: dict[str, list[str | Place]] = {name: [] for name in race.actors}
    for step in race.steps:
        if step.run is not None:
            on_the_way[step.run] += [one for one in step.targets if isinstance(one, Place)]
    found = []
    for piece in order:
        until: list[str | Place] = [piece.place] if piece.place else []
        until += ["done", "blocked", *on_the_way[piece.actor]]
        limit = max([_STEP, *(one.limit for one in race.steps if one.hold == piece.actor)])
        found.append(Step(run=piece.actor, until=until, when=piece.when, limit=limit))
    return [*found, Step(release="all")]


def explore(scene: Scene, report: Reporter, limit: int = LIMIT) -> Table:
    """Run every order, ``limit`` of them at most. Raises ``BadInput`` before anything boots
    for a place that the kernel does not have."""
    ways = pieces(scene.race)
    table = Table(scene.race, ways)
    known: dict[tuple[Piece, ...], tuple[int, str]] = {}  # a beginning → its run, and why it ends
    number = 0
    with floor(scene, report) as opened:
        for order in orders(ways):
            like = next((known[order[:n]] for n in range(1, len(order)) if order[:n] in known), None)
            if like is not None:
                table.cut.append(Cut(order, like[1], like[0]))
                continue
            if len(table.tried) == limit:
                table.cut.append(Cut(order, f"more than {limit} orders: --orders"))
                continue
            for _ in range(_TRIES):
                number += 1
                one = opened.round(number, steps(order, scene.race))
                one.keep(one.trouble in AGAIN)
                if one.trouble not in AGAIN:
                    break
            table.tried.append(Tried(order, one, _outcome(one)))
            beginning = _decided(order, one, scene.race)
            if beginning is not None:
                known[beginning[0]] = (len(table.tried), beginning[1])
        table.health = opened.health()
    return table


def _decided(order: Order, one: RoundResult, race: Race) -> tuple[Order, str] | None:
    """The beginning after which the rest of an order made no difference, and why."""
    if one.trouble:
        return None
    reached = _by_piece(order, load(one.directory).events)
    ended: set[str] = set()
    for at, (piece, what) in enumerate(zip(order, reached, strict=False), 1):
        if what in ("done", "blocked"):
            ended.add(piece.actor)
        rest = order[at:]
        if what == "done" and piece.place is not None and any(p.actor == piece.actor for p in rest):
            return order[:at], f"{piece.actor} had ended before {piece.place.text()}"
        if what == "blocked" and rest:
            return order[:at], f"{piece.actor} waited for {_other(race, piece.actor)} there"
    return None


def _by_piece(order: Order, events: list[dict[str, object]]) -> list[str]:
    """What each piece came to in the end: its step's last event."""
    last: dict[int, str] = {}
    for event in events:
        race = event["race"]
        assert isinstance(race, dict)
        last[race["step"]] = race["reached"]
    return [last.get(number, "") for number in range(1, len(order) + 1)]


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
