"""Where this kernel lets one put probes, by tables that it reads when it boots.

They lie between two symbols in .init.data: what NOKPROBE_SYMBOL() marked (kernel/kprobes.c,
populate_kprobe_blacklist()), and the calls that ftrace turns into NOPs (kernel/trace/ftrace.c,
ftrace_init()).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from elftools.elf.elffile import ELFFile


def find(vmlinux: Path, known: Mapping[str, int]) -> frozenset[int]:
    """The entries of functions in which it refuses kprobes; empty where it has no such table."""
    return _table(vmlinux, known, "__start_kprobe_blacklist", "__stop_kprobe_blacklist")


def traceable(vmlinux: Path, known: Mapping[str, int]) -> frozenset[int]:
    """The places of ftrace, one at the begin of each function that is not ``notrace``; empty
    where the kernel has no ftrace."""
    return _table(vmlinux, known, "__start_mcount_loc", "__stop_mcount_loc")


def _table(vmlinux: Path, known: Mapping[str, int], start: str, stop: str) -> frozenset[int]:
    first, last = known.get(start), known.get(stop)
    if first is None or last is None or last <= first:
        return frozenset()
    with vmlinux.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            begin = section["sh_addr"]
            if section["sh_type"] == "SHT_PROGBITS" and begin <= first < begin + section["sh_size"]:
                file.seek(section["sh_offset"] + first - begin)
                data = file.read(last - first)
                return frozenset(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))
    return frozenset()
