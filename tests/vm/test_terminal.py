"""Commands in a terminal, driven by pexpect; and a debugger from outside."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from pathlib import Path

import pexpect
import pytest
from command import kernlab

from kernlab.image.model import Image
from kernlab.kernel.model import Kernel

PROMPT = r"kernlab:[^#]*# "


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("leave", ["poweroff", "escape"])
def test_boot_gives_a_shell_and_gives_the_terminal_back(
    kernel: Kernel, image: Image, tmp_path: Path, leave: str
) -> None:
    boot = f"{shlex.join(kernlab('boot'))}; echo status=$?"
    script = f"stty -a > {tmp_path}/before; {boot}; stty -a > {tmp_path}/after"
    child = pexpect.spawn("sh", ["-c", script], timeout=60, encoding="utf-8")
    child.expect(f"Linux version {re.escape(kernel.release)}")
    child.expect(PROMPT)
    child.sendline("echo $((6*7)); command -v ip")
    child.expect("\r\n42\r\n")
    child.expect("/usr/sbin/ip")
    child.expect(PROMPT)
    if leave == "poweroff":
        child.sendline("poweroff")
    else:
        child.send("\x1d")
    child.expect("status=0")
    child.expect(pexpect.EOF)
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()


def test_a_debugger_from_outside_starts_a_waiting_guest(kernel: Kernel, image: Image) -> None:
    port = free_port()
    program, *argv = kernlab("boot", "--gdb-port", str(port), "--wait")
    child = pexpect.spawn(program, argv, timeout=60, encoding="utf-8")
    child.expect("waits for the debugger")
    gdb = subprocess.run(
        [
            "gdb",
            "-nx",
            "-q",
            "-batch",
            str(kernel.vmlinux),
            "-ex",
            f"target remote 127.0.0.1:{port}",
            "-ex",
            "hbreak start_kernel",
            "-ex",
            "continue",
            "-ex",
            "bt",
            "-ex",
            "delete",
            "-ex",
            "detach",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "start_kernel ()" in gdb.stdout, gdb.stdout + gdb.stderr
    child.expect(PROMPT)
    child.send("\x1d")
    child.expect(pexpect.EOF)


def test_ssh_comes_in_with_the_keys_of_the_run(kernel: Kernel, tmp_path: Path) -> None:
    program, *argv = kernlab("boot", "--image", "debian", "--ssh")
    child = pexpect.spawn(program, argv, timeout=240, encoding="utf-8")
    child.expect(r"ssh: (ssh -F (\S+) kernlab)")
    ssh, config = shlex.split(child.match[1]), child.match[2]
    sent = tmp_path / "sent"
    sent.write_text("by scp\n")
    subprocess.run(
        ["scp", "-q", "-B", "-F", config, str(sent), "kernlab:/tmp/"], check=True, timeout=60
    )
    said = subprocess.run(
        [*ssh, "uname -r; id -un; cat /tmp/sent"], capture_output=True, text=True, timeout=60
    )
    assert said.stdout == f"{kernel.release}\nroot\nby scp\n", said.stderr
    child.send("\x1d")
    child.expect(pexpect.EOF)


def test_a_trace_on_a_terminal_fits_it(kernel: Kernel, image: Image) -> None:
    program, *argv = kernlab("trace", "tcp_v4_rcv", "--count", "3")
    child = pexpect.spawn(program, argv, timeout=60, encoding="utf-8", dimensions=(40, 80))
    child.expect(pexpect.EOF)
    assert "connection 1" in child.before
    assert "SYN-ACK" in child.before
    child.close()
    assert child.exitstatus == 0


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_the_moving_picture_moves_where_a_terminal_can(
    kernel: Kernel, image: Image, terminal: str
) -> None:
    """In a dumb one there are lines, as where there is no terminal."""
    program, *argv = kernlab("trace", "tcp_v4_rcv", "--count", "6", "--live")
    child = pexpect.spawn(
        program,
        argv,
        timeout=60,
        encoding="utf-8",
        dimensions=(40, 80),
        env={**os.environ, "TERM": terminal},
    )
    child.expect(pexpect.EOF)
    moves = "\x1b[1A" in child.before
    assert moves == (terminal == "xterm")
    assert ("6 events" in child.before, "connection 1" in child.before) == (moves, not moves)
    assert "run       " in child.before
    child.close()
    assert child.exitstatus == 0
