"""``kernlab clean``: free disk, by kind."""

from __future__ import annotations

from pathlib import Path

import typer

from kernlab.cli import complete

app = typer.Typer(add_completion=False)
KINDS = ("runs", "kernels", "images", "sources", "downloads")


@app.command("clean")
def clean(
    kinds: list[str] | None = typer.Argument(
        None,
        metavar="[KIND]...",
        help=f"{', '.join(KINDS)}, or all. Without: show sizes.",
        autocompletion=complete.kinds,
    ),
) -> None:
    """Free disk, by kind. What a running machine uses stays."""
    from kernlab.cli.output import stdout
    from kernlab.config.paths import home
    from kernlab.config.yaml import unknown

    wanted = list(KINDS) if kinds and "all" in kinds else list(kinds or [])
    for kind in wanted:
        if kind not in KINDS:
            what = f"there is nothing called '{kind}' to clean"
            raise unknown(what, kind, KINDS, "kernlab clean {}", "runs")
    console = stdout()
    if not wanted:
        for kind in KINDS:
            console.print(f"{kind:<10} {_size(home() / kind) / 1e6:>8.0f} MB")
        return
    for kind in wanted:
        before = _size(home() / kind)
        kept = _remove(home() / kind, kind)
        freed = before - _size(home() / kind)
        note = f", {kept} in use kept" if kept else ""
        console.print(f"{kind}: {freed / 1e6:.0f} MB freed{note}")


def _remove(directory: Path, kind: str) -> int:
    import shutil

    from kernlab.record.rundir import RunDir, runs

    live = [run for run in runs() if run.owner() is not None]
    used = {str(run.read().get("resolved", {}).get(key)) for run in live for key in
            ("kernel", "image", "source")}  # fmt: skip
    kept = 0
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if kind == "runs":
            run = RunDir(path)
            if run.owner() is not None:
                kept += 1
            else:
                run.remove()
        elif path.name in used or str(path) in used or (live and kind == "images"):
            kept += 1
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return kept


def _size(directory: Path) -> int:
    import os

    total = 0
    for place, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total
