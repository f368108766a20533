"""``kernlab ps`` and ``kernlab stop``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kernlab.cli import common, complete

if TYPE_CHECKING:
    from kernlab.errors import KernlabError

app = typer.Typer(add_completion=False)


@app.command("ps")
def ps(json: common.JsonOption = False) -> None:
    """List the running machines of this home directory."""
    from rich.table import Table

    from kernlab.cli.output import print_json, stdout
    from kernlab.record.rundir import running
    from kernlab.sinks.console import safe

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("run", "pid", "kernel", "command"):
        table.add_column(name, no_wrap=True)
    live, wrong = running()
    for run, owner in live:
        data = run.read()
        kernel = str(data.get("resolved", {}).get("release") or "")
        command = " ".join(data.get("asked", {}).get("argv", []))
        if json:
            print_json(
                {
                    "run": run.id,
                    "pid": owner.pid,
                    "kernel": kernel,
                    "command": command,
                    "path": str(run.path),
                }
            )
        else:
            table.add_row(*(safe(cell) for cell in (run.id, owner.pid, kernel, command)))
    if not json:
        stdout().print(table if live else "no machine is running")
    passed_by(wrong)


def passed_by(wrong: list[KernlabError]) -> None:
    """Name the runs whose run.json says nothing that can be relied on."""
    from kernlab.sinks.console import Console, words

    for error in wrong:
        Console(stderr=True, soft_wrap=True).print(
            words(("passed by: ", "bold"), f"{error.what}: {error.why}")
        )


@app.command("stop")
def stop(
    names: list[str] | None = typer.Argument(
        None, metavar="[RUN]...", help="Ids of runs, or latest.", autocompletion=complete.runs
    ),
    every: bool = typer.Option(False, "--all", help="Stop all machines."),
) -> None:
    """Stop machines. What they recorded is kept."""
    import psutil

    from kernlab.cli.output import stdout
    from kernlab.errors import BadInput
    from kernlab.record.rundir import find, running

    if not names and not every:
        raise BadInput("no machine is named", "a run's id, or --all", "kernlab ps")
    live, wrong = running() if every else ([], [])
    processes = {run.id: owner for run, owner in live}
    for run in (find(name, remedy="kernlab ps") for name in names or []):
        named = run.owner()
        if named is not None:
            processes[run.id] = named
    me = psutil.Process().pid
    processes = {run: owner for run, owner in processes.items() if owner.pid != me}
    for owner in processes.values():
        owner.terminate()
    _, alive = psutil.wait_procs(list(processes.values()), timeout=10)
    for owner in alive:
        owner.kill()  # QEMU and GDB end with their parent
    for name in processes:
        stdout().print(f"stopped {name}")
    if not processes:
        stdout().print("no machine is running")
    passed_by(wrong)
