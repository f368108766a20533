"""System.map: every symbol of a kernel, with its clones and its neighbours."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from kernlab.config.yaml import near

# Suffixes gcc gives to copies of a function it changed: a specialised copy is still
# that function; a ".cold" part is only its unlikely blocks and has no entry.
_CLONE = re.compile(r"^(?P<base>[A-Za-z_]\w*?)(?:\.(?:isra|constprop|part)\.\d+)+$")


def base_name(symbol: str) -> str:
    """A symbol without gcc's clone suffixes: ``ip_rcv_finish_core.constprop.0``'s function."""
    match = _CLONE.match(symbol)
    return match["base"] if match else symbol


class SystemMap:
    """Text symbols by name and by address. Several functions may share one name."""

    def __init__(self, path: Path) -> None:
        self.text: dict[str, list[int]] = defaultdict(list)
        self.all: dict[str, int] = {}
        for line in path.read_text("utf-8", "replace").splitlines():
            address, kind, name = line.split(" ", 2)
            value = int(address, 16)
            self.all.setdefault(name, value)
            if kind in "tTwW":
                self.text[name].append(value)

    @cached_property
    def clones(self) -> Mapping[str, list[str]]:
        """Function name → the symbols that are its clones (its own symbol not included)."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.text:
            base = base_name(name)
            if base != name:
                found[base].append(name)
        return found

    def entries(self, function: str) -> list[tuple[str, int]]:
        """Every symbol and address at which ``function`` is entered, clones included."""
        names = [function] if function in self.text else []
        names += self.clones.get(function, [])
        return sorted((name, address) for name in names for address in self.text[name])

    def is_init(self, address: int) -> bool:
        """Whether this is memory that is freed when the boot ends (arch/x86/mm/init.c,
        free_initmem())."""
        return self.all.get("__init_begin", 0) <= address < self.all.get("__init_end", 0)

    def only_init(self, function: str) -> bool:
        """Whether every entry of a function is there."""
        entries = self.entries(function)
        return bool(entries) and all(self.is_init(address) for _, address in entries)

    def has(self, name: str) -> bool:
        """Whether the kernel has a function (or a clone of it) or a variable of this name."""
        return name in self.all or name in self.clones

    def at(self, address: int) -> str | None:
        """The symbol that stands at an address, of several the last; None without one."""
        return next((name for name, at in reversed(self.all.items()) if at == address), None)

    def near(self, name: str, count: int = 5) -> list[str]:
        """Function names like ``name``: close in spelling, or with ``name`` inside."""
        containing = sorted((s for s in self.text if name in s and "." not in s), key=len)
        spelled = near(name, self.names, count)
        return list(dict.fromkeys([*spelled, *containing]))[:count]

    @cached_property
    def names(self) -> list[str]:
        """Every function's name, sorted; clones count as their function."""
        return sorted({base_name(name) for name in self.text if ".cold" not in name})

    @cached_property
    def _by_address(self) -> tuple[list[int], list[str]]:
        pairs = sorted(
            (address, name) for name, addresses in self.text.items() for address in addresses
        )
        return [address for address, _ in pairs], [name for _, name in pairs]

    def symbol_at(self, address: int) -> str | None:
        """The symbol that ``address`` lies in, by the nearest symbol below it."""
        addresses, names = self._by_address
        index = bisect_right(addresses, address) - 1
        return names[index] if index >= 0 else None

    def extents(self, symbol: str) -> list[tuple[int, int]]:
        """Where the code of each ``symbol`` begins, and where the next one's does."""
        addresses, _ = self._by_address
        found = []
        for first in self.text.get(symbol, []):
            index = bisect_right(addresses, first)
            if index < len(addresses):
                found.append((first, addresses[index]))
        return found
