"""``kernlab clean``: free disk, by kind."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from kernlab.cli import complete

app = typer.Typer(add_completion=False)
_KINDS = "runs, kernels, images, sources, downloads"
_MOST = 10  # lines of what could not be removed


@app.command("clean")
def clean(
    kinds: list[str] | None = typer.Argument(
        None,
        metavar="[KIND]...",
        help=f"{_KINDS}, or all. Without: show sizes.",
        autocompletion=complete.kinds,
    ),
) -> None:
    """Free disk space, by kind. What a running machine or build uses is kept."""
    import shlex

    from kernlab.cli.machines import passed_by
    from kernlab.cli.output import stdout
    from kernlab.config.paths import home
    from kernlab.config.yaml import unknown
    from kernlab.errors import HostLacks
    from kernlab.record.clean import KINDS, clean_kind
    from kernlab.record.rundir import running

    wanted = list(KINDS) if kinds and "all" in kinds else list(kinds or [])
    for kind in wanted:
        if kind not in KINDS:
            what = f"'{kind}' is not a kind of files that can be cleaned"
            raise unknown(what, kind, KINDS, "kernlab clean {}", "runs")
    console = stdout()
    if not wanted:
        for kind in KINDS:
            console.print(f"{kind:<10} {_size(home() / kind) / 1e6:>8.0f} MB")
        return
    stuck = []
    _, wrong = running()
    for kind in wanted:
        before = _size(home() / kind)
        kept, failed = clean_kind(kind)
        freed = before - _size(home() / kind)
        note = f", {kept} in use kept" if kept else ""
        console.print(f"{kind}: {freed / 1e6:.0f} MB freed{note}")
        stuck += failed
    passed_by(wrong)
    if stuck:
        raise HostLacks(
            f"{len(stuck)} files could not be removed",
            "\n".join(stuck[:_MOST]),
            f"sudo rm -rf {shlex.quote(str(home() / wanted[0]))}"
            if os.geteuid()
            else f"lsattr -d {shlex.quote(str(home() / wanted[0]))}",
        )


def _size(directory: Path) -> int:
    total = 0
    for place, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total
