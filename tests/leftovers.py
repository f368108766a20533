"""Who is still alive: an oracle for what a run leaves behind."""

from __future__ import annotations

import psutil


def naming(mark: str) -> list[psutil.Process]:
    """Processes that name a directory on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found
