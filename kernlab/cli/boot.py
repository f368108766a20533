"""``kernlab boot``: the guest's console in this terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kernlab.cli import common

if TYPE_CHECKING:
    from kernlab.vm.machine import Machine

app = typer.Typer(add_completion=False)
_SSHD = 60.0  # seconds; host keys under TCG take some


@app.command("boot")
def boot(
    gdb_port: int | None = typer.Option(
        None,
        "--gdb-port",
        min=1,
        max=65535,
        metavar="N",
        help="QEMU's gdbstub on 127.0.0.1:N, for a debugger of your own (QEMU's -gdb).",
    ),
    wait: bool = typer.Option(False, "--wait", help="Do not start before a debugger says so (-S)."),
    ssh: Path | None = typer.Option(
        None, "--ssh", metavar="KEY.pub", exists=True, dir_okay=False,
        help="Start sshd on a port of 127.0.0.1, for who has this key (--image debian).",
    ),
    kernel: str | None = common.KERNEL,
    image: str = common.IMAGE,
    add: list[str] = common.ADD,
    share: list[Path] = common.SHARE,
    cpus: int = common.CPUS,
    memory: int = common.MEMORY,
) -> int:  # fmt: skip
    """Boot the guest, its console in this terminal. Ctrl-] ends it, as does poweroff."""
    from kernlab.cli.output import reporter
    from kernlab.pipeline import MachineOptions, machine_for
    from kernlab.progress import Said
    from kernlab.vm.terminal import join

    options = MachineOptions(cpus, memory, gdb_port, wait, ("loglevel=7",))
    with reporter() as report:
        built, guest = common.artifacts(kernel, image, add, report)
        run = common.new_run()
        common.bring(share, run)
        for line in _hints(built.path, gdb_port, wait, str(run.path)):
            report(Said(line))
    with machine_for(run, built, guest, options) as machine:
        if not wait:
            machine.console.follow(lambda data: _write(data))
            machine.wait_ready()
            if ssh is not None:
                port = _sshd(machine, ssh)
                sys.stderr.write(f"\r\nssh -p {port} root@127.0.0.1\r\n")
        left = join(machine.console.detach(), lambda: machine.child.poll() is None)
        if left:
            sys.stderr.write("\r\nleft; the machine is ended\r\n")
            return 0
        machine.ended()
    return 0


def _sshd(machine: Machine, key: Path) -> int:
    """Start the guest's sshd for one public key; the port of 127.0.0.1 that leads to it."""
    from kernlab.errors import BadInput

    script = (
        "command -v sshd >/dev/null || exit 127; umask 077; mkdir -p /root/.ssh /run/sshd; "
        "cat > /root/.ssh/authorized_keys; ssh-keygen -A >/dev/null; exec /usr/sbin/sshd"
    )
    said = machine.channel.run(_SSHD, ["sh", "-c", script], input=key.read_bytes())
    if said.returncode != 0:
        why = said.stderr.decode("utf-8", "replace").strip() or "this image has none"
        raise BadInput("--ssh: the guest does not start sshd", why,
                       f"kernlab boot --image debian --ssh {key}")  # fmt: skip
    return machine.forward(22)


def _hints(path: object, gdb_port: int | None, wait: bool, run: str) -> list[str]:
    lines = [f"Ctrl-] ends the machine; its run directory is {run}"]
    if gdb_port is not None:
        lines.append(f"gdb {path}/vmlinux -ex 'target remote 127.0.0.1:{gdb_port}'")
        if wait:
            lines.append("the guest waits for the debugger: continue starts it")
    return lines


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
