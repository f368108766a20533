"""Options that several commands share."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Annotated

import typer

from kernlab.cli import complete

if TYPE_CHECKING:
    from kernlab.config.text import Language
    from kernlab.record.rundir import RunDir

WHICH = (
    "Series (5.10), release (5.10.223), path to a tree or tarball, REPOSITORY@REF of git, "
    "apt:5.10 and kernel_org:5.10 for that source alone, or the key of a kernel built here."
)
KernelOption = Annotated[
    str | None,
    typer.Option("--kernel", metavar="VERSION", autocompletion=complete.kernels, help=WHICH),
]
KernelsOption = Annotated[
    list[str],
    typer.Option(
        "--kernel", metavar="VERSION", autocompletion=complete.kernels, help="Two or more."
    ),
]
AddOption = Annotated[
    list[str],
    typer.Option(
        "--add", metavar="PATH[:GUESTPATH]", help="Put a file or directory into the image."
    ),
]
OutOption = Annotated[
    str | None, typer.Option("--out", metavar="DIR", help="Run directory to make.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print only machine-readable output on stdout.")
]


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


def conclude(run: RunDir, language: Language = "en") -> None:
    """The page of a run of labs or of a race; and the digests of what it left, once nothing
    of that is written any more."""
    from kernlab.record import left

    keep_report(run, language)
    left.keep(run)


def report_of(run: RunDir) -> str:
    """A run's page as ``keep_report`` left it, or the command that makes it."""
    return str(run.report) if run.report.is_file() else f"kernlab report {run.id}"


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
