"""From what a user calls a kernel to a source tree on this disk."""

from __future__ import annotations

from pathlib import Path

from kernlab.config.paths import home_dir
from kernlab.errors import HostLacks
from kernlab.kernel import catalogue
from kernlab.kernel.model import SourceTree
from kernlab.kernel.sources import apt, local
from kernlab.progress import Reporter


def fetch(version: str | None, report: Reporter, *, newest: bool = False) -> SourceTree:
    """The source tree for ``version`` (see ``BuildRequest.version``).

    A tree that is already here is used, without asking the network; ``newest`` asks for
    a newer release of a series. Raises ``BadInput``, ``HostLacks``, ``WeFailed``.
    """
    table = catalogue.read()
    wanted = version or table.default
    if "local" in table.order and _is_path(wanted):
        return local.get(Path(wanted), report)
    catalogue.check(wanted)
    here = _kept(wanted)
    if here is not None and not newest:
        return here
    problems: list[str] = []
    for source in table.order:
        if source == "apt":
            try:
                return apt.get(wanted, table.apt, report)
            except HostLacks as error:
                if len(table.order) <= 2:
                    raise
                problems.append(f"{source}: {error.what}")
    raise HostLacks(
        f"no source has {wanted}",
        "\n".join(problems),
        "kernlab build PATH, with a tree of your own",
    )


def _is_path(text: str) -> bool:
    return not catalogue.is_release(text) and ("/" in text or Path(text).exists())


def _kept(version: str) -> SourceTree | None:
    """The newest tree of ``version`` that was fetched before."""
    found = []
    for tree in home_dir("sources").glob("linux-*"):
        release = tree.name.removeprefix("linux-")
        if not (tree / apt.ORIGIN).is_file():
            continue
        if version in (release, catalogue.series(release)):
            found.append((catalogue.order_key(release), tree))
    return apt.kept(max(found)[1]) if found else None
