"""What a machine is to be, and the QEMU command line that says so.

``arguments`` is a pure function: the same spec gives the same argv. Sockets are
listened on by kernlab before QEMU starts and handed over as file descriptors, so
that a connection made at any time after that succeeds: nobody polls for a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kernlab.decode.arch import ARCH

Network = Literal["closed", "open", "none"]
ShareModel = Literal["mapped-xattr", "mapped-file"]
# What QEMU itself may no longer do once the guest runs (qemu(1), -sandbox).
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
SOCKETS = ("qmp", "gdb", "console", "channel")


@dataclass(frozen=True)
class MachineSpec:
    """One machine. ``memory`` in MiB; ``gdb_port`` replaces the gdb socket by 127.0.0.1:port;
    ``disks`` are /dev/vda and on, raw and never written. ``network``: ``closed`` leads to the
    guest and nowhere else, ``open`` also to the host's loopback and what the host reaches.
    ``share_model``: where QEMU keeps what the host's file system shall not have (owners,
    set-user-ID bits, device nodes, links). ``incoming``: it does not boot but waits for a saved
    guest, by the monitor's migrate-incoming. ``sandbox``: this QEMU has seccomp."""

    bzimage: Path
    initramfs: Path
    share: Path
    console_log: Path
    accelerator: str = "tcg"
    cpus: int = 2
    memory: int = 512
    gdb_port: int | None = None
    wait: bool = False
    network: Network = "closed"
    share_model: ShareModel = "mapped-xattr"
    sandbox: bool = True
    append: tuple[str, ...] = field(default=())
    disks: tuple[Path, ...] = ()
    incoming: bool = False


def command_line(spec: MachineSpec) -> str:
    """The kernel's command line.

    ``nokaslr``: symbols in vmlinux are the addresses in the guest. ``panic=-1``:
    reboot at once on a panic, which ``-no-reboot`` turns into QEMU's exit. Stall
    warnings are off because a vCPU held by a debugger is no stall.
    Each line on the emulated UART costs the guest about a millisecond under TCG;
    ``loglevel=4`` keeps warnings, errors and panics.
    """
    words = [
        f"console={ARCH.console}",
        "nokaslr",
        "panic=-1",
        "loglevel=4",
        "rcupdate.rcu_cpu_stall_suppress=1",
        *ARCH.boot_words,
        "dummy.numdummies=0",
        *spec.append,
    ]
    return " ".join(words)


def _machine(spec: MachineSpec) -> list[str]:
    cpu = "host" if spec.accelerator == "kvm" else ARCH.cpu
    accel = "tcg,thread=multi" if spec.accelerator == "tcg" else spec.accelerator
    return [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-machine",
        ARCH.machine,
        "-accel",
        accel,
        "-cpu",
        cpu,
        "-smp",
        str(spec.cpus),
        "-m",
        str(spec.memory),
    ]


def _sandbox(spec: MachineSpec) -> list[str]:
    return ["-sandbox", SANDBOX] if spec.sandbox else []


def _boot(spec: MachineSpec) -> list[str]:
    return [
        "-kernel",
        str(spec.bzimage),
        "-initrd",
        str(spec.initramfs),
        "-append",
        command_line(spec),
    ]


def _listening(name: str, fds: Mapping[str, int], extra: str = "") -> list[str]:
    return ["-chardev", f"socket,id={name},fd={fds[name]},server=on,wait=off{extra}"]


def _console(spec: MachineSpec, fds: Mapping[str, int]) -> list[str]:
    log = f",logfile={_escape(spec.console_log)},logappend=off"
    return [*_listening("console", fds, log), "-serial", "chardev:console"]


def _channel(fds: Mapping[str, int]) -> list[str]:
    return [
        "-device",
        "virtio-serial-pci,max_ports=2",
        *_listening("channel", fds),
        "-device",
        "virtserialport,chardev=channel,name=kernlab",
    ]


def _qmp(fds: Mapping[str, int]) -> list[str]:
    return [*_listening("qmp", fds), "-mon", "chardev=qmp,mode=control"]


def _gdbstub(spec: MachineSpec, fds: Mapping[str, int]) -> list[str]:
    stopped = ["-S"] if spec.wait else []
    if spec.gdb_port is not None:
        return ["-gdb", f"tcp:127.0.0.1:{spec.gdb_port}", *stopped]
    return [*_listening("gdb", fds), "-gdb", "chardev:gdb", *stopped]


def _share(spec: MachineSpec) -> list[str]:
    where = _escape(spec.share)
    return [
        "-fsdev",
        f"local,id=share,path={where},security_model={spec.share_model},multidevs=remap",
        "-device",
        "virtio-9p-pci,fsdev=share,mount_tag=share",
    ]


def _rng() -> list[str]:
    return [
        "-object",
        "rng-random,id=rng,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=rng",
    ]


def _network(spec: MachineSpec) -> list[str]:
    if spec.network == "none":
        return ["-nic", "none"]
    # With restrict=on libslirp answers a SYN to anywhere with a RST, and drops other packets
    # (tcp_input.c, udp.c); what comes in by a host forward is let through.
    closed = ",restrict=on" if spec.network == "closed" else ""
    # No option ROM: nobody boots from the network, and loading it costs firmware time.
    return ["-netdev", f"user,id=net{closed}", "-device", "virtio-net-pci,netdev=net,romfile="]


def _disks(spec: MachineSpec) -> list[str]:
    """Read-only and not locked: any number of machines use one image file."""
    words = []
    for number, path in enumerate(spec.disks):
        words += [
            "-blockdev",
            f"driver=raw,node-name=disk{number},read-only=on,file.driver=file,"
            f"file.locking=off,file.filename={_escape(path)}",
            "-device",
            f"virtio-blk-pci,drive=disk{number}",
        ]
    return words


def _escape(path: Path) -> str:
    """A path inside a QEMU option list, where a comma is written twice."""
    return str(path).replace(",", ",,")


def arguments(qemu: str, spec: MachineSpec, fds: Mapping[str, int]) -> list[str]:
    """QEMU's argv. ``fds`` has a listening socket's descriptor for each of ``SOCKETS``."""
    return [
        qemu,
        *_sandbox(spec),
        *_machine(spec),
        *_boot(spec),
        *_console(spec, fds),
        *_channel(fds),
        *_qmp(fds),
        *_gdbstub(spec, fds),
        *_share(spec),
        *_rng(),
        *_network(spec),
        *_disks(spec),
        *(["-incoming", "defer", "-S"] if spec.incoming else []),
    ]
