"""An error in words, on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress

from kernlab.errors import KernlabError, as_called


def show(error: KernlabError) -> None:
    from rich.text import Text

    from kernlab.cli.again import next_line
    from kernlab.sinks.console import Console

    console = Console(stderr=True, soft_wrap=True)
    with suppress(OSError, SystemExit):  # the terminal is gone: the status says enough
        console.print(Text("error: ", "bold red").append(as_called(error.what), "bold"))
        if error.why:
            console.print(Text(as_called(error.why)))
        if error.next_step:
            step = next_line(error.next_step, sys.argv[1:])
            console.print(Text("next: ", "bold").append(step, "cyan"))
