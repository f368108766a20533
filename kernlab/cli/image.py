"""``kernlab image``."""

from __future__ import annotations

import typer

from kernlab.cli import common

app = typer.Typer(add_completion=False)


@app.command("image")
def image(
    kind: str = typer.Argument("busybox", help="busybox."),
    add: list[str] = common.ADD,
    json: bool = common.JSON,
) -> None:
    """Assemble a guest image, or find it assembled."""
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.image.model import ImageRequest
    from kernlab.pipeline import image_for

    with reporter() as report:
        made = image_for(ImageRequest(kind, tuple(add)), report)
    if json:
        print_json(
            {
                "key": made.key,
                "kind": made.kind,
                "path": str(made.path),
                "initramfs": str(made.initramfs),
            }
        )
    else:
        stdout().print(f"{made.key}  {made.initramfs}", soft_wrap=True)
