"""``kernlab build``."""

from __future__ import annotations

from pathlib import Path

import typer

from kernlab.cli import common

app = typer.Typer(add_completion=False)


@app.command("build")
def build(
    version: str | None = typer.Argument(None, help=common.WHICH),
    config: list[Path] = typer.Option([], "--config", metavar="FILE", help="A Kconfig fragment."),
    sets: list[str] = typer.Option([], "--set", metavar="CONFIG_X=y", help="One option."),
    patch: list[Path] = typer.Option(
        [], "--patch", metavar="FILE", help="A patch to apply with patch -p1."
    ),
    jobs: int | None = typer.Option(None, "--jobs", "-j", min=1, help="make's -j."),
    json: common.JsonOption = False,
) -> None:
    """Build a kernel, unless it is built already."""
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.kernel.model import BuildRequest
    from kernlab.pipeline import kernel_for

    with reporter() as report:
        kernel = kernel_for(
            BuildRequest(version, tuple(config), tuple(sets), tuple(patch), jobs), report
        )
    if json:
        print_json(
            {
                "key": kernel.key,
                "version": kernel.version,
                "release": kernel.release,
                "path": str(kernel.path),
                "build_id": kernel.build_id,
                "bzimage": str(kernel.bzimage),
                "vmlinux": str(kernel.vmlinux),
                "source": str(kernel.source),
                "cpu_seconds": kernel.cpu_seconds,
            }
        )
    else:
        stdout().print(f"{kernel.release}  {kernel.path}", soft_wrap=True)
