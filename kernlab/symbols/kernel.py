"""Everything known of one built kernel by name: the door to this room."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from kernlab.config.paths import arriving_file, unsealed_file
from kernlab.decode.layout import WANTED
from kernlab.decode.plans import Holes
from kernlab.symbols import holes, orc
from kernlab.symbols.dwarf import Dwarf, Function
from kernlab.symbols.frames import Symbolizer
from kernlab.symbols.system_map import SystemMap

_HZ = "CONFIG_HZ="
# Destructors of an skb that is charged to the socket which sends it: net/core/sock.c,
# net/ipv4/tcp_output.c, net/packet/af_packet.c, net/xdp/xsk.c.
_SENDERS = (
    "sock_wfree",
    "__sock_wfree",
    "tcp_wfree",
    "sock_ofree",
    "tpacket_destruct_skb",
    "xsk_destruct_skb",
)


@dataclass(frozen=True)
class KernelFiles:
    """Where the kernel's files are; ``directory`` also holds the caches made here."""

    directory: Path
    vmlinux: Path
    system_map: Path
    config: Path
    source: Path


class KernelSymbols:
    """Names, addresses, members and stacks of one kernel."""

    def __init__(self, files: KernelFiles) -> None:
        self.files = files

    @cached_property
    def map(self) -> SystemMap:
        return SystemMap(self.files.system_map)

    @cached_property
    def dwarf(self) -> Dwarf:
        return Dwarf(self.files.vmlinux, self.files.source, self.files.directory / "layout.json")

    def layout(self) -> dict[str, object]:
        """What ``kernlab.decode.layout.Layout`` is made from, with this kernel's constants."""
        # Members that tell how this kernel works, not ones to decode.
        wanted = {**WANTED, "orc_entry": ("end",), "kprobe": ("fault_handler",)}
        layout: dict[str, object] = dict(self.dwarf.layout(wanted))
        layout["constants"] = self._constants()
        layout["senders"] = sorted(self.map.all[n] for n in _SENDERS if n in self.map.all)
        return layout

    def _constants(self) -> dict[str, int]:
        for line in self.files.config.read_text("utf-8").splitlines():
            if line.startswith(_HZ):
                return {"HZ": int(line.removeprefix(_HZ))}
        return {}

    def orc(self) -> Path:
        """The unwind table's file, made once per kernel."""
        path = self.files.directory / "orc.bin"
        with FileLock(f"{path}.lock", timeout=60):
            if unsealed_file(path) is None:
                structs = self.layout()["structs"]
                assert isinstance(structs, dict)
                has_end = "end" in structs.get("orc_entry", {}).get("members", {})
                with arriving_file(path, seal=True) as temporary:
                    orc.write(self.files.vmlinux, temporary, has_end, self.map.all)
        return path

    def holes(self) -> Holes | None:
        """Unused places of this kernel by name (``kernlab.symbols.holes``), None without any."""
        path = self.files.directory / "holes.json"
        kept = unsealed_file(path)
        if kept is not None:
            places: Holes | None = json.loads(kept)
            return places
        made = holes.find(self.files.vmlinux)
        with arriving_file(path, seal=True) as temporary:
            temporary.write_text(json.dumps(made), "utf-8")
        return made

    def functions(self, names: list[str]) -> list[Function]:
        """Each entry of each named function, clones included; unknown names give nothing."""
        return self.dwarf.functions({name: self.map.entries(name) for name in names})

    def symbolizer(self) -> Symbolizer:
        return Symbolizer(self.files.vmlinux, self.files.source, self.map)
