"""``kernlab ps`` and ``kernlab stop``."""

from __future__ import annotations

import typer

from kernlab.cli import common, complete

app = typer.Typer(add_completion=False)


@app.command("ps")
def ps(json: bool = common.JSON) -> None:
    """List the machines that run, of all kernlabs with this home."""
    from rich.table import Table

    from kernlab.cli.output import print_json, stdout
    from kernlab.record.rundir import runs

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("run", "pid", "kernel", "command"):
        table.add_column(name, no_wrap=True)
    count = 0
    for run in runs():
        owner = run.owner()
        if owner is None:
            continue
        data = run.read()
        kernel = str(data.get("resolved", {}).get("release", ""))
        command = " ".join(data.get("asked", {}).get("argv", []))
        count += 1
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
            table.add_row(run.id, str(owner.pid), kernel, command)
    if not json:
        stdout().print(table if count else "no machine is running")


@app.command("stop")
def stop(
    names: list[str] | None = typer.Argument(
        None, metavar="[RUN]...", help="Runs, or latest.", autocompletion=complete.runs
    ),
    every: bool = typer.Option(False, "--all", help="All that run."),
) -> None:
    """End machines; what they gathered is kept."""
    import psutil

    from kernlab.cli.output import stdout
    from kernlab.errors import BadInput
    from kernlab.record.rundir import find, runs

    if not names and not every:
        raise BadInput("which machine?", "a run's id, or --all", "kernlab ps")
    chosen = [find(name) for name in names or []] or list(runs())
    processes = {}
    for run in chosen:
        owner = run.owner()
        if owner is not None and owner.pid != psutil.Process().pid:
            processes[run.id] = owner
    for owner in processes.values():
        owner.terminate()
    _, alive = psutil.wait_procs(list(processes.values()), timeout=10)
    for owner in alive:
        owner.kill()  # QEMU and GDB end with their parent
    for name in processes:
        stdout().print(f"stopped {name}")
    if not processes:
        stdout().print("no machine is running")
