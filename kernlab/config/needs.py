"""What a room needs on the host, declared beside its code and collected by doctor and ``lab``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernlab.errors import HostLacks
from kernlab.process import which


@dataclass(frozen=True)
class Need:
    """A program, or a file (a header, a library), and the Debian package that brings it."""

    package: str
    why: str
    program: str | None = None
    file: str | None = None

    @property
    def name(self) -> str:
        return self.program or self.file or self.package

    def met(self) -> bool:
        if self.program is not None:
            return which(self.program) is not None
        return self.file is None or any(Path("/").glob(self.file.lstrip("/")))


def missing(needs: Iterable[Need]) -> list[Need]:
    """The needs this host does not meet, in order."""
    return [need for need in needs if not need.met()]


def require(needs: Iterable[Need]) -> None:
    """Raise ``HostLacks`` naming every gap and the one command that closes them all."""
    gaps = missing(needs)
    if not gaps:
        return
    packages = " ".join(sorted({need.package for need in gaps}))
    raise HostLacks(
        "the host lacks " + ", ".join(need.name for need in gaps),
        "\n".join(f"{need.name}: {need.why}" for need in gaps),
        f"apt-get install {packages}",
    )
