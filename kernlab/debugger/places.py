"""The functions a user wants to stop at → what GDB's ``break`` is told. Refuses before a boot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernlab.errors import BadInput
from kernlab.symbols.kernel import KernelSymbols


@dataclass(frozen=True)
class Stop:
    """One function; ``location`` is in GDB's words. ``inlined``: the functions that hold its
    copies, where it has no entry of its own."""

    name: str
    location: str
    inlined: tuple[str, ...] = ()


def resolve(names: Sequence[str], symbols: KernelSymbols) -> list[Stop]:
    """Each function once. Raises ``BadInput`` with near names for one this kernel lacks."""
    return [_resolve(name, symbols) for name in dict.fromkeys(names)]


def _resolve(name: str, symbols: KernelSymbols) -> Stop:
    entries = symbols.map.entries(name)
    if entries:
        if "." in name:  # a clone by its own name: GDB knows it by the function's
            return Stop(name, f"*0x{entries[0][1]:x}")
        return Stop(name, f"-function {name}")
    callers = symbols.dwarf.inlined_into(name) if name.isidentifier() else []
    if callers:
        return Stop(name, f"-function {name}", tuple(callers))
    if ":" in name:
        raise BadInput(
            f"'{name}' is no function",
            "kernlab debug stops at functions; GDB itself stops at lines",
            f"kernlab debug --ex 'break {name}' --ex continue",
        )
    close = symbols.map.near(name)
    raise BadInput(
        f"this kernel has no function '{name}'",
        f"near names: {', '.join(close)}" if close else "",
        f"kernlab debug {close[0] if close else 'tcp_v4_rcv'}",
    )
