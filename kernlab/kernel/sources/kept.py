"""Trees that were fetched before: each holds a note of where it came from.

The note's first word is the source, its last the digest that goes into a kernel's key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kernlab.config.paths import home
from kernlab.kernel.catalogue import order_key, series
from kernlab.kernel.model import SourceTree
from kernlab.kernel.sources.local import tree_version

ORIGIN = ".kernlab-origin"
_NAME = re.compile(r"^(?:linux|kernel_org)-(\d+\.\d+\.\d+)$")


def mark(tree: Path, source: str, name: str, digest: str) -> None:
    """Leave the note in a tree that is complete."""
    (tree / ORIGIN).write_text(f"{source} {name} {digest}\n", "utf-8")


def read(tree: Path) -> SourceTree:
    """A tree that was marked earlier."""
    origin = (tree / ORIGIN).read_text("utf-8").strip()
    return SourceTree(tree_version(tree), tree, origin, origin.split()[-1])


def source(tree: Path) -> str:
    """The source that a tree came from; "" for one without a note."""
    try:
        return (tree / ORIGIN).read_text("utf-8").split(" ")[0]
    except OSError:
        return ""


def named() -> Iterator[tuple[str, Path]]:
    """Release and place of every tree whose directory is named after one."""
    for tree in sorted((home() / "sources").glob("*")):
        match = _NAME.match(tree.name)
        if match is not None and tree.is_dir():
            yield match[1], tree


def all_trees() -> Iterator[Path]:
    """Every marked tree there is."""
    for tree in sorted((home() / "sources").glob("*")):
        if (tree / ORIGIN).is_file():
            yield tree


def find(version: str, sources: Sequence[str]) -> SourceTree | None:
    """The newest tree of a series or release from one of ``sources``, the first named
    winning where two have the same release."""
    found = []
    for release, tree in named():
        if version not in (release, series(release)) or not (tree / ORIGIN).is_file():
            continue
        name = source(tree)
        if name in sources:
            found.append((order_key(release), -sources.index(name), tree))
    return read(max(found)[2]) if found else None
