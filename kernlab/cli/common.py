"""Options that several commands share."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from kernlab.cli import complete

if TYPE_CHECKING:
    from kernlab.image.model import Image
    from kernlab.kernel.model import Kernel
    from kernlab.progress import Reporter
    from kernlab.record.rundir import RunDir

WHICH = (
    "Series (5.10), release (5.10.223), path to a tree or tarball, REPOSITORY@REF of git, "
    "or apt:5.10 and kernel_org:5.10 for that source alone."
)
KERNEL: str | None = typer.Option(
    None, "--kernel", metavar="VERSION", autocompletion=complete.kernels, help=WHICH
)
IMAGE: str = typer.Option("busybox", "--image", help="What the guest boots into.")
ADD: list[str] = typer.Option(
    [], "--add", metavar="PATH[:GUESTPATH]", help="Put a file or directory into the image."
)
CPUS: int = typer.Option(2, "--cpus", min=1, max=8, help="vCPUs of the guest.")
MEMORY: int = typer.Option(512, "--memory", min=128, metavar="MIB", help="Memory of the guest.")
JSON: bool = typer.Option(False, "--json", help="Machine-readable output alone on stdout.")


def artifacts(kernel: str | None, image: str, add: list[str],
              report: Reporter) -> tuple[Kernel, Image]:  # fmt: skip
    """The kernel and the image a command boots, made when they are not there."""
    from kernlab import pipeline
    from kernlab.image.model import ImageRequest
    from kernlab.kernel.model import BuildRequest

    built = pipeline.kernel_for(BuildRequest(version=kernel), report)
    return built, pipeline.image_for(ImageRequest(image, tuple(add)), report)


def new_run(at: str | None = None) -> RunDir:
    """A run directory for this command line."""
    from pathlib import Path

    from kernlab.record.rundir import RunDir

    return RunDir.create({"argv": ["kernlab", *sys.argv[1:]]}, Path(at) if at else None)
