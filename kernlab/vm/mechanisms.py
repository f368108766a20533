"""What kernlab relies on of an accelerator, tried on a real guest one by one.

A guest that boots proves little: KVM has been seen to boot and not to stop at a watchpoint.
Each mechanism is used as the engines use it, and its outcome is compared with what the guest's
kernel counted itself. ``kernlab.vm.accel`` remembers what was seen; a command names what it needs.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kernlab.decode.arch import trampoline
from kernlab.errors import KernlabError, MachineFailed
from kernlab.vm.machine import Machine, start
from kernlab.vm.spec import MachineSpec
from kernlab.vm.stub import SOFT, WATCH, Stub

VERSION = 1  # of these tests: what another one saw is not believed
BOOT, BREAK, STOP, HOLD, RESTORE = "boot", "breakpoint", "watchpoint", "hold", "restore"
TITLES = {
    BOOT: "a guest boots and takes commands",
    BREAK: "each call of a function stops at a breakpoint",
    STOP: "each call of a function stops at the trampoline's watchpoint",
    HOLD: "one vCPU is stopped while the other runs",
    RESTORE: "a guest that was saved to a file runs on in another QEMU",
}
_CONNECTIONS = 12  # connections to a closed port; each is a SYN and a RST
_TRIES = 3  # moments at which one vCPU is held
_TURNS = 6  # stops of the vCPU that runs while the other is held
_CALM = 1.0  # seconds without a stop after which the load is asked whether it has ended
# Refused connections from both vCPUs at once. The port is closed: SYN and RST, no retransmission.
_LOAD = (
    "for c in 1 2; do taskset $c sh -c 'i=0; while [ $i -lt {count} ]; do "
    "wget -q -O /dev/null http://127.0.0.1:9/; i=$((i+1)); done' 2>/dev/null & done; wait"
)
_BUSY = "for c in 1 2; do taskset $c sh -c 'while :; do echo; done' >/dev/null & done"


@dataclass(frozen=True)
class Places:
    """Addresses in the kernel: ``segment`` is called once for each TCP segment that comes in
    (tcp_v4_rcv, counted as InSegs), ``call`` by every write(2) (vfs_write); the others as
    ``kernlab.symbols.holes`` gives them, None where a kernel has none."""

    segment: int
    call: int
    code: int | None
    watch: int | None
    lock: int | None


class NotHere(MachineFailed):
    """This kernel has not what the test needs; of the accelerator that says nothing."""


def examine(
    spec: MachineSpec,
    places: Places,
    limit: float,
    heard: Callable[[str], None] = lambda name: None,
) -> dict[str, str]:
    """Mechanism → what is wrong with it, "" for nothing; without what this kernel cannot be asked
    for. ``spec`` has no directories of its
    own; ``limit``: seconds for each wait. ``heard`` is told which one is tried."""
    found: dict[str, str] = {}
    tests = [(BREAK, _breakpoint), (STOP, _watchpoint), (HOLD, _hold)]
    while tests or BOOT not in found:
        heard(BOOT)
        with tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
            try:
                with _booted(spec, Path(scratch), limit) as machine:
                    found[BOOT] = ""
                    while tests:
                        name, test = tests.pop(0)
                        heard(name)
                        try:
                            found[name] = _said(test, machine, places, limit)
                        except NotHere:
                            break
                        if found[name]:
                            break  # that guest may stand anywhere
            except (KernlabError, OSError) as error:
                if not found:
                    why = _words(error)
                    return {**dict.fromkeys(TITLES, f"no guest boots: {why}"), BOOT: why}
    heard(RESTORE)
    found[RESTORE] = _restore(spec, places, limit)
    return found


def _said(
    test: Callable[[Machine, Places, float], None], machine: Machine, places: Places, limit: float
) -> str:
    try:
        test(machine, places, limit)
    except NotHere:
        raise
    except (KernlabError, OSError) as error:
        return _words(error)
    return ""


def _words(error: KernlabError | OSError) -> str:
    if isinstance(error, KernlabError):
        return error.what
    return error.strerror or str(error) or "no answer"


@contextmanager
def _booted(spec: MachineSpec, scratch: Path, limit: float) -> Iterator[Machine]:
    share = scratch / "share"
    share.mkdir()
    own = replace(spec, share=share, console_log=scratch / "console.log")
    with start(own, scratch) as machine:
        machine.wait_ready(silent_wall=limit)
        if machine.channel.run(limit, ["true"]).returncode != 0:
            raise MachineFailed("the guest takes no command", "", "kernlab doctor")
        yield machine


def _wrong(what: str) -> MachineFailed:
    return MachineFailed(what, "", "kernlab doctor")


# -- stops, counted against the kernel's own count --------------------------------------


def _segments(machine: Machine, limit: float) -> int:
    """TCP segments that came in, as /proc/net/snmp counts them."""
    lines = [
        line.split()
        for line in machine.channel.run(
            limit, ["grep", "^Tcp:", "/proc/net/snmp"]
        ).text.splitlines()
    ]
    return int(dict(zip(*lines, strict=True))["InSegs"])


def _counted(
    machine: Machine,
    limit: float,
    plant: Callable[[Stub], None],
    stop: Callable[[Stub, int], bool],
    pull: Callable[[Stub], None],
) -> None:
    """Plant, make segments flow, and compare the stops with the kernel's count."""
    before = _segments(machine, limit)
    hits, quiet = 0, 0.0
    with Stub(machine.gdb_socket, limit) as stub:
        plant(stub)
        load = machine.channel.start(["sh", "-c", _LOAD.format(count=_CONNECTIONS)])
        stub.go()
        while (vcpu := stub.stopped(_CALM)) is not None or not load.done():
            if vcpu is None:
                quiet += _CALM
                if quiet > limit:
                    raise _wrong("the guest hangs after stops")
                continue
            quiet = 0.0
            if not stop(stub, vcpu):
                raise _wrong("the guest stops where nothing was planted")
            hits += 1
            if hits > 100 * _CONNECTIONS:
                raise _wrong("the guest stops without end")
            stub.go()
        stub.stop()
        pull(stub)
        stub.leave()
    said = _segments(machine, limit) - before
    if hits == 0:
        raise _wrong("no call stops")
    if hits != said or said < 4 * _CONNECTIONS:
        raise _wrong(f"{hits} stops where the kernel counted {said} segments")


