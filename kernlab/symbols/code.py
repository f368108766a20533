"""A function's machine code, and what has certainly been done on the way to a place in it.

Source lines do not say which of them were run: of two lines that take a lock, the later one may
lie in a branch that was not taken. The machine code has every way there is: what stands on all
of them was run.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kernlab.decode.arch import ARCH
from kernlab.process import need, run
from kernlab.symbols.system_map import SystemMap

_LIMIT = 60.0
_ROW = re.compile(r"^\s*(?P<at>[0-9a-f]+):\s+(?P<text>\S.*)$")
_TARGET = re.compile(r"^(?P<to>[0-9a-f]+) <(?P<name>[^+>]+)(?P<inside>\+0x[0-9a-f]+)?>$")

Op = TypeVar("Op")


@dataclass(frozen=True)
class Instruction:
    """``name`` without prefixes; ``target`` of a direct jump or call: where it goes, and
    ``callee``: the symbol that begins there."""

    address: int
    name: str
    locked: bool = False
    operands: str = ""
    target: int | None = None
    callee: str = ""

    @property
    def calls(self) -> bool:
        return self.name in ARCH.calls


def parse(text: str) -> list[Instruction]:
    """The instructions of ``objdump -d --no-show-raw-insn``."""
    return [_instruction(row) for row in map(_ROW.match, text.splitlines()) if row]


def _instruction(row: re.Match[str]) -> Instruction:
    words = row["text"].split("#")[0].split()
    prefixes = []
    while len(words) > 1 and words[0] in ARCH.prefixes:
        prefixes.append(words.pop(0))
    operands = " ".join(words[1:])
    target = _TARGET.match(operands)
    return Instruction(
        int(row["at"], 16),
        words[0],
        ARCH.lock in prefixes,
        operands,
        int(target["to"], 16) if target else None,
        target["name"] if target and not target["inside"] else "",
    )


@dataclass(frozen=True)
class Body:
    """A whole function, its unlikely part (``.cold``) too, in the order of the addresses."""

    entry: int
    code: tuple[Instruction, ...]


class Code:
    """The code of one vmlinux's functions; asked once for each."""

    def __init__(self, vmlinux: Path, symbols: SystemMap) -> None:
        self._vmlinux = vmlinux
        self._symbols = symbols
        self._known: dict[int, Body] = {}

    def around(self, pc: int) -> Body | None:
        """The function that ``pc`` lies in; None where there is none. Raises ``HostLacks``."""
        symbol = self._symbols.symbol_at(pc)
        if symbol is None:
            return None
        name = symbol.removesuffix(".cold")
        parts = self._symbols.extents(name)
        here = [part for part in parts if part[0] <= pc < part[1]] or parts
        if not here or (len(here) > 1 and name != symbol):
            return None  # of several functions of this name
        entry = here[0][0]
        if entry not in self._known:
            found = []
            for first, last in (here[0], *self._symbols.extents(f"{name}.cold")):
                found += self._disassembled(first, last)
            found.sort(key=lambda one: one.address)
            self._known[entry] = Body(entry, tuple(found))
        return self._known[entry]

    def _disassembled(self, first: int, last: int) -> list[Instruction]:
        program = need("objdump", "reads a function's machine code", "binutils")
        said = run(
            _LIMIT,
            [
                program,
                "-d",
                "--no-show-raw-insn",
                f"--start-address=0x{first:x}",
                f"--stop-address=0x{last:x}",
                str(self._vmlinux),
            ],
        )
        return parse(said.text)


def last_before(body: Body, done: Mapping[int, Op], pc: int) -> set[Op | None]:
    """What may have been done last when the instruction at ``pc`` (or the one that ``pc`` lies
    in) is about to run: of ``done``, by address, one for each way that leads there; None for a
    way on which nothing was done. Empty when no way is known to lead there."""
    places = [one.address for one in body.code]
    numbers = {address: number for number, address in enumerate(places)}
    at = bisect_right(places, pc) - 1
    if at < 0 or body.entry not in numbers:
        return set()
    after = _edges(body.code, numbers)
    before: list[set[Op | None]] = [set() for _ in places]
    before[numbers[body.entry]].add(None)
    entered = {to for row in after for to in row}
    # Where only a table of the kernel leads (a static branch): what is done there goes on.
    left = [
        numbers[body.entry],
        *(numbers[address] for address in done if numbers.get(address) not in (None, *entered)),
    ]
    while left:
        number = left.pop()
        address = places[number]
        out: set[Op | None] = {done[address]} if address in done else before[number]
        for to in after[number]:
            if not out <= before[to]:
                before[to] |= out
                left.append(to)
    return before[at]


def _edges(code: Sequence[Instruction], numbers: Mapping[int, int]) -> list[list[int]]:
    """Where each instruction may lead inside the function."""
    found = []
    for number, one in enumerate(code):
        ends = one.name in ARCH.returns or one.name in ARCH.jumps
        to = [] if ends or number + 1 == len(code) else [number + 1]
        if one.name.startswith(ARCH.branch) and one.target is not None and one.target in numbers:
            to.append(numbers[one.target])
        found.append(to)
    return found
