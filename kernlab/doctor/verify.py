"""Every artifact of the home read whole and compared with its record: what a look at sizes and
times cannot find.

Commands look at the artifacts that they use, and make anew what does not fit; this finds also
a change of content that kept size and time.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kernlab.config import sums
from kernlab.config.paths import home, unsealed_file
from kernlab.kernel.built import look
from kernlab.kernel.sources.download import sha256_of
from kernlab.progress import Advanced, Finished, Reporter, Started

_KINDS = ("kernels", "images", "sources")
# Of a kernel: kernlab.symbols makes them, kernlab.guest the last.
_CACHES = ("layout.json", "holes.json", "orc.bin", "include/vmlinux.h")
_MEMOS = ("images/stamps.json", "images/accelerator.json")
_PACKAGE = re.compile(r"_(?P<sum>[0-9a-f]{12})\.deb$")


@dataclass(frozen=True)
class Found:
    """One artifact. ``state`` is ok, damaged or unknown (made before there were records);
    ``remedy`` is a command: what it removes is made anew when it is next used."""

    path: Path
    state: str
    what: str = ""
    remedy: str = ""


def verify(report: Reporter) -> list[Found]:
    """All artifacts there are, by kind and name."""
    stage = "read every artifact"
    report(Started(stage))
    found = []
    for number, one in enumerate(_every(), 1):
        found.append(one)
        report(Advanced(stage, number, note=one.path.name))
    report(Finished(stage, f"{len(found)} artifacts"))
    return found


def _every() -> Iterator[Found]:
    for kind in _KINDS:
        for path in sorted((home() / kind).glob("[!.]*/")):
            if kind == "kernels":
                look(path)  # gives one from before there were records its own
            said = sums.problem(path, thorough=True)
            yield _found(path, "" if said == sums.UNKNOWN else said, said == sums.UNKNOWN)
            for name in _CACHES if kind == "kernels" else ():
                if (path / name).exists():
                    yield _sealed(path / name)
    for name in _MEMOS:
        if (home() / name).exists():
            yield _sealed(home() / name)
    for path in sorted((home() / "downloads").glob("*.deb")):
        match = _PACKAGE.search(path.name)
        if match is not None:
            good = sha256_of(path).startswith(match["sum"])
            yield _found(path, "" if good else "does not have the SHA-256 in its name")


def _sealed(path: Path) -> Found:
    return _found(
        path, "" if unsealed_file(path) is not None else "does not have the checksum that it states"
    )


def _found(path: Path, said: str, unknown: bool = False) -> Found:
    if unknown:
        return Found(path, "unknown", sums.UNKNOWN)
    if not said:
        return Found(path, "ok")
    return Found(path, "damaged", said, f"rm -rf {shlex.quote(str(path))}")