def _breakpoint(machine: Machine, places: Places, limit: float) -> None:
    at = places.segment

    def stop(stub: Stub, vcpu: int) -> bool:
        if stub.registers(vcpu)[0] != at:
            return False
        stub.over(at, vcpu)
        return True

    _counted(machine, limit, lambda s: s.plant(SOFT, at), stop, lambda s: s.pull(SOFT, at))


def _watchpoint(machine: Machine, places: Places, limit: float) -> None:
    at, place, watch, lock = places.segment, places.code, places.watch, places.lock
    if place is None or watch is None or lock is None:
        raise NotHere("this kernel has no room for the trampoline")
    kept = b""

    def plant(stub: Stub) -> None:
        nonlocal kept
        kept = stub.read(at, trampoline.CALL_SIZE)
        if kept not in trampoline.NOPS:
            raise NotHere("the function's entry is no NOP")
        stub.write(place, trampoline.code(lock, watch))
        stub.plant(WATCH, watch)
        stub.write(at, trampoline.entry(at, place))

    def stop(stub: Stub, vcpu: int) -> bool:
        pc, sp = stub.registers(vcpu)
        back = int.from_bytes(stub.read(sp + trampoline.RETURN_AT, 8), "little")
        return pc == place + trampoline.STOPPED_AT and back == at + trampoline.CALL_SIZE

    def pull(stub: Stub) -> None:
        stub.write(at, kept)
        stub.pull(WATCH, watch)

    _counted(machine, limit, plant, stop, pull)


# -- one vCPU alone ---------------------------------------------------------------------


def _hold(machine: Machine, places: Places, limit: float) -> None:
    at = places.call
    machine.channel.run(limit, ["sh", "-c", _BUSY])
    with Stub(machine.gdb_socket, limit) as stub:
        stub.plant(SOFT, at)
        # A vCPU may be held where the other has to wait for it: then another moment is taken.
        if not any(
            _runs_alone(stub, at, _both_stop(stub, at, limit), limit / _TRIES)
            for _ in range(_TRIES)
        ):
            raise _wrong("a vCPU does not run alone")
        stub.pull(SOFT, at)
        stub.leave()


