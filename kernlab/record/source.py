"""A few lines of the tree that a kernel was built from."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=64)
def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text("utf-8", "replace").splitlines())
    except OSError:
        return ()


def excerpt(tree: Path, file: str | None, line: int | None, around: int) -> list[list[int | str]]:
    """A line and ``around`` of its neighbours on each side, as [number, text] with tabs
    expanded; empty when there is none, or when the file is not inside the tree."""
    if not file or not line:
        return []
    path = (tree / file).resolve()
    if not path.is_relative_to(tree.resolve()):
        return []
    text = _lines(path)
    if not 1 <= line <= len(text):
        return []
    first = max(1, line - around)
    rows = text[first - 1 : line + around]
    return [[first + n, row.expandtabs(8).rstrip()] for n, row in enumerate(rows)]
