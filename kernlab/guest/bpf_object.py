"""What a BPF object asks of a kernel, read from its file without loading it.

Any libbpf tool carries its object inside: a skeleton is an ELF file in the program's data.
"""

from __future__ import annotations

import io
import json
import re
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernlab.process import CommandFailed, run

_MAGIC = b"\x7fELF\x02\x01"
_EM_BPF = 247
_CALL = 0x85  # BPF_JMP | BPF_CALL; with src_reg 0 the call of a helper
_OWN = re.compile(rb"\0(\w+?)___\w+(?=\0)")  # CO-RE's flavours, in the strings of BTF
_EXECUTABLE = 4  # SHF_EXECINSTR
_LIMIT = 20.0


@dataclass(frozen=True)
class BpfObject:
    """``sections``: what libbpf attaches to, as in SEC(); ``helpers`` and ``maps``: numbers of
    helpers and map types (include/uapi/linux/bpf.h), the latter by the map's name. ``asks``:
    types that the program has a version of its own of (NAME___…), to ask a kernel for them."""

    sections: tuple[str, ...]
    helpers: frozenset[int]
    maps: dict[str, int]
    asks: frozenset[str] = frozenset()


def objects(path: Path) -> Iterator[BpfObject]:
    """The BPF objects in a file: itself, or what lies inside a program."""
    data = path.read_bytes()
    at = data.find(_MAGIC)
    while at >= 0:
        if data[at + 18 : at + 20] == struct.pack("<H", _EM_BPF):
            yield _read(data[at:])
        at = data.find(_MAGIC, at + 1)


def _read(data: bytes) -> BpfObject:
    from elftools.elf.elffile import ELFFile

    elf: Any = ELFFile(io.BytesIO(data))
    sections, helpers = [], set()
    for section in elf.iter_sections("SHT_PROGBITS"):
        if not section["sh_flags"] & _EXECUTABLE or not section["sh_size"]:
            continue
        if section.name != ".text":  # functions that programs call
            sections.append(section.name)
        for code, registers, _, value in struct.iter_unpack("<BBhi", section.data()):
            if code == _CALL and registers >> 4 == 0:
                helpers.add(value)
    end = elf["e_shoff"] + elf["e_shnum"] * elf["e_shentsize"]
    asks = frozenset(name.decode() for name in _OWN.findall(data[:end]))
    return BpfObject(tuple(sections), frozenset(helpers), _maps(data[:end]), asks)


def _maps(data: bytes) -> dict[str, int]:
    """Map name → type, from the BTF of the section .maps: ``__uint(type, N)`` is a pointer to
    an array of N."""
    with tempfile.NamedTemporaryFile(suffix=".o") as file:
        file.write(data)
        file.flush()
        try:
            said = run(_LIMIT, ["bpftool", "-j", "btf", "dump", "file", file.name]).stdout
            types = {row["id"]: row for row in json.loads(said)["types"]}
        except (CommandFailed, ValueError, KeyError):
            return {}  # without BTF there is nothing to tell
    found = {}
    for row in types.values():
        if row["kind"] != "DATASEC" or row["name"] != ".maps":
            continue
        for variable in (types[one["type_id"]] for one in row["vars"]):
            members = types[variable["type_id"]].get("members", [])
            for member in members:
                pointer = types[member["type_id"]]
                if member["name"] == "type" and pointer["kind"] == "PTR":
                    found[variable["name"]] = int(types[pointer["type_id"]]["nr_elems"])
    return found


def numbers(types: str, enum: str) -> dict[int, str]:
    """The numbers of an enum in a vmlinux.h (``kernlab.guest.bpf.vmlinux_h``), with names."""
    match = re.search(rf"^enum {enum} {{(.*?)^}}", types, re.S | re.M)
    pairs = re.findall(r"^\s*(\w+) = (\d+)", match[1], re.M) if match else []
    return {int(number): name for name, number in pairs}
