"""``kernlab image``."""

from __future__ import annotations

import typer

from kernlab.cli import common, complete

app = typer.Typer(add_completion=False)


@app.command("image")
def image(
    kind: str = typer.Argument(
        "busybox", help="busybox or debian.", autocompletion=complete.images
    ),
    add: common.AddOption = [],  # noqa: B006
    package: list[str] = typer.Option(
        [], "--package", metavar="NAME", help="Another package for the image debian."
    ),
    json: common.JsonOption = False,
) -> None:
    """Assemble a guest image, unless it is assembled already."""
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.errors import BadInput
    from kernlab.image.model import ImageRequest
    from kernlab.pipeline import image_for

    if package and kind != "debian":
        raise BadInput(
            "--package works only with the image debian",
            f"the image {kind} is made of this host's programs",
            f"kernlab image debian --package {package[0]}",
        )
    with reporter() as report:
        made = image_for(ImageRequest(kind, tuple(add), tuple(package)), report)
    if json:
        print_json(
            {
                "key": made.key,
                "kind": made.kind,
                "path": str(made.path),
                "initramfs": str(made.initramfs),
                "disk": str(made.disk) if made.disk else None,
            }
        )
    else:
        stdout().print(f"{made.key}  {made.disk or made.initramfs}", soft_wrap=True)
