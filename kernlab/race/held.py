"""Which locks an actor is to hold at a place, as far as the kernel says it.

Two ways to know: a function that its callers enter with a lock (configs/locks.yaml), and the
code of the function itself, past the line that takes a lock and before the one that lets it
go (``kernlab.race.locks``). Whether two actors mean the same lock is not known before they
run: the same function may take another bucket's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kernlab.lessons.locks import LockTable
from kernlab.lessons.race import Place
from kernlab.race.locks import Frame, Lock, Locks
from kernlab.race.stage import Stage

_TAKES = re.compile(r"\bspin_lock(?:_bh|_irq|_irqsave|_nested)?\(\s*&?([\w>.\[\]-]+?)\s*[,)]")


@dataclass(frozen=True)
class Held:
    """A lock: ``key`` is equal for what may be the same, ``name`` for people, ``since``
    where it is taken."""

    key: str
    name: str
    since: str


def at(place: Place, stage: Stage, rows: LockTable) -> list[Held]:
    """What is held where an actor stands at ``place``."""
    return [*_by_callers(place, stage, rows), *_inside(place, stage)]


def _function(place: Place, stage: Stage) -> str:
    """The real function of a place, as this kernel has it."""
    spot = stage.spots.get(place.text())
    return place.text() if spot is None else spot.func


def _by_callers(place: Place, stage: Stage, rows: LockTable) -> list[Held]:
    function = _function(place, stage)
    return [
        Held(row.lock, row.lock, f"{function} ({row.held[function]})")
        for row in rows.locks
        if function in row.held
    ]


def _inside(place: Place, stage: Stage) -> list[Held]:
    """What the function has taken before the place: of inlined calls and lines alone."""
    if place.kind not in ("inlined", "source"):
        return []
    function = _function(place, stage)
    file, _, line = stage.where(place.text()).rpartition(":")
    entries = stage.symbols.functions([function])
    if not line.isdigit() or not entries or entries[0].file != file:
        return []
    try:
        path = stage.symbols.files.source / file
        text = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    first, now = entries[0].line, int(line)
    names = dict.fromkeys(_TAKES.findall("\n".join(text[first - 1 : now - 1])))
    frame = Frame(function, file, now, stage.spots[place.text()].addresses[0])
    found = []
    with stage.symbols.symbolizer() as symbolizer:
        locks = Locks(stage.symbols, symbolizer, {})
        for name in names:
            ops = locks.ops(Lock("plain", name), frame)
            lines = {op.line if op is not None and op.way == "takes" else None for op in ops}
            if None not in lines:
                since = f"line {lines.pop()}" if len(lines) == 1 else "one of several lines"
                found.append(Held(f"{function}:{name}", f"'{name}'", f"{function}, {since}"))
    return found
