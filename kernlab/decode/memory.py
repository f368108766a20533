"""The guest's memory, as everything that decodes wants it."""

from __future__ import annotations

from typing import Dict, Protocol


class Unreadable(LookupError):
    """Memory that cannot be read; the field that wanted it stays absent."""


class Memory(Protocol):
    """Reads kernel virtual memory of a stopped guest."""

    def read(self, address: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``address``. Raises ``Unreadable``."""
        ...


class BytesMemory:
    """Memory made of known blocks, by their start address."""

    def __init__(self, blocks: Dict[int, bytes]) -> None:
        self._blocks = blocks

    def read(self, address: int, length: int) -> bytes:
        for start, data in self._blocks.items():
            if start <= address and address + length <= start + len(data):
                return data[address - start : address - start + length]
        raise Unreadable(hex(address))


def read_to_page_end(memory: Memory, address: int, length: int) -> bytes:
    """Up to ``length`` bytes: all of them, or those before the page's end.

    The page after may be unmapped (a guest's guard page), the first one is not.
    """
    room = 4096 - (address & 4095)
    if length <= room:
        return memory.read(address, length)
    try:
        return memory.read(address, length)
    except Unreadable:
        return memory.read(address, room)
