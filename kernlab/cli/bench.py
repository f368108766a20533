"""``kernlab bench``: the measured table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kernlab.cli import common
from kernlab.cli.bootoptions import BootOptions, boot_options
from kernlab.decode.arch import ARCH

if TYPE_CHECKING:
    from kernlab.bench.model import Comparison

app = typer.Typer(add_completion=False)


@app.command("bench")
@boot_options("kernel")
def bench(
    rounds: int = typer.Option(3, "--rounds", min=1, help="How often each is measured."),
    events: int = typer.Option(
        200, "--events", min=20, help="Events of the slowest engine in each round."
    ),
    seconds: float = typer.Option(
        4.0, "--seconds", min=1, help="Runs of each engine in each round."
    ),
    slow: bool = typer.Option(
        False, "--slow", help="Also build two kernels and measure CPU seconds (takes half an hour)."
    ),
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> None:
    """Compare kernlab with other ways to do the same, side by side. Look at the ratios."""
    from kernlab.bench import engines, rates, starts
    from kernlab.bench.model import Comparison, contender
    from kernlab.cli.output import print_json, reporter, stdout

    found: list[Comparison | None] = []
    with reporter() as report:
        made = built, guest = boot.artifacts(report)
        found.append(starts.warm_trace(built, guest, rounds, report))
        found.append(starts.boots(built, rounds, report))
        found.append(rates.measure(boot.setting(report, made=made), rounds, events))
        found += engines.measure(boot.setting(report, made=made), rounds, seconds)
        if slow:
            from kernlab.kernel import cost
            from kernlab.kernel.fetch import fetch

            source = fetch(built.version, report)
            costs = [measure(source, report) for measure in (cost.usual, cost.ours)]
            found.append(
                Comparison(
                    "build of a kernel",
                    "CPU s",
                    tuple(
                        contender(f"{c.name}, {c.objects} objects", [c.cpu_seconds]) for c in costs
                    ),
                )
            )
    rows = [comparison for comparison in found if comparison is not None]
    if json:
        for row in rows:
            for way in row.contenders:
                print_json(
                    {
                        "what": row.what,
                        "unit": row.unit,
                        "name": way.name,
                        "median": round(way.median, 3),
                        "rounds": way.rounds,
                        "ratio": round(row.ratio(way), 2),
                    }
                )
        return
    stdout().print(_machine(), style="dim", soft_wrap=True)
    _draw(rows)


def _draw(rows: list[Comparison]) -> None:
    from rich.table import Table

    from kernlab.cli.output import stdout
    from kernlab.sinks.console import words

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("what", "median", "ratio"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        table.add_row(words((row.what, "bold")), words((row.unit, "dim")), "")
        for way in row.contenders:
            figure = f"{way.median:.1f}" if way.median < 100 else f"{way.median:.0f}"
            table.add_row(f"  {way.name}", figure, f"{row.ratio(way):.2f}")
    stdout().print(table)


def _machine() -> str:
    """What this was measured on: the figures mean little without it."""
    import os
    import platform

    from kernlab.process import run

    qemu = run(20, [ARCH.qemu, "--version"]).text.split("version ")[1].split()[0]
    gdb = run(20, ["gdb", "--version"]).text.splitlines()[0].split()[-1]
    return f"{os.cpu_count()} CPUs, {platform.machine()}, QEMU {qemu}, GDB {gdb}"
