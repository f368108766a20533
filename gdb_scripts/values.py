"""What a probe's place has by name: arguments at an entry, variables at a line."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Mapping, Optional, Protocol, Tuple

import gdb

from gdb_scripts import guards
from gdb_scripts.inferior import Registers
from gdb_scripts.scopes import evaluate, fill, numbers, plain, rewritten, used
from kernlab.decode.hit import as_type
from kernlab.decode.memory import Memory
from kernlab.decode.place import UNLISTED, ProbeSpec, SiteSpec
from kernlab.decode.texts import text_of


class Values(Protocol):
    """The names of one place at one hit."""

    key: str  # where an event keeps them: args | locals

    def number(self, name: str) -> Optional[int]:
        """A name's value as an unsigned 64-bit number; None if it has none here."""

    def shown(self) -> Dict[str, Any]:
        """Every name that has a value, for the event."""

    def texts(self, memory: Memory) -> Dict[str, str]:
        """What names point at, where that is a text (``kernlab.decode.texts``)."""

    def fill(self, names: Iterable[str]) -> None:
        """Make names known to GDB's expressions (``gdb_scripts.scopes``)."""


class EntryValues:
    """A function's arguments at its first instruction, each in the register DWARF names."""

    key = "args"

    def __init__(self, what: ProbeSpec, registers: Registers, symbols: Mapping[str, Any]) -> None:
        self._args = {item["name"]: item for item in what["args"]}
        self._registers = registers
        self._symbols = symbols

    def number(self, name: str) -> Optional[int]:
        item = self._args.get(name)
        return None if item is None else self._registers[item["register"]]

    def shown(self) -> Dict[str, Any]:
        return {
            name: as_type(self._registers[item["register"]], item)
            for name, item in self._args.items()
        }

    def texts(self, memory: Memory) -> Dict[str, str]:
        found = {}
        for name, item in self._args.items():
            if "text" in item:
                length = self.number(item["length"]) if "length" in item else None
                text = text_of(memory, self._registers[item["register"]], item, length)
                if text is not None:
                    found[name] = text
        return found

    def fill(self, names: Iterable[str]) -> None:
        for name in names:
            number = self.number(name)
            if number is not None and name in self._symbols:
                fill(name, gdb.Value(number).cast(self._symbols[name].type))


class LineValues:
    """The variables of a place inside a function, as GDB finds them in the frame."""

    key = "locals"

    def __init__(self, symbols: Mapping[str, Any], frame: Any) -> None:
        self._values: Dict[str, Any] = {}
        for name, symbol in symbols.items():
            try:
                self._values[name] = frame.read_var(symbol)
            except (gdb.error, ValueError):
                continue
        self._numbers = numbers(self._values)

    def number(self, name: str) -> Optional[int]:
        return self._numbers.get(name)

    def shown(self) -> Dict[str, Any]:
        """Numbers and addresses; whole structures only by ``--show``."""
        return {
            name: value
            for name, value in ((n, plain(self._values[n])) for n in self._numbers)
            if value is not None
        }

    def texts(self, memory: Memory) -> Dict[str, str]:
        return {}

    def fill(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._values:
                fill(name, self._values[name])


def show(
    wanted: Iterable[Tuple[str, str]],
    values: Values,
    symbols: Mapping[str, Any],
    site: SiteSpec = UNLISTED,
    packet: Optional[Mapping[str, Any]] = None,
) -> Dict[str, Any]:
    """Of pairs (name, C expression) those that have a value at this hit.

    One whose names are not all there is absent: a name filled by an earlier hit must not
    answer for this one. So is one that reads what the object does not have
    (``gdb_scripts.guards``)."""
    found: Dict[str, Any] = {}
    for key, text in wanted:
        names = used(text, symbols)
        if any(values.number(name) is None for name in names):
            continue
        values.fill(names)
        try:
            if not guards.holds(rewritten(text, symbols), site, packet):
                continue
        except (gdb.error, gdb.MemoryError):
            continue
        value = evaluate(text, symbols)
        if value is not None:
            found[key] = value
    return found
