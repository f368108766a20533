"""``kernlab run -- CMD``: one command in a fresh guest."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import typer

from kernlab.cli import common
from kernlab.cli.bootoptions import BootOptions, boot_options

if TYPE_CHECKING:
    from kernlab.progress import Reporter
    from kernlab.vm.channel import GuestProcess, Sink
    from kernlab.vm.machine import Machine

_GRACE = 5.0  # seconds that a command has to end after a signal

app = typer.Typer(add_completion=False)


@app.command("run", context_settings={"ignore_unknown_options": False})
@boot_options()
def run(
    command: list[str] = typer.Argument(..., metavar="CMD...", help="After --: what to run."),
    timeout: float | None = typer.Option(
        None, "--timeout", metavar="S", help="Kill it after S seconds."
    ),
    out: common.OutOption = None,
    *,
    boot: BootOptions,
) -> int:
    """Boot a guest, run CMD in it with this stdin, stdout and stderr, exit with its status.

    Status 125: kernlab itself failed. The run directory's share/ is /mnt/share in the guest.
    """
    from kernlab.cli.again import next_line
    from kernlab.cli.output import reporter
    from kernlab.pipeline import machine_for, wait_ready
    from kernlab.progress import Said
    from kernlab.trace import never

    with reporter() as report:
        setting = boot.setting(report, out)
        directory = setting.run
        with machine_for(setting) as machine:
            wait_ready(machine, report)
            said = _Last()
            status = _run(machine, command, timeout, report, said)
            directory.result(status=status)
            if status in never.SHELL:
                absent = never.by_shell(said.text, boot.image, directory.share)
                if absent is not None:
                    step = next_line(absent.next_step, sys.argv[1:])
                    report(Said(f"{absent.why}\nnext: {step}"))
    return status


class _Last:
    """A command's stderr on to ours, and its last bytes."""

    def __init__(self) -> None:
        self._bytes = b""

    def __call__(self, data: bytes) -> None:
        self._bytes = (self._bytes + data)[-4096:]
        common.write(2, data)

    @property
    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace")


def _run(
    machine: Machine, command: list[str], timeout: float | None, report: Reporter, on_stderr: Sink
) -> int:
    from kernlab.cli import ends
    from kernlab.errors import Ended, MachineFailed
    from kernlab.progress import Said

    process = machine.channel.start(
        command,
        stdin=True,
        on_stdout=lambda data: common.write(1, data),
        on_stderr=on_stderr,
    )
    threading.Thread(target=_feed, args=(process,), name="stdin", daemon=True).start()
    try:
        status = process.wait(timeout)
    except TimeoutError as error:
        process.signal(9)
        raise MachineFailed(
            f"the command was killed: it still ran after {timeout:g} s",
            "",
            f"--timeout {2 * (timeout or 0):g}",
        ) from error
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Ended) else signal.SIGINT
        ended = process.end(number, _GRACE)
        if ended is None:
            name = signal.Signals(number).name
            report(Said(f"the command was killed: it did not end after {name}"))
            return 130
        return ended
    if process.refused is not None and not ends.reader_gone(process.refused):
        raise process.refused
    return status


def _feed(process: GuestProcess) -> None:
    """This process' stdin to the command's, until either ends."""
    from kernlab.errors import KernlabError

    try:
        while data := os.read(sys.stdin.fileno(), 65536):
            if not process.write(data, timeout=3600.0):
                return
        process.close_stdin()
    except (KernlabError, OSError, ValueError):
        return  # the machine is gone: whoever waits for the command says so
