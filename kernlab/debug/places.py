"""Where a user wants to stop → what GDB's ``break`` is told. Refuses before a boot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernlab.errors import BadInput
from kernlab.symbols import places
from kernlab.symbols.kernel import KernelSymbols

_COMMAND = "kernlab debug"


@dataclass(frozen=True)
class Stop:
    """One place; ``location`` is in GDB's words. ``inlined``: the functions that hold a
    function's copies, where it has no entry of its own."""

    name: str
    location: str
    inlined: tuple[str, ...] = ()


def resolve(texts: Sequence[str], symbols: KernelSymbols) -> list[Stop]:
    """Each place once. Raises ``BadInput`` with near names for one this kernel lacks."""
    return [_resolve(text, symbols) for text in dict.fromkeys(texts)]


def _resolve(text: str, symbols: KernelSymbols) -> Stop:
    asked = places.parse(text, _COMMAND)
    if asked.kind == "glob":
        raise BadInput(
            f"'{text}': kernlab debug stops at functions and lines, not at globs",
            "GDB would stop at each call of each of them; inside GDB, rbreak takes a pattern",
            "kernlab debug tcp_v4_rcv",
        )
    if asked.kind == "line":
        places.resolve(asked, symbols, 1, _COMMAND)
        return Stop(text, text)
    entries = symbols.map.entries(text)
    if not entries:
        callers = symbols.dwarf.inlined_into(text) if text.isidentifier() else []
        if not callers:
            raise places.unknown(text, symbols, _COMMAND)
        return Stop(text, f"-function {text}", tuple(callers))
    if symbols.map.only_init(text):
        raise places.init_only(text)
    if "." in text:  # a clone by its own name: GDB knows it by the function's
        return Stop(text, f"*0x{entries[0][1]:x}")
    return Stop(text, f"-function {text}")
