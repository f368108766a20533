"""Trees that were fetched before: each holds a note of where it came from.

The note's first word is the source, its last the digest that goes into a kernel's key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kernlab.config.paths import home_dir
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


def all_trees() -> Iterator[Path]:
    """Every marked tree there is."""
    for tree in sorted(home_dir("sources").iterdir()):
        if (tree / ORIGIN).is_file():
            yield tree


def find(version: str, sources: Sequence[str]) -> SourceTree | None:
    """The newest tree of a series or release from one of ``sources``, the first named
    winning where two have the same release."""
    found = []
    for tree in all_trees():
        match = _NAME.match(tree.name)
        source = (tree / ORIGIN).read_text("utf-8").split(" ")[0]
        if match is None or source not in sources:
            continue
        if version in (match[1], series(match[1])):
            found.append((order_key(match[1]), -sources.index(source), tree))
    return read(max(found)[2]) if found else None
