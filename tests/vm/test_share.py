"""A hostile guest in a real machine: what it makes in the share, and whom it reaches."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psutil
import pytest

from kernlab.process import run
from kernlab.vm import share as shares
from kernlab.vm.machine import Machine
from kernlab.vm.needs import has_sandbox, require_qemu
from kernlab.vm.spec import SANDBOX

Booted = Callable[..., AbstractContextManager[Machine]]

_HOSTILE = r"""cd /mnt/share && ln -s /etc/shadow link && ln -s /dev/zero .capture.pcap &&
mkdir d && ln -s .. d/up && mknod block b 8 0 && mknod char c 1 5 && mkfifo pipe &&
cp /bin/busybox su && chown 1000:1000 su && chmod 6755 su &&
printf '#!/bin/sh\necho ran\n' >script && chmod +x script && ./script &&
readlink link && stat -c '%a %u %F' su char pipe link && ./su true 2>/dev/null; ls -A | wc -l
"""


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A service on this host's loopback, and what it was sent."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    peer, _ = server.accept()
                except OSError:  # nobody yet, or it is over
                    continue
                with peer:
                    peer.settimeout(5)
                    got.append(peer.recv(100))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], got
        over.set()
        thread.join(10)


def reach(machine: Machine, address: str, port: int) -> str:
    """What connect() in the guest gives."""
    script = f"echo hello | nc -w 10 {address} {port}"
    return machine.channel.run(30, ["sh", "-c", script]).stderr.decode()


def host_side(machine: Machine) -> None:
    """Nothing but plain files and directories of ours lies on the host."""
    for place, folders, names in os.walk(machine.spec.share):
        for name in (*folders, *names):
            found = os.lstat(os.path.join(place, name))
            assert stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode), name
            assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID), name
            assert found.st_uid == os.geteuid(), name


def test_a_guest_leaves_plain_files_and_reaches_nobody(booted: Booted) -> None:
    with listening() as (port, got), booted() as machine:
        said = machine.channel.run(30, ["sh", "-c", _HOSTILE])
        lines = said.text.splitlines()
        assert lines[:2] == ["ran", "/etc/shadow"], said.stderr
        assert lines[2:6] == [
            "6755 1000 regular file",
            "644 0 character special file",
            "644 0 fifo",
            "777 0 symbolic link",
        ]
        assert lines[-1] == "8"
        host_side(machine)
        for name in ("link", ".capture.pcap", "d/up"):
            assert b"root" not in (shares.text(machine.spec.share, name) or "").encode()
        # The emulated network answers with a RST, at once: the host's own services, its other
        # names, and the world outside.
        machine.channel.run(10, ["ip", "addr", "add", "fec0::15/64", "dev", "eth0", "nodad"])
        for address in ("10.0.2.2", "192.0.2.1", "fec0::2"):
            assert "refused" in reach(machine, address, port), address
        machine.channel.run(10, ["sh", "-c", f"echo x >/dev/udp/10.0.2.2/{port}"])
        assert got == []
        # A forward that the host asked for comes in all the same.
        machine.channel.start(["sh", "-c", "echo in | nc -l -p 2222"])
        machine.channel.run(20, ["sh", "-c", "until ss -ltn | grep -q ':2222 '; do :; done"])
        with socket.create_connection(("127.0.0.1", machine.forward(2222)), 10) as peer:
            peer.settimeout(30)
            assert peer.recv(10) == b"in\n"


def test_network_open_and_a_file_system_without_attributes(
    booted: Booted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "model", lambda share: "mapped-file")
    with listening() as (port, got), booted(network="open") as machine:
        said = machine.channel.run(30, ["sh", "-c", _HOSTILE])
        assert said.text.splitlines()[:3] == ["ran", "/etc/shadow", "6755 1000 regular file"]
        host_side(machine)
        assert "refused" not in reach(machine, "10.0.2.2", port)
    assert got == [b"hello\n"]


def test_qemu_is_in_a_cage(booted: Booted) -> None:
    """seccomp's filter is on every thread of QEMU; a QEMU without seccomp is told from one with."""
    assert has_sandbox()
    with booted() as machine:
        assert machine.argv[machine.argv.index("-sandbox") + 1] == SANDBOX
        for thread in psutil.Process(machine.child.pid).threads():
            with open(f"/proc/{machine.child.pid}/task/{thread.id}/status") as file:
                assert "\nSeccomp:\t2\n" in file.read()
    # An option that this QEMU does not take ends it, as -sandbox does where it was built without.
    assert run(20, [require_qemu(), "-sandbox", "on,x=deny", "-version"], check=False).returncode
