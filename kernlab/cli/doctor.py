"""``kernlab doctor``: what the host has, what it lacks, and the commands that close the gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kernlab.cli import complete
from kernlab.cli.common import JsonOption

if TYPE_CHECKING:
    from kernlab.doctor import Report
    from kernlab.kernel.known import Hit
    from kernlab.sinks.console import Console

app = typer.Typer(add_completion=False)
_WIDTH = 100  # columns beyond which a table only gets harder to read
_STYLES = {"missing": "bold red", "note": "yellow", "ok": "green"}  # in the order shown


@app.command("doctor")
def doctor(
    install: bool = typer.Option(
        False, "--install", help="Install what is missing (with sudo where needed)."
    ),
    kernel: str | None = typer.Option(
        None,
        "--kernel",
        metavar="VERSION",
        help="The kernel that you want to build, as for `kernlab build`.",
        autocompletion=complete.kernels,
    ),
    known: bool = typer.Option(
        False, "--known", help="Print every known bad combination, whether this host has it or not."
    ),
    verify: bool = typer.Option(
        False, "--verify", help="Read every kept file and compare it with its checksum."
    ),
    json: JsonOption = False,
) -> None:
    """Check the host: programs, versions, disk and memory, rights, and known bad combinations.

    Exits with 0 if everything is there, with 3 if something needed is missing or damaged.

    Try: kernlab doctor --install
    """
    import sys

    from kernlab.cli.output import print_json, stdout
    from kernlab.doctor import examine
    from kernlab.doctor.install import install as run_install
    from kernlab.kernel import known as combinations

    if known:
        rows = combinations.table().known
        if json:
            print_json([row.model_dump() for row in rows])
        else:
            typer.echo(combinations.page(rows), nl=False)
        return
    if verify:
        _verify(json)
        return
    report = examine(kernel)
    if install and report.missing_packages:
        run_install(
            report.missing_packages, report.manager, asking=sys.stdin.isatty(), out=sys.stderr
        )
        report = examine(kernel)
    if json:
        print_json(_plain(report))
    else:
        _draw(stdout(), report)
    if not report.complete:
        raise typer.Exit(3)


def _verify(json: bool) -> None:
    from rich.text import Text

    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.doctor.verify import verify

    with reporter() as report:
        found = verify(report)
    bad = [one for one in found if one.state == "damaged"]
    if json:
        print_json(
            [
                {"path": str(one.path), "state": one.state, "what": one.what, "remedy": one.remedy}
                for one in found
            ]
        )
    else:
        for one in found:
            if one.state == "ok":
                continue
            style = "bold red" if one.state == "damaged" else "yellow"
            line = Text(one.state, style).append(f"  {one.path}: {one.what}", "default")
            if one.remedy:
                line.append(f"\n→ {one.remedy}", "cyan")
            stdout().print(line, soft_wrap=True)
        stdout().print(f"{len(found)} artifacts read, {len(bad)} damaged")
    if bad:
        raise typer.Exit(3)


def _plain(report: Report) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "complete": report.complete,
        "system": report.system,
        "manager": report.manager,
        "kernel": report.kernel,
        "checks": [asdict(check) for check in report.checks],
        "known": [asdict(hit) for hit in report.combinations],
        "install": report.missing_packages,
        "command": _command(report),
    }


def _command(report: Report) -> str | None:
    from kernlab.doctor.install import shown

    if not report.missing_packages or report.manager is None:
        return None
    return shown(report.missing_packages, report.manager)


def _draw(console: Console, report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    console.width = min(console.width, _WIDTH)
    manager = report.manager or "no known package manager"
    console.print(f"{report.system}, {manager}; kernel {report.kernel}")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for width in (7, 20, 16, None):
        table.add_column(width=width, overflow="fold")
    for check in sorted(report.checks, key=lambda check: list(_STYLES).index(check.state)):
        why = Text(check.why)
        if check.rooms:
            why.append(f" ({', '.join(check.rooms)})", "dim")
        if check.remedy:
            why.append(f"\n→ {check.remedy}", "cyan")
        table.add_row(Text(check.state, _STYLES[check.state]), check.name, check.found or "-", why)
    console.print(table)
    _draw_known(console, report.combinations, report.rows)
    console.print()
    command = _command(report)
    if command:
        console.print(Text(f"install what is missing ({len(report.gaps)}):", "bold"))
        console.print(Text(command, "cyan"), soft_wrap=True)
    elif report.missing_packages:
        console.print("install: " + " ".join(report.missing_packages), soft_wrap=True)
    if report.complete:
        console.print(Text("this host has everything that kernlab needs", "green"))
    else:
        console.print(
            Text("this host is not ready: see above what is missing or fails", "bold red")
        )


def _draw_known(console: Console, hits: list[Hit], rows: int) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(f"\nknown combinations: {len(hits)} here, of {rows} (kernlab doctor --known)")
    for hit in hits:
        style = {"fails": "bold red", "mended": "green"}.get(hit.effect, "yellow")
        text = Text(hit.effect, style).append(f"  {hit.here}: {hit.title}", "default")
        text.append(f"\n→ {hit.remedy}", "cyan")
        console.print(Padding(text, (0, 0, 0, 2)))
