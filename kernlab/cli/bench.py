"""``kernlab bench``: the measured table."""

from __future__ import annotations

import typer

from kernlab.cli import common

app = typer.Typer(add_completion=False)


@app.command("bench")
def bench(
    rounds: int = typer.Option(3, "--rounds", min=1, help="Each is measured so often."),
    events: int = typer.Option(200, "--events", min=20, help="Events of the slowest, a round."),
    json: bool = common.JSON,
    kernel: str | None = common.KERNEL,
) -> None:
    """Measure ways to trace side by side on one guest; ratios are what counts."""
    from rich.table import Table

    from kernlab.bench import rates
    from kernlab.cli.output import print_json, reporter, stdout

    with reporter() as report:
        built, guest = common.artifacts(kernel, "busybox", [], report)
        found = rates(built, guest, common.new_run(), rounds, events, report)
    base = found[0].per_second
    if json:
        for rate in found:
            print_json({"name": rate.name, "per_second": round(rate.per_second, 1),
                        "rounds": [round(r, 1) for r in rate.rounds],
                        "ratio": round(rate.per_second / base, 2)})  # fmt: skip
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("way to trace tcp_v4_rcv")
    table.add_column("events/s", justify="right")
    table.add_column("ratio", justify="right")
    for rate in found:
        table.add_row(rate.name, f"{rate.per_second:.0f}", f"{rate.per_second / base:.1f}")
    stdout().print(table)
