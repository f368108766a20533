"""Where a probe goes: what a user writes, and what it is in one kernel.

tcp_v4_rcv              a function's entry, clones included
tcp_v4_*                every function that matches
tcp_ipv4.c:1961         a line: every place the compiler made of it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from kernlab.config.yaml import near
from kernlab.errors import BadInput
from kernlab.symbols.dwarf import Function, Line
from kernlab.symbols.kernel import KernelSymbols

_LINE = re.compile(r"^(?P<file>[\w./-]+\.[chS]):(?P<line>\d+)$")
_GLOB = re.compile(r"[*?\[]")
_NAME = re.compile(r"^[A-Za-z_]\w*(?:\.(?:isra|constprop|part)\.\d+)*$")


@dataclass(frozen=True)
class Asked:
    """A place as it was asked for. ``file`` and ``line`` only for a line."""

    text: str
    kind: Literal["function", "glob", "line"]
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Found:
    """What a text stands for in one kernel, and what a user should know of it."""

    places: tuple[Function | Line, ...]
    notes: tuple[str, ...] = ()


def parse(text: str, command: str = "kernlab trace") -> Asked:
    """Raises ``BadInput`` for a text that is no place; ``command`` is what to type next."""
    match = _LINE.match(text)
    if match is not None:
        return Asked(text, "line", match["file"], int(match["line"]))
    if _GLOB.search(text):
        return Asked(text, "glob")
    if _NAME.match(text):
        return Asked(text, "function")
    raise BadInput(
        f"'{text}' is not a place",
        "a function (tcp_v4_rcv), a glob ('tcp_v4_*') or a line (tcp_ipv4.c:1961)",
        f"{command} tcp_v4_rcv",
    )


def resolve(
    asked: Asked, symbols: KernelSymbols, limit: int, command: str = "kernlab trace"
) -> Found:
    """The places in this kernel. Raises ``BadInput``: unknown, inlined, or more than ``limit``."""
    if asked.kind == "line":
        return _line(asked, symbols, command)
    if asked.kind == "glob":
        return _glob(asked, symbols, limit)
    name = asked.text
    if not symbols.map.entries(name):
        raise unknown(name, symbols, command)
    if symbols.map.only_init(name):
        raise init_only(name)
    places = symbols.functions([name])
    if not places:
        raise BadInput(
            f"{name} has no debug info in this kernel",
            "it is written in assembler, or generated",
            f"{command} tcp_v4_rcv",
        )
    notes = [f"{p.func} is {p.symbol} in this kernel" for p in places if p.symbol != p.func]
    return Found(tuple(places), tuple(notes))


def _glob(asked: Asked, symbols: KernelSymbols, limit: int) -> Found:
    matching = [name for name in symbols.map.names if fnmatchcase(name, asked.text)]
    names = [name for name in matching if not symbols.map.only_init(name)]
    if matching and not names:
        raise init_only(matching[0], asked.text)
    if not names:
        raise BadInput(
            f"no function of this kernel matches '{asked.text}'", "", "kernlab trace 'tcp_v4_*'"
        )
    if len(names) > limit:
        raise BadInput(
            f"'{asked.text}' matches {len(names)} functions, more than --max-probes {limit}",
            f"the first are {', '.join(names[:8])}; each call of each is an event",
            f"--max-probes {len(names)}",
        )
    places = symbols.functions(names)
    without = sorted(set(names) - {place.func for place in places})
    notes = [f"{asked.text} is {len(names) - len(without)} functions"]
    gone = [name for name in matching if name not in names]
    if gone:
        notes.append(f"left out, because they run only during boot: {', '.join(gone)}")
    if without:
        notes.append(f"left out, because they have no debug info: {', '.join(without)}")
    return Found(tuple(places), tuple(notes))


def _line(asked: Asked, symbols: KernelSymbols, command: str) -> Found:
    places = symbols.dwarf.lines(asked.text)
    files = sorted({place.file for place in places})
    if len(files) > 1:
        raise BadInput(
            f"{asked.file} is the name of {len(files)} files: {', '.join(files[:8])}",
            "the line is in more than one of them",
            f"{command} {files[0]}:{asked.line}",
        )
    if not places:
        raise _no_line(asked, symbols.files.source, command)
    if all(symbols.map.is_init(place.address) for place in places):
        raise init_only(places[0].func, asked.text)
    notes = []
    if places[0].line != asked.line:
        notes.append(f"line {asked.line} has no code of its own: stopping at {places[0].line}")
    if len(places) > 1:
        inside = ", ".join(sorted({place.symbol for place in places}))
        notes.append(f"{asked.text} is {len(places)} places, in {inside}")
    return Found(tuple(places), tuple(notes))


def _no_line(asked: Asked, source: Path, command: str) -> BadInput:
    name = Path(asked.file).name
    known = sorted(p for p in (*source.glob("net/**/*.[ch]"), *source.glob("include/net/*.h")))
    if any(str(path).endswith(f"/{asked.file}") for path in known):
        return BadInput(
            f"{asked.text}: this kernel has no code at this line or after it",
            "the file was not compiled, or is shorter",
            f"{command} {asked.file}:1",
        )
    close = near(name, {path.name for path in known})
    return BadInput(
        f"{asked.text}: this kernel has no code from a file '{asked.file}'",
        f"near names: {', '.join(close)}" if close else "",
        f"{command} {close[0]}:{asked.line}" if close else f"{command} tcp_v4_rcv",
    )


def init_only(name: str, asked: str = "") -> BadInput:
    """The error for a function that is gone when the guest takes commands."""
    place = f"{asked}: " if asked not in ("", name) else ""
    return BadInput(
        f"{place}{name} is __init code: it runs only during boot",
        "the kernel frees its memory when the boot ends, and a trace begins after that; "
        f"to stop in it, attach GDB before the kernel runs and set: hbreak {name}",
        "kernlab boot --gdb-port 1234 --wait",
    )


def unknown(name: str, symbols: KernelSymbols, command: str) -> BadInput:
    """The error for a function that has no entry in this kernel: inlined, or not there."""
    callers = symbols.dwarf.inlined_into(name) if name.isidentifier() else []
    if callers:
        return BadInput(
            f"{name} is inlined everywhere in this kernel and has no entry of its own",
            f"its callers: {', '.join(callers[:8])}",
            f"{command} {callers[0]}",
        )
    close = symbols.map.near(name)
    return BadInput(
        f"this kernel has no function '{name}'",
        f"near names: {', '.join(close)}" if close else "",
        f"{command} {close[0] if close else 'tcp_v4_rcv'}",
    )
