"""The stopped guest as kernlab.decode wants it: memory, registers, who is running."""

from __future__ import annotations

from typing import Any, Dict, Optional

import gdb

from kernlab.decode.layout import Layout
from kernlab.decode.lookup import SocketTables
from kernlab.decode.memory import Unreadable
from kernlab.decode.skb import skb_device

_MASK = (1 << 64) - 1


class InferiorMemory:
    """``kernlab.decode.memory.Memory`` over GDB's connection to the guest."""

    def __init__(self) -> None:
        self._inferior = gdb.selected_inferior()

    def read(self, address: int, length: int) -> bytes:
        try:
            return bytes(self._inferior.read_memory(address & _MASK, length))
        except (gdb.MemoryError, gdb.error, OverflowError) as error:
            raise Unreadable(hex(address & _MASK)) from error


class Registers:
    """The selected vCPU's registers, each fetched when first asked for.

    GDB gives 64-bit registers as signed numbers; these are unsigned.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._known: Dict[str, int] = {}

    def pretend(self, **values: int) -> None:
        """Give other values for some registers: those before a detour the vCPU is on."""
        self._known.update(values)

    def __getitem__(self, name: str) -> int:
        value = self._known.get(name)
        if value is None:
            value = self._known[name] = int(self._frame.read_register(name)) & _MASK
        return value


def selected_cpu() -> int:
    """The vCPU that GDB's commands mean: QEMU's thread id is cpu_index + 1."""
    return int(gdb.selected_thread().ptid[1]) - 1


class Kernel:
    """What is the same for the whole trace: layout, per-CPU bases, the clock's address."""

    def __init__(self, layout: Dict[str, Any]) -> None:
        self.memory = InferiorMemory()
        self.layout = Layout(layout)
        values = layout.get("expressions", {})
        self.tables = SocketTables(self.memory, self.layout, values)
        self._clock = values.get("tkr_mono")
        self._current = values.get("current_task")
        self._per_cpu: Dict[int, int] = {}
        self._per_cpu_table = values.get("per_cpu_offset")

    def receiver(self, skb: int, packet: Dict[str, Any]) -> Optional[int]:
        """The socket that the kernel's own lookup is about to find for a packet that comes in."""
        device = skb_device(self.memory, self.layout, skb)
        net = self.tables.net_of(device) if device else None
        return self.tables.find(packet, net) if net else None

    def _per_cpu_base(self, cpu: int) -> Optional[int]:
        """__per_cpu_offset[cpu]; it never changes once the vCPUs are up."""
        if self._per_cpu_table is None:
            return None
        base = self._per_cpu.get(cpu)
        if base is None:
            raw = self.memory.read(self._per_cpu_table + 8 * cpu, 8)
            base = self._per_cpu[cpu] = int.from_bytes(raw, "little")
        return base

    def current_task(self, cpu: int) -> Optional[int]:
        """The address of the task_struct that runs on ``cpu``, or that softirqs borrowed."""
        try:
            base = self._per_cpu_base(cpu)
            if base is None or self._current is None:
                return None
            raw = self.memory.read((base + self._current) & _MASK, 8)
        except Unreadable:
            return None
        return int.from_bytes(raw, "little")

    def task(self, cpu: int) -> Optional[Dict[str, Any]]:
        """pid and comm of the current task; comm's bytes as the guest wrote them."""
        address = self.current_task(cpu)
        if not address:
            return None
        pid = self.layout.field("task_struct", "pid")
        comm = self.layout.field("task_struct", "comm")
        if pid is None or comm is None:
            return None
        start = min(pid[0], comm[0])
        end = max(pid[0] + pid[1], comm[0] + comm[1])
        try:
            block = self.memory.read(address + start, end - start)
        except Unreadable:
            return None
        name = block[comm[0] - start :][: comm[1]].split(b"\0")[0]
        number = block[pid[0] - start :][: pid[1]]
        return {
            "pid": int.from_bytes(number, "little", signed=True),
            "comm": name.decode("utf-8", "replace"),
        }

    def guest_ns(self) -> Optional[int]:
        """CLOCK_MONOTONIC at the guest's last timekeeping update, in ns.

        As fine as the tick, not finer: the cycles since then are in the TSC, which the
        stub does not give (kernel/time/timekeeping.c, timekeeping_get_ns()).
        """
        fields = [
            self.layout.field("tk_read_base", name) for name in ("shift", "xtime_nsec", "base")
        ]
        if self._clock is None or None in fields:
            return None
        start = min(field[0] for field in fields if field)
        end = max(field[0] + field[1] for field in fields if field)
        try:
            block = self.memory.read(self._clock + start, end - start)
        except Unreadable:
            return None
        shift, nsec, base = (
            int.from_bytes(block[field[0] - start :][: field[1]], "little")
            for field in fields
            if field
        )
        return base + (nsec >> shift)
