"""``kernlab fetch``."""

from __future__ import annotations

import typer

from kernlab.cli import common

app = typer.Typer(add_completion=False)


@app.command("fetch")
def fetch(
    version: str | None = typer.Argument(None, help=common.WHICH),
    json: common.JsonOption = False,
) -> None:
    """Fetch a kernel's source tree and verify it. For a series, the newest release is fetched."""
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.kernel.catalogue import say_known
    from kernlab.kernel.fetch import fetch

    with reporter() as report:
        tree = fetch(version, report, newest=True)
        say_known(tree.version, report)
    if json:
        print_json({"version": tree.version, "path": str(tree.path), "origin": tree.origin})
    else:
        stdout().print(f"{tree.version}  {tree.path}", soft_wrap=True)
