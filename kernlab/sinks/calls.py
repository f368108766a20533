"""A call's tree for human eyes: folded to what took time, as text and on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from kernlab.record.calls import Call, Graph

_SMALL = 0.01  # of the whole call: a subtree that took less is one line
_WIDE = 100  # columns from which on source lines are shown


@dataclass
class Line:
    """One line: calls one after the other, each a function with how often; ``ns`` together;
    ``hidden`` calls below them are not shown. ``chain``: the one call that each made, and
    that one, and so on; ``below`` is what the last of them called."""

    funcs: list[tuple[str, int]]
    ns: int | None
    hidden: int = 0
    interrupt: bool = False
    file: str | None = None
    line: int | None = None
    chain: list[str] = field(default_factory=list)
    below: list[Line] = field(default_factory=list)


def fold(call: Call, full: bool = False) -> Line:
    """A call as lines. An interrupt is one line; so is a subtree that took little, and so are
    calls that took little and stand together."""
    return _line(call, 0 if full else _SMALL * (call.ns or 0), full)


def _line(call: Call, small: float, full: bool) -> Line:
    line = Line([(call.func, 1)], call.ns, file=call.file, line=call.line)
    if call.ns is not None and call.ns < small:
        line.hidden = sum(1 for _ in call.walk()) - 1
        return line
    for one in call.calls:
        if one.interrupt and not full:
            count = sum(1 for _ in one.walk())
            found = Line([("interrupt", 1)], one.ns, hidden=count, interrupt=True)
        else:
            found = _line(one, small, full)
        last = line.below[-1] if line.below else None
        if last is not None and not full and _together(last, found, small):
            _join(last, found)
        else:
            line.below.append(found)
    return line if full else _chained(line)


def _chained(line: Line) -> Line:
    """Where a call is all that its caller shows, both are one line: a way down is no tree."""
    if len(line.below) == 1 and not line.hidden:
        (only,) = line.below
        if len(only.funcs) == 1 and not only.interrupt and only.funcs[0][1] == 1:
            line.chain = [only.funcs[0][0], *only.chain]
            line.below, line.hidden = only.below, only.hidden
    return line


def _together(one: Line, other: Line, small: float) -> bool:
    if one.interrupt != other.interrupt or any(x.below or x.chain for x in (one, other)):
        return False
    both = (one.ns or 0, other.ns or 0)
    return one.interrupt or max(both) < small or one.funcs == other.funcs


def _join(last: Line, found: Line) -> None:
    last.hidden += found.hidden
    last.ns = None if last.ns is None or found.ns is None else last.ns + found.ns
    if last.interrupt:
        return
    ((name, _),) = found.funcs
    if last.funcs[-1][0] == name:
        last.funcs[-1] = (name, last.funcs[-1][1] + 1)
    else:
        last.funcs.append((name, 1))
        last.file = None


def duration(ns: int | None) -> str:
    """In the unit that suits it, in ten columns; nothing for a call whose end was not seen."""
    if ns is None:
        return " " * 10
    for unit, scale in (("s ", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= scale:
            return f"{ns / scale:>7.4g} {unit}"
    return f"{ns:>7} ns"


def counted(calls: int) -> str:
    return f"{calls} call{'s' if calls != 1 else ''}"


def lines(graph: Graph, width: int, full: bool = False, fancy: bool = True) -> Iterator[Text]:
    """The tree, a line a call, at most ``width`` columns wide."""
    root = fold(graph.call, full)
    yield from _draw(root, "", "", width, fancy, root.ns or 0)


def _draw(line: Line, first: str, rest: str, width: int, fancy: bool, whole: int) -> Iterator[Text]:
    text = Text(duration(line.ns) if fancy else duration(line.ns).replace("µ", "u"))
    share = (line.ns or 0) / whole if whole else 0
    text.stylize("bold" if share >= 0.25 else "" if share >= 0.05 else "dim")
    text.append(f"  {first}", "dim")
    if line.interrupt:
        text.append("╱interrupt╱" if fancy else "/interrupt/", "yellow")
    else:
        sign = " ×" if fancy else " x"
        names = [name + (f"{sign}{times}" if times > 1 else "") for name, times in line.funcs]
        text.append(", ".join(names), "bold" if not first else "")
        for name in line.chain:
            text.append(" → " if fancy else " > ", "dim")
            text.append(name)
    if line.hidden:
        what = counted(line.hidden) if line.interrupt else f"{line.hidden} more"
        text.append(f"  ({what})", "dim")
    if width >= _WIDE and line.file and not line.interrupt and not line.chain:
        where = f"{line.file}:{line.line}"
        if len(text) + 2 + len(where) <= width:
            text.append(f"  {where}", "dim")
    _fit(text, width, "…" if fancy else "...")
    yield text
    branch, corner, bar = ("├ ", "└ ", "│ ") if fancy else ("| ", "` ", "| ")
    for number, one in enumerate(line.below):
        last = number == len(line.below) - 1
        yield from _draw(
            one,
            rest + (corner if last else branch),
            rest + ("  " if last else bar),
            width,
            fancy,
            whole,
        )


def _fit(text: Text, width: int, more: str) -> None:
    if len(text) > width:
        text.right_crop(len(text) - width + len(more))
        text.append(more, "dim")


def draw(graph: Graph, console: Console, full: bool = False) -> None:
    """One call on a console."""
    fancy = (console.encoding or "").lower().startswith("utf")
    for text in lines(graph, console.width, full, fancy):
        console.print(text, soft_wrap=True)
    console.print(Text(summary(graph), "dim"), soft_wrap=True)


def summary(graph: Graph) -> str:
    """How many calls, how deep, and what interrupts took."""
    calls = list(graph.call.walk())
    said = f"{counted(len(calls))} on cpu{graph.cpu} in task {graph.pid}"
    if graph.call.interrupted:
        said += f"; interrupts took {duration(graph.call.interrupted).strip()} of it"
    return said


def text(graph: Graph) -> str:
    """The whole tree as plain text, for a file."""
    body = "\n".join(line.plain.rstrip() for line in lines(graph, 1000, full=True))
    return f"{body}\n{summary(graph)}\n"
