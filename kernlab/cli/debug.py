"""``kernlab debug``: GDB in this terminal, on the booted lab."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import typer

from kernlab.cli import common, complete
from kernlab.cli.bootoptions import BootOptions, boot_options

if TYPE_CHECKING:
    from kernlab.trace.workloads import Running

_ENDS = 5.0  # seconds for QEMU to end after it has told GDB so

app = typer.Typer(add_completion=False)


@app.command("debug")
@boot_options()
def debug(
    functions: list[str] = typer.Argument(
        None,
        metavar="[FUNC]...",
        help="Stop at these functions or lines (tcp_ipv4.c:1961); none: stop at once.",
        autocompletion=complete.functions,
    ),
    ex: list[str] = typer.Option(
        [], "--ex", metavar="CMD", help="GDB command to run after the stop (repeatable)."
    ),
    tui: bool = typer.Option(False, "--tui", help="GDB's text interface: source, assembly."),
    workload: str = typer.Option(
        "http",
        "--workload",
        metavar="W",
        autocompletion=complete.workloads,
        help="http, http-in, connect-closed, bulk, none, or a guest command.",
    ),
    timeout: float = typer.Option(
        60.0, "--timeout", metavar="S", help="Stop the guest after S seconds without a hit."
    ),
    out: common.OutOption = None,
    *,
    boot: BootOptions,
) -> int:
    """GDB in this terminal, on the booted lab, stopped at FUNC with a workload running.

    Inside, "help kernlab" lists the helper commands: kl-skb, kl-sock, kl-stack and others.

    Leaving GDB ends the guest; "quit N" makes N the exit status.
    """
    from kernlab.cli.output import reporter
    from kernlab.debugger import interactive, places
    from kernlab.errors import BadInput, WeFailed
    from kernlab.pipeline import Setting, machine_for, symbols_for, wait_ready
    from kernlab.progress import Finished, Said, Started
    from kernlab.sinks.console import safe_lines
    from kernlab.sinks.fold import marks
    from kernlab.trace import workloads
    from kernlab.vm.mechanisms import BOOT, BREAK

    if tui and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("--tui needs a terminal", "", "kernlab debug without --tui")
    if timeout <= 0:
        raise BadInput(f"--timeout {timeout:g}: seconds, more than 0", "", "--timeout 60")
    options = boot.machine()
    row = workloads.find(workload)
    working: list[Running] = []
    with ExitStack() as stack:
        with reporter() as report:
            built, guest = boot.artifacts(report)
            symbols = symbols_for(built)
            report(Started("read the kernel's debug info"))
            stops = places.resolve(functions or [], symbols)
            symbols.layout()
            symbols.orc()
            report(Finished("read the kernel's debug info"))
            for stop in stops:
                if stop.inlined:
                    where = ", ".join(stop.inlined[:6])
                    report(Said(f"{stop.name} has no entry of its own: inlined into {where}"))
            run = boot.new_run(out)
            setting = Setting(built, guest, options, run, report)
            workloads.place(row, run.share, report)
            machine = stack.enter_context(machine_for(setting, (BOOT, BREAK)))
            wait_ready(machine, report)

        def work() -> None:
            working.append(stack.enter_context(workloads.running(row, machine, endless=True)))

        wish = interactive.Wish(tuple(stops), interactive.commands_of(ex), tui, timeout)
        content = interactive.settings(
            wish, symbols, built.release, marks(), machine.sockets, run.path / "lx"
        )
        session = interactive.Session(wish, built.vmlinux, run.path / "debug.json", machine.sockets)
        if not stops:
            work()
        try:
            status = session.run(content, work if stops else lambda: None)
        except WeFailed as error:
            with suppress(WeFailed):
                machine.child.wait(3.0)
            if machine.child.poll() is not None:
                raise machine.lost() from error  # that is why GDB failed
            raise
        # GDB does not always hear that the guest has ended: the connection may break first.
        if session.gone or machine.broken:
            with suppress(WeFailed):
                machine.child.wait(_ENDS)
        if machine.child.poll() is not None:
            machine.ended()
        said = _complaint(working)
        # The guest may be stopped, or have breakpoints in it: nothing can end politely there.
        machine.child.close()
    run.result(status=status)
    if said:
        sys.stderr.write(safe_lines(said))
    return status


def _complaint(working: list[Running]) -> str:
    """What to say of a workload that failed by itself."""
    for work in working:
        if work.status():
            told = work.said.text.strip()[-300:] or "it said nothing"
            return f"the workload had ended with status {work.status()}: {told}\n"
    return ""
