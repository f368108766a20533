"""``kernlab boot``: the guest's console in this terminal."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

import typer

from kernlab.cli import common
from kernlab.cli.bootoptions import BootOptions, boot_options

app = typer.Typer(add_completion=False)


@app.command("boot")
@boot_options()
def boot_guest(
    gdb_port: int | None = typer.Option(
        None,
        "--gdb-port",
        min=1,
        max=65535,
        metavar="N",
        help="QEMU's gdbstub on 127.0.0.1:N, for a debugger of your own (QEMU's -gdb).",
    ),
    wait: bool = typer.Option(
        False, "--wait", help="Wait for a debugger before the guest starts (QEMU's -S)."
    ),
    ssh: bool = typer.Option(
        False, "--ssh", help="Allow ssh and scp from 127.0.0.1; needs --image debian."
    ),
    *,
    boot: BootOptions,
) -> int:
    """Boot a guest with its console in this terminal. Ctrl-] stops it, and so does poweroff."""
    from kernlab.cli.output import reporter
    from kernlab.pipeline import machine_for
    from kernlab.progress import Said, quiet
    from kernlab.vm.ssh import open_door, require_ssh
    from kernlab.vm.terminal import join

    if ssh:
        _check_ssh(boot.image, wait)
        require_ssh()
    with reporter() as report:
        setting = boot.setting(report)
        run = setting.run
        for line in _hints(setting.kernel.path, gdb_port, wait, str(run.path)):
            report(Said(line))
    options = replace(setting.options, gdb_port=gdb_port, wait=wait, append=("loglevel=7",))
    with machine_for(replace(setting, options=options, report=quiet)) as machine:
        if not wait:
            machine.console.follow(lambda data: _write(data))
            machine.wait_ready()
            if ssh:
                _write(f"\r\nssh: {open_door(machine, run.path)}\r\n".encode())
        left = join(machine.console.detach(), lambda: machine.child.poll() is None)
        if left:
            sys.stderr.write("\r\nthe machine was stopped\r\n")
            return 0
        machine.ended()
    return 0


def _check_ssh(image: str, wait: bool) -> None:
    from kernlab.errors import BadInput

    if image != "debian":
        raise BadInput(f"--ssh: the image {image} has no sshd", "", "--image debian")
    if wait:
        raise BadInput(
            "--ssh cannot be used with --wait",
            "the guest waits for a debugger and does not boot, so nobody can log in",
            "without --wait",
        )


def _hints(path: object, gdb_port: int | None, wait: bool, run: str) -> list[str]:
    lines = [f"Ctrl-] stops the machine; its run directory is {run}"]
    if gdb_port is not None:
        lines.append(f"gdb {path}/vmlinux -ex 'target remote 127.0.0.1:{gdb_port}'")
        if wait:
            lines.append("the guest waits for the debugger; `continue` starts it")
    return lines


def _write(data: bytes) -> None:
    """The console on to stdout; called in the thread that reads it, which nobody joins."""
    try:
        common.write(1, data)
    except OSError:
        os.kill(os.getpid(), signal.SIGTERM)
