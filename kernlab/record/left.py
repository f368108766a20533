"""What a run of labs or of a race left, file by file, so that a later change is seen.

A verdict judges files. One that is gone or was changed since says nothing of the run, and what
needs it does not hold. The digests are in run.json, ``result.left``: path below the run's
directory → SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernlab.config.files import open_regular
from kernlab.record.rundir import RunDir

_LONGEST = 2 << 30  # bytes of a file

# Patterns (as of glob) of what is judged, below a run's directory.
_FILES = (
    "*/lab.yaml",
    "*/race.yaml",
    "*/quiz.json",
    "*/*/round.json",
    "*/*/results.json",
    "*/*/counters.json",
    "*/*/capture.pcapng",
    "*/*/events.jsonl",
    "*/*/rst.json",
    "*/*/kmsg.txt",
)


def keep(run: RunDir) -> None:
    """Note what the run has left, when all of it is written."""
    found = {
        str(path.relative_to(run.path)): _digest(path, run.path)
        for pattern in _FILES
        for path in sorted(run.path.glob(pattern))
    }
    run.result(left=found)


def _digest(path: Path, run: Path) -> str:
    """Of a regular file to which no link leads from ``run``, and as long as one may be; empty
    for any other."""
    digest, size = hashlib.sha256(), 0
    try:
        with open_regular(path, run) as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
                size += len(piece)
                if size > _LONGEST:
                    return ""
    except OSError:
        return ""
    return digest.hexdigest()


class Left:
    """What run.json says that a run left. ``known`` is false for a run that did not say so: an
    older one, or one that was interrupted."""

    def __init__(self, run: Path) -> None:
        self._run = run
        told: Any = RunDir(run).read()
        result = told.get("result")
        left = result.get("left") if isinstance(result, Mapping) else None
        self._left = left if isinstance(left, Mapping) else None
        asked = told.get("asked")
        argv = asked.get("argv") if isinstance(asked, Mapping) else None
        # Whether a debugger looked on, as far as the command line says.
        self.debugger = not (isinstance(argv, list) and "--no-gdb" in argv)

    @property
    def known(self) -> bool:
        return self._left is not None

    def below(self, directory: Path, begin: str) -> list[Path]:
        """The directories in ``directory`` of which something was left, whose names ``begin``
        so: those that are gone too."""
        inside = f"{directory.name}/{begin}"
        names = {
            str(name).split("/")[1]
            for name in self._left or ()
            if str(name).startswith(inside) and str(name).count("/") == 2
        }
        return [directory / name for name in sorted(names) if name not in (".", "..")]

    def wrong(self, path: Path) -> str:
        """Why a file is not the one that the run left; empty when it is, or nobody knows."""
        if self._left is None:
            return ""
        digest = self._left.get(str(path.relative_to(self._run)))
        if not os.path.lexists(path):
            return f"{path.name} is missing: the run left one" if digest else ""
        if digest is None:
            return f"{path.name} was added after the run"
        same = _digest(path, self._run) == digest
        return "" if same else f"{path.name} was changed after the run"