def _runs_alone(stub: Stub, at: int, held: int, seconds: float) -> bool:
    """Whether the other vCPU runs and stops while one is held. Raises ``MachineFailed`` when
    the held one moves."""
    other = 3 - held
    stands = stub.registers(held)
    for _ in range(_TURNS):
        if stub.registers(other)[0] == at:
            stub.over(at, other)
        stub.go(other)
        stopped = stub.stopped(seconds)
        if stopped is None:
            stub.stop()
            stub.over(at, held)
            return False
        if stopped != other or stub.registers(held) != stands:
            raise _wrong("the vCPU that is held runs")
    return True


def _both_stop(stub: Stub, at: int, limit: float) -> int:
    """Let all run until each vCPU has stopped at a place; the one that stands there now."""
    seen: set[int] = set()
    until = time.monotonic() + limit  # one may stop many times in a row
    while time.monotonic() < until:
        stub.go()
        vcpu = stub.stopped(limit)
        if vcpu is None:
            raise _wrong("no call stops")
        if stub.registers(vcpu)[0] != at:
            raise _wrong("the guest stops where nothing was planted")
        seen.add(vcpu)
        if len(seen) == 2:
            return vcpu
        stub.over(at, vcpu)
    raise _wrong("one vCPU does nothing")


# -- saved and restored -----------------------------------------------------------------


def _restore(spec: MachineSpec, places: Places, limit: float) -> str:
    """Save a guest that works on both vCPUs, and see both work in another QEMU."""
    try:
        with tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
            first, second = Path(scratch, "1"), Path(scratch, "2")
            first.mkdir()
            (second / "share").mkdir(parents=True)
            with _booted(spec, first, limit) as machine:
                # A mounted 9p share blocks a migration, in every QEMU.
                machine.channel.run(limit, ["umount", "/mnt/share"])
                machine.channel.run(limit, ["sh", "-c", _BUSY])
                _save(machine, Path(scratch, "state"), Path(scratch, "s"), limit)
            own = replace(
                spec, share=second / "share", console_log=second / "console.log", incoming=True
            )

            def restored(machine: Machine, places: Places, limit: float) -> None:
                _load(machine, Path(scratch, "state"), Path(scratch, "l"), limit)
                machine.qmp.execute("cont")
                with Stub(machine.gdb_socket, limit) as stub:
                    stub.plant(SOFT, places.call)
                    _both_stop(stub, places.call, limit)

            with start(own, second) as machine:
                return _said(restored, machine, places, limit)
    except (KernlabError, OSError) as error:
        return _words(error)


def _save(machine: Machine, state: Path, path: Path, limit: float) -> None:
    """QEMU may start no program (-sandbox), so the stream comes by a socket of ours."""
    with socket.socket(socket.AF_UNIX) as listening, state.open("wb") as file:
        listening.bind(str(path))
        listening.listen(1)
        listening.settimeout(limit)
        machine.qmp.execute("stop")
        machine.qmp.execute("migrate", uri=f"unix:{path}")
        stream, _ = listening.accept()
        with stream:
            stream.settimeout(limit)
            while data := stream.recv(1 << 18):
                file.write(data)
    _migrated(machine, limit)


def _load(machine: Machine, state: Path, path: Path, limit: float) -> None:
    machine.qmp.execute("migrate-incoming", uri=f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as stream, state.open("rb") as file:
        stream.settimeout(limit)
        stream.connect(str(path))
        with suppress(BrokenPipeError):  # it has what it wants
            stream.sendfile(file)
    _migrated(machine, limit)


def _migrated(machine: Machine, limit: float) -> None:
    for _ in range(int(limit / 0.05)):
        status = machine.qmp.execute("query-migrate").get("status")
        if status == "completed":
            return
        if status == "failed":
            break
        threading.Event().wait(0.05)
    raise _wrong("QEMU does not save a guest, or not restore it")
