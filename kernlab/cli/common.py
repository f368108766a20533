"""Options that several commands share."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kernlab.cli import complete

if TYPE_CHECKING:
    from kernlab.config.text import Language
    from kernlab.image.model import Image
    from kernlab.kernel.model import Kernel
    from kernlab.progress import Reporter
    from kernlab.record.rundir import RunDir
    from kernlab.vm.spec import Network

WHICH = (
    "Series (5.10), release (5.10.223), path to a tree or tarball, REPOSITORY@REF of git, "
    "apt:5.10 and kernel_org:5.10 for that source alone, or the key of a kernel built here."
)
KERNEL: str | None = typer.Option(
    None, "--kernel", metavar="VERSION", autocompletion=complete.kernels, help=WHICH
)
IMAGE: str = typer.Option(
    "busybox",
    "--image",
    autocompletion=complete.images,
    help="What the guest boots into: busybox, or debian with bpftrace, bcc and others.",
)
ADD: list[str] = typer.Option(
    [], "--add", metavar="PATH[:GUESTPATH]", help="Put a file or directory into the image."
)
CPUS: int = typer.Option(2, "--cpus", min=1, max=8, help="vCPUs of the guest.")
MEMORY: int = typer.Option(512, "--memory", min=128, metavar="MIB", help="Memory of the guest.")
SHARE: list[Path] = typer.Option(
    [], "--share", metavar="FILE", help="Copy a file into the guest's /mnt/share, its mode kept."
)
NETWORK: str = typer.Option(
    "closed",
    "--network",
    metavar="closed|open",
    help="open: the guest reaches the host's 127.0.0.1 and what the host reaches.",
)
JSON: bool = typer.Option(False, "--json", help="Machine-readable output alone on stdout.")


def artifacts(
    kernel: str | None, image: str, add: list[str], report: Reporter
) -> tuple[Kernel, Image]:
    """The kernel and the image a command boots, made when they are not there."""
    from kernlab import pipeline
    from kernlab.image.added import where
    from kernlab.image.model import ImageRequest
    from kernlab.kernel.model import BuildRequest
    from kernlab.progress import Said

    built = pipeline.kernel_for(BuildRequest(version=kernel), report)
    made = pipeline.image_for(ImageRequest(image, tuple(add)), report)
    for argument in add:
        host, guest, told = where(argument)
        if not told:
            report(Said(f"--add {argument}: {host.name} is {guest} in the guest"))
    return built, made


def network_of(text: str) -> Network:
    """Raises ``BadInput``."""
    from kernlab.errors import BadInput

    if text == "closed":
        return "closed"
    if text == "open":
        return "open"
    raise BadInput(f"--network {text}: there is no such network", "closed, open", "--network open")


def new_run(at: str | None = None, share: Sequence[Path] = ()) -> RunDir:
    """A run directory for this command line, with what ``--share`` named. Raises ``BadInput``."""
    from kernlab.record.rundir import RunDir

    run = RunDir.create({"argv": ["kernlab", *sys.argv[1:]]}, Path(at) if at else None)
    bring(share, run)
    return run


def keep_report(run: RunDir, language: Language = "en") -> str | None:
    """The run's page and its captures' comments; the page's path. A run is not less done
    for want of them."""
    from kernlab.errors import KernlabError
    from kernlab.report.write import keep
    from kernlab.sinks.console import Console, words

    try:
        made = keep(run, language)
    except KernlabError as error:
        Console(stderr=True).print(words((f"no report: {error.what}", "dim")))
        return None
    return str(made) if made else f"kernlab report {run.id}"


def report_of(run: RunDir) -> str:
    """A run's page as ``keep_report`` left it, or the command that makes it."""
    return str(run.report) if run.report.is_file() else f"kernlab report {run.id}"


def bring(files: Sequence[Path], run: RunDir) -> None:
    """Copy what ``--share`` named. Raises ``BadInput`` before anything boots."""
    from kernlab.errors import BadInput
    from kernlab.vm.share import put, put_tree

    for path in files:
        try:
            if path.is_dir():
                put_tree(path, run.share)
            else:
                put(path, run.share)
        except OSError as error:
            run.remove()
            raise BadInput(
                f"--share {path}: cannot be copied", str(error.strerror), f"ls -l {path}"
            ) from error


def write(fd: int, data: bytes) -> None:
    """What a guest command said, on to our own stdout (1) or stderr (2). Raises ``OSError`` with
    the stream's name when nobody takes it."""
    try:
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                select.select([], [fd], [])
    except OSError as error:
        error.filename = {1: "stdout", 2: "stderr"}.get(fd)
        raise
