"""Places in a kernel's image that nobody uses: where the gdb engine's trampoline goes.

The linker aligns sections and leaves padding behind. A hole is found by the symbol
table (no symbol covers it) and, for code, by its bytes (all the same filler).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from kernlab.decode.plans import Holes

CODE_BYTES = 64
_PAGE = 4096


def find(vmlinux: Path) -> Holes | None:
    """The holes of a kernel, or None where it has none that are large enough.

    The two data bytes lie on pages of their own: QEMU takes every access to a watched page
    the slow way.
    """
    with vmlinux.open("rb") as file:
        elf: Any = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        text, bss = elf.get_section_by_name(".text"), elf.get_section_by_name(".bss")
        if table is None or text is None or bss is None:
            return None
        spans = sorted((s["st_value"], s["st_size"]) for s in table.iter_symbols())
        code = _code(text, spans)
        pages = _pages(bss, spans)
    if code is None or len(pages) < 2:
        return None
    return {"code": code, "watch": pages[-1], "lock": pages[-2]}


def _gaps(section: Any, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Stretches of a section that no symbol covers, start and end."""
    low, high = section["sh_addr"], section["sh_addr"] + section["sh_size"]
    end = low
    first = bisect_right(spans, (low - 1, 0))
    for address, size in spans[first:]:
        if address >= high:
            break
        if address > end:
            yield end, address
        end = max(end, address + size)
    if end < high:
        yield end, high


def _code(section: Any, spans: list[tuple[int, int]]) -> int | None:
    best = max(_gaps(section, spans), key=lambda gap: gap[1] - gap[0], default=None)
    if best is None or best[1] - best[0] < 4 * CODE_BYTES:
        return None
    # The middle: a function without a size in the symbol table may reach into the start.
    address = (best[0] + best[1]) // 2 & ~(CODE_BYTES - 1)
    offset = address - section["sh_addr"]
    content = section.data()[offset : offset + CODE_BYTES]
    return address if len(set(content)) == 1 else None


def _pages(section: Any, spans: list[tuple[int, int]]) -> list[int]:
    found = []
    for start, end in _gaps(section, spans):
        page = (start + _PAGE - 1) & ~(_PAGE - 1)
        while page + _PAGE <= end:
            found.append(page)
            page += _PAGE
    return found
