"""``kernlab debug``: GDB in this terminal, on the booted lab."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import typer

from kernlab.cli import common, complete
from kernlab.cli.bootoptions import BootOptions, boot_options

app = typer.Typer(add_completion=False)


@app.command("debug")
@boot_options()
def debug(
    functions: list[str] = typer.Argument(
        None,
        metavar="[FUNC]...",
        help="Functions or lines (tcp_ipv4.c:1961) to stop at; without any, stop at once.",
        autocompletion=complete.functions,
    ),
    ex: list[str] = typer.Option(
        [], "--ex", metavar="CMD", help="A GDB command to run after the stop; can be repeated."
    ),
    tui: bool = typer.Option(
        False, "--tui", help="Use GDB's text interface, with source and assembly."
    ),
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
    """Start GDB in this terminal, on a booted guest that is stopped at FUNC while a workload runs.

    Inside, "help kernlab" lists the helper commands: kl-skb, kl-sock, kl-stack and others. Leaving
    GDB ends the guest; after "quit N" the exit status is N.
    """
    from kernlab.cli.output import reporter
    from kernlab.debug import interactive, live
    from kernlab.errors import BadInput
    from kernlab.sinks.console import safe_lines
    from kernlab.trace import workloads

    if tui and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("--tui needs a terminal", "", "kernlab debug without --tui")
    if timeout <= 0:
        raise BadInput(f"--timeout {timeout:g}: it must be more than 0 seconds", "", "--timeout 60")
    row = workloads.find(workload)
    with ExitStack() as stack:
        with reporter() as report:  # ended before GDB has the terminal
            made = boot.artifacts(report)
            stops = live.stops(functions or [], made[0], report)
            setting = boot.setting(report, out, made)
            wish = interactive.Wish(tuple(stops), interactive.commands_of(ex), tui, timeout)
            debugging = stack.enter_context(live.booted(wish, row, setting))
        status = debugging.run()
    if debugging.complaint:
        sys.stderr.write(safe_lines(debugging.complaint))
    return status
