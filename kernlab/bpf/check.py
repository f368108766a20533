"""What a program asks of a kernel and this one has not, told before anything boots.

Options, functions, tracepoints, helpers and map types are looked up in what the kernel was
built from: its .config, System.map and BTF. A program may carry on without what it lacks
(SEC("?kprobe/…"), bpf_core_field_exists()), so that this informs and does not refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernlab.bpf.complaints import SectionRow, table
from kernlab.config.yaml import near
from kernlab.guest.bpf import vmlinux_h
from kernlab.guest.bpf_object import BpfObject, numbers, objects
from kernlab.kernel.model import Kernel
from kernlab.symbols.system_map import SystemMap

_FUNCTION = re.compile(r"^(kprobe|kretprobe|fentry|fexit|fmod_ret)/(?P<name>[A-Za-z_]\w*)$")
_TRACEPOINT = re.compile(r"^(tp|tracepoint)/(?P<group>\w+)/(?P<name>\w+)$")
_RAW = re.compile(r"^(tp_btf|raw_tp|raw_tracepoint)(\.w)?/(?P<name>\w+)$")
# Names of what is newer than the kernel's own BTF: the host's headers know them.
# bpf_probe_read_kernel() and …_str(): libbpf puts the older helpers in their place where the
# kernel lacks them (bpf_object__sanitize_prog()).
_REPLACED = frozenset({113, 115})
_RINGBUF = frozenset(range(130, 135))  # bpf_ringbuf_output() to _query()
_HELPERS = re.compile(r"\(\*(?:const )?(bpf_\w+)\)\(.*\) = \(void \*\) ?(\d+);")


@dataclass(frozen=True)
class Lack:
    """What is not there: ``what`` asks for it, in words; what to do ``instead``."""

    what: str
    says: str
    instead: str


def lacks(path: Path, kernel: Kernel) -> tuple[int, list[Lack]]:
    """How many BPF objects a file has, and what they ask of the kernel in vain.

    Raises ``BadInput`` for a kernel without BTF."""
    found: dict[tuple[str, str], Lack] = {}
    count = 0
    asked = _Kernel(kernel)
    for one in objects(path):
        count += 1
        for lack in asked.lacks(one):
            found.setdefault((lack.what, lack.says), lack)
    return count, list(found.values())


def lacks_places(sections: Iterable[str], kernel: Kernel) -> list[Lack]:
    """What a kernel has not of the places that ``sections`` name as SEC() does: for a tool
    that has no BPF object of its own.

    Raises ``BadInput`` for a kernel without BTF."""
    asked = _Kernel(kernel)
    return [lack for name in sections for lack in asked.place(name)]


def lacks_of(tool: str, kernel: Kernel) -> list[Lack] | None:
    """The same for a tool that configs/bpf.yaml knows; None for another."""
    for row in table().tools:
        if row.name == tool:
            found = lacks_places(row.probes, kernel)
            return [Lack(tool, lack.says, row.instead) for lack in found]
    return None


class _Kernel:
    def __init__(self, kernel: Kernel) -> None:
        self._release = kernel.release
        self._options = set(kernel.config.read_text("utf-8").splitlines())
        self._map = SystemMap(kernel.system_map)
        self._types = vmlinux_h(kernel).read_text("utf-8")
        self._rows = table().sections

    def lacks(self, one: BpfObject) -> list[Lack]:
        found = [lack for name in one.sections for lack in self.place(name.lstrip("?"))]
        known = numbers(self._types, "bpf_func_id")
        guarded = _RINGBUF if "bpf_ringbuf" in one.asks else frozenset()
        for number in sorted(one.helpers - set(known) - _REPLACED - guarded):
            found.append(
                Lack(
                    _helper(number),
                    f"Linux {self._release} has no such helper",
                    "man 7 bpf-helpers",
                )
            )
        known = numbers(self._types, "bpf_map_type")
        for name, number in one.maps.items():
            if known and number not in known:
                found.append(
                    Lack(
                        f"map {name}",
                        f"Linux {self._release} has no map of type {number}",
                        "use an older type of map",
                    )
                )
        return found

    def place(self, name: str) -> list[Lack]:
        """What one section asks for in vain."""
        for row in self._rows:
            if re.match(row.match, name) and f"{row.option}=y" not in self._options:
                return [self._without(row, name)]
        lacking = ""
        if (match := _FUNCTION.match(name)) and not self._map.entries(match["name"]):
            lacking = f"function {match['name']}"
        elif (match := _TRACEPOINT.match(name)) and not self._has_event(**match.groupdict()):
            lacking = f"tracepoint {match['group']}:{match['name']}"
        elif (match := _RAW.match(name)) and f"__tracepoint_{match['name']}" not in self._map.all:
            lacking = f"tracepoint {match['name']}"
        if not lacking:
            return []
        close = near(match["name"], self._map.names, 1) if match and "func" in lacking else []
        step = (
            f"use {close[0]}, which has a similar name"
            if close
            else "kernlab run -- cat /sys/kernel/tracing/available_filter_functions"
        )
        return [Lack(f'SEC("{name}")', f"Linux {self._release} has no {lacking}", step)]

    def _has_event(self, group: str, name: str) -> bool:
        if group == "syscalls":  # kernel/trace/trace_syscalls.c: event_enter__openat
            name = re.sub(r"^sys_(enter|exit)_", r"\1__", name)
        return f"event_{name}" in self._map.all

    def _without(self, row: SectionRow, name: str) -> Lack:
        says = f"{row.says}; Linux {self._release} was built without {row.option}"
        return Lack(f'SEC("{name}")', says, row.instead)


def _helper(number: int) -> str:
    """A helper by the name that the host's libbpf has for it."""
    for path in Path("/usr/include/bpf").glob("bpf_helper_defs.h"):
        for name, value in _HELPERS.findall(path.read_text("utf-8", "replace")):
            if int(value) == number:
                return f"{name}()"
    return f"helper {number}"
