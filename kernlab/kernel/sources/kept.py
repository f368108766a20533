"""Trees that were fetched before: each holds a note of where it came from.

The note's first word is the source, its last the digest that goes into a kernel's key.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from kernlab.config import sums
from kernlab.config.paths import home
from kernlab.errors import BadInput, HostLacks
from kernlab.kernel.catalogue import order_key, series
from kernlab.kernel.model import SourceTree
from kernlab.kernel.sources.local import tree_version
from kernlab.progress import Reporter, Said

ORIGIN = ".kernlab-origin"
_NOTE = re.compile(r"\S+ .+ [0-9a-f]{40,64}\n")
_NAME = re.compile(r"^(?:linux|kernel_org)-(\d+\.\d+\.\d+)$")


def mark(tree: Path, source: str, name: str, digest: str) -> None:
    """Leave the note in a tree that is complete."""
    (tree / ORIGIN).write_text(f"{source} {name} {digest}\n", "utf-8")


def read(tree: Path) -> SourceTree:
    """A tree that was marked earlier, and that ``here`` has found. Raises ``HostLacks`` for one
    that is damaged."""
    origin = _origin(tree)
    try:
        if origin is None:
            raise BadInput(f"{tree} does not say where it came from", "it is cut short", "")
        return SourceTree(tree_version(tree), tree, origin, origin.split()[-1])
    except BadInput as error:
        raise _damaged(tree, f"{error.what}: {error.why}") from error


def _origin(tree: Path) -> str | None:
    """The note in a tree; None without one, or where it is damaged."""
    try:
        text = (tree / ORIGIN).read_text("utf-8")
    except (OSError, ValueError):
        return None
    return text.strip() if _NOTE.fullmatch(text) else None


def here(tree: Path, report: Reporter) -> bool:
    """Whether a tree is there, with its note and a Makefile that can be read. One that is
    damaged is told, and whoever asked unpacks it anew. (All its files are compared before a
    build: ``check``.)"""
    if not tree.is_dir():
        return False
    try:
        read(tree)
        return True
    except HostLacks as error:
        report(Said(f"{error.what} ({error.why}): it is unpacked again"))
        return False


def check(tree: Path) -> None:
    """Compare all files of a tree of ours with what was unpacked; some tenths of a second.

    Raises ``HostLacks`` naming the first that differs: somebody may have edited it, so it is
    not removed here.
    """
    if tree.parent != home() / "sources":
        return  # the user's own
    said = sums.problem(tree)
    if said and said != sums.UNKNOWN:
        raise _damaged(tree, said)


def _damaged(tree: Path, why: str) -> HostLacks:
    return HostLacks(
        f"the source tree {tree} is damaged",
        f"{why}\na tree that you edit belongs elsewhere (kernlab build PATH); without this one, "
        "the same command unpacks it again",
        f"rm -rf {shlex.quote(str(tree))}",
    )


def source(tree: Path) -> str:
    """The source that a tree came from; "" for one without a note."""
    return (_origin(tree) or "").split(" ")[0]


def named() -> Iterator[tuple[str, Path]]:
    """Release and place of every tree whose directory is named after one."""
    for tree in sorted((home() / "sources").glob("*")):
        match = _NAME.match(tree.name)
        if match is not None and tree.is_dir():
            yield match[1], tree


def all_trees() -> Iterator[Path]:
    """Every marked tree there is."""
    for tree in sorted((home() / "sources").glob("*")):
        if _origin(tree) is not None:
            yield tree


def find(version: str, sources: Sequence[str]) -> SourceTree | None:
    """The newest tree of a series or release from one of ``sources``, the first named
    winning where two have the same release."""
    found = []
    for release, tree in named():
        if version not in (release, series(release)):
            continue
        name = source(tree)
        if name in sources:
            found.append((order_key(release), -sources.index(name), tree))
    for _, _, tree in sorted(found, reverse=True):
        with suppress(HostLacks):  # damaged: whoever fetches it says so
            return read(tree)
    return None
