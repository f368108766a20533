"""Functions in which this kernel refuses kprobes: what NOKPROBE_SYMBOL() marked.

The addresses lie between two symbols in .init.data, of which the kernel reads them when it boots
(kernel/kprobes.c, populate_kprobe_blacklist()).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from elftools.elf.elffile import ELFFile


def find(vmlinux: Path, known: Mapping[str, int]) -> frozenset[int]:
    """Their entries; empty where the kernel has no such table."""
    first, last = known.get("__start_kprobe_blacklist"), known.get("__stop_kprobe_blacklist")
    if first is None or last is None or last <= first:
        return frozenset()
    with vmlinux.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            start = section["sh_addr"]
            if section["sh_type"] == "SHT_PROGBITS" and start <= first < start + section["sh_size"]:
                file.seek(section["sh_offset"] + first - start)
                data = file.read(last - first)
                return frozenset(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))
    return frozenset()
