"""GDB over MI on a real stub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil

from kernlab.debugger.mi import Gdb
from kernlab.kernel.model import Kernel
from kernlab.symbols.system_map import SystemMap
from kernlab.vm.machine import Machine

Booted = Callable[..., AbstractContextManager[Machine]]


@contextmanager
def held_up(machine: Machine, seconds: float) -> Iterator[None]:
    """QEMU does nothing for so long from here on, as on a host that has other things to do."""
    qemu = psutil.Process(machine.child.pid)
    qemu.suspend()
    timer = threading.Timer(seconds, qemu.resume)
    timer.start()
    yield
    timer.join()


def test_a_stub_that_answers_late_is_waited_for(
    kernel: Kernel, booted: Booted, tmp_path: Path
) -> None:
    """GDB's own patience is two seconds; then it asks again, takes the first of two answers,
    and the second for the answer to what it asks next."""
    at = SystemMap(kernel.system_map).all["linux_banner"]
    said = b"Linux version " + kernel.release.encode()

    def banner(offset: int) -> bytes:
        read = f"-data-read-memory-bytes {at + offset} {len(said) - offset}"
        (block,) = gdb.command(read, 30.0)["memory"]
        return bytes.fromhex(block["contents"])

    with booted() as machine:
        gdb = Gdb(tmp_path / "mi.log")
        try:
            with held_up(machine, 4.0):
                gdb.command(f"-target-select remote {machine.gdb_socket}", 30.0)
            assert banner(0) == said
            with held_up(machine, 4.0):
                assert banner(1) == said[1:]
            for offset in range(2, len(said)):
                assert banner(offset) == said[offset:]
        finally:
            gdb.close()
