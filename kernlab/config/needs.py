"""What a room needs on the host, declared beside its code and collected by doctor and ``lab``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernlab.errors import HostLacks
from kernlab.process import which


@dataclass(frozen=True)
class Need:
    """A program, or a file (a header, a library), and the Debian package that brings it.

    ``file`` and each of ``elsewhere``, the places of other distributions, are globs.
    ``without``: what is done where it is not there. Such a need is no gap.
    """

    package: str
    why: str
    program: str | None = None
    file: str | None = None
    elsewhere: tuple[str, ...] = ()
    without: str = ""

    @property
    def name(self) -> str:
        return self.program or self.file or self.package

    def found(self) -> str | None:
        """Where it is on this host, None where it is not."""
        if self.program is not None:
            return which(self.program)
        places = [self.file, *self.elsewhere] if self.file else []
        hits = (str(path) for place in places for path in Path("/").glob(place.lstrip("/")))
        return next(hits, None)

    def met(self) -> bool:
        return self.found() is not None


def missing(needs: Iterable[Need]) -> list[Need]:
    """The needs this host does not meet, in order."""
    return [need for need in needs if not need.met()]


def require(needs: Iterable[Need]) -> None:
    """Raise ``HostLacks`` naming every gap and the one command that closes them all."""
    gaps = missing(needs)
    if not gaps:
        return
    from kernlab.config.packages import closing_command, lacking, manager_name, os_release

    manager = manager_name(os_release())
    without = dict.fromkeys(lacking(need.package, manager) for need in gaps)
    raise HostLacks(
        "the host lacks " + ", ".join(need.name for need in gaps),
        "\n".join([*(f"{need.name}: {need.why}" for need in gaps), *filter(None, without)]),
        closing_command(need.package for need in gaps),
    )
