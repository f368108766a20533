"""A schedule on one kernel: every place found, or said to be missing, before anything boots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernlab.config.yaml import listed, near
from kernlab.decode.place import ProbeSpec
from kernlab.errors import BadInput
from kernlab.lessons import locks
from kernlab.lessons.locks import WaitRow
from kernlab.lessons.race import Place, Race, place_of
from kernlab.reasons.report import source_lines
from kernlab.symbols import places
from kernlab.symbols.dwarf import Line
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe
from kernlab.trace.plan import make
from kernlab.trace.request import TraceRequest

MARK = "do_sched_yield"  # what racing() in rootfs/guest/races/race.h calls
END = "do_exit"
_FRAMES = 10  # of a stop's stack, those whose source lines are kept


@dataclass(frozen=True)
class Spot:
    """Where a post can be planted: addresses, and what to read there (``what``; None: the stack
    and the locks alone). ``name``: the place in this kernel's own names; ``func``: the real
    function that it lies in; ``wait``: what a vCPU that comes here waits for."""

    name: str
    func: str = ""
    addresses: tuple[int, ...] = ()
    what: ProbeSpec | None = None
    wait: WaitRow | None = None


@dataclass
class Stage:
    """All places of a schedule by their words (``Place.text``), and those every schedule has.
    ``reasons``: the kernel's names of reasons to drop a packet, where a place is told one."""

    symbols: KernelSymbols
    spots: dict[str, Spot] = field(default_factory=dict)
    waits: list[Spot] = field(default_factory=list)
    reasons: Mapping[int, str] = field(default_factory=dict)

    @property
    def mark(self) -> Spot:
        return self.spots[MARK]

    @property
    def end(self) -> Spot:
        return self.spots[END]

    def named(self, text: str) -> str:
        """A place's words with the names that this kernel has of the file's alternatives."""
        return self.spots[text].name if text in self.spots else text

    def where(self, text: str) -> str:
        """``file:line`` of a place, in the real function; empty for one that is only found
        when its actor stands (a word of memory, a return)."""
        spot = self.spots.get(text)
        if spot is None or spot.what is None or not spot.addresses:
            return ""
        if spot.what["entry"]:
            return f"{spot.what['file']}:{spot.what['line']}"
        with self.symbols.symbolizer() as symbolizer:
            frame = symbolizer.frames(spot.addresses[0], exact=True)[-1]
        return f"{frame['file']}:{frame['line']}" if "line" in frame else ""

    def source(self, stack: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """``file:line`` → the line's text, of the innermost frames, so that a record can be
        read without this very tree."""
        found = {}
        for frame in stack[:_FRAMES]:
            for number, text in source_lines(self.symbols.files.source, frame):
                if number == frame["line"]:
                    found[f"{frame['file']}:{number}"] = str(text).strip()
        return found


def stage(race: Race, symbols: KernelSymbols, more: Iterable[Place] = ()) -> Stage:
    """Find everything, and ``more`` places than the schedule has. Raises ``BadInput`` for a
    place that this kernel does not have."""
    found = Stage(symbols)
    entries: dict[str, str] = {MARK: MARK, END: END}
    for place in (*_places(race), *more):
        if place.kind == "entry":
            entries[place.text()] = _first(place.entry, symbols)
        elif place.kind == "inlined":
            found.spots[place.text()] = _inlined(place, symbols)
        elif place.kind == "source":
            found.spots[place.text()] = _source(place, symbols)
    waits = [row for row in locks.table().waits if symbols.map.entries(row.at)]
    names = list(dict.fromkeys([*entries.values(), *(row.at for row in waits)]))
    plan = make(TraceRequest(functions=tuple(names)), symbols)
    found.reasons = plan.reasons
    for key, name in entries.items():
        found.spots[key] = _spot(name, [p for p in plan.probes if p.place.func == name])
    for row in waits:
        probes = [p for p in plan.probes if p.place.func == row.at]
        found.waits.append(_spot(row.at, probes, row))
    return found


def _places(race: Race) -> Iterable[Place]:
    for step in race.steps:
        for target in step.targets:
            if isinstance(target, Place):
                yield target
    for row in race.explore.values():
        yield from map(place_of, row)


def _spot(name: str, probes: list[Probe], wait: WaitRow | None = None) -> Spot:
    return Spot(name, name, tuple(probe.place.address for probe in probes), probes[0].spec, wait)


def _first(names: str | list[str] | None, symbols: KernelSymbols) -> str:
    rows = listed(names)
    for name in rows:
        if symbols.map.entries(name):
            return name
    raise places.unknown(rows[0], symbols, "kernlab race run")


def _line_spot(words: str, inside: str, found: list[Line]) -> Spot:
    name = f"{words} in {inside}"
    return Spot(name, inside, tuple(one.address for one in found), Probe(name, found[0]).spec)


def _inlined(place: Place, symbols: KernelSymbols) -> Spot:
    inside = _first(place.inside, symbols)
    names = listed(place.inlined)
    for name in names:
        found = symbols.dwarf.inlined_places(name, inside)
        if found:
            return _line_spot(name, inside, found[:1])
    raise BadInput(
        f"{inside} has no inlined {' or '.join(names)} in this kernel",
        f"inlined there: {', '.join(symbols.dwarf.inlined_in(inside)[:12]) or 'nothing'}",
        "edit the race: another place; or give another --kernel",
    )


def _source(place: Place, symbols: KernelSymbols) -> Spot:
    inside = _first(place.inside, symbols)
    (function, *_) = symbols.functions([inside])
    path = symbols.files.source / function.file
    try:
        text = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise BadInput(f"cannot read {path}", str(error.strerror), "kernlab fetch") from error
    assert place.source is not None
    lines = [number for number, row in _body(text, function.line) if place.source in row]
    if len(lines) != 1:
        body = [row.strip() for _, row in _body(text, function.line)]
        close = near(place.source, body, 2)
        raise BadInput(
            f"{inside}: {len(lines)} lines contain '{place.source}'",
            f"near: {' | '.join(close)}" if close else f"looked in {function.file}",
            "edit the race: a text that one line of the function contains",
        )
    name = f"{function.file}:{lines[0]}"
    found = [
        one
        for one in symbols.dwarf.lines(name)
        if inside in (one.symbol.split(".")[0], one.func) and one.line == lines[0]
    ]
    if not found:
        raise BadInput(
            f"'{place.source}' ({name}) has no code of its own in this kernel's {inside}",
            "the compiler merged it with the lines around it",
            "edit the race: the line before or after, an inlined call, or a word that changes",
        )
    return _line_spot(f"'{place.source}'", inside, found)


def _body(text: list[str], first: int) -> Iterable[tuple[int, str]]:
    """The lines of the function that begins near line ``first`` (1-based)."""
    for number in range(max(1, first - 3), len(text) + 1):
        row = text[number - 1]
        yield number, row
        if row.startswith("}") and number > first:
            return
