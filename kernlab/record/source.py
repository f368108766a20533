"""A few lines of the tree that a kernel was built from."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from kernlab.config.files import read_json, read_regular
from kernlab.config.paths import home

_KINDS = (".c", ".h", ".S", ".s")  # a record names places in a kernel's source, nothing else
_LONGEST = 4 << 20  # bytes of a source file


@lru_cache(maxsize=64)
def _lines(tree: Path, path: Path) -> tuple[str, ...]:
    try:
        return tuple(read_regular(path, _LONGEST, tree).decode("utf-8", "replace").splitlines())
    except (OSError, ValueError):  # not inside the tree, or no such name
        return ()


def excerpt(tree: Path, file: str | None, line: int | None, around: int) -> list[list[int | str]]:
    """A line and ``around`` of its neighbours on each side, as [number, text] with tabs
    expanded; empty when there is none, or when the file is no source file inside the tree, to
    which no link leads."""
    if not file or not line or not file.endswith(_KINDS) or "\0" in file:
        return []
    text = _lines(tree, tree / file)
    if not 1 <= line <= len(text):
        return []
    first = max(1, line - around)
    rows = text[first - 1 : line + around]
    return [[first + n, row.expandtabs(8).rstrip()] for n, row in enumerate(rows)]


def known_tree(told: str | None, key: str | None) -> Path | None:
    """The source tree ``told`` of a run whose kernel has this key, where it is one that kernlab
    fetched or that a kernel here was built from. A record may come from anybody and name any
    directory."""
    if not told or "\0" in told:
        return None
    tree = Path(told)
    sources = (home() / "sources").resolve()
    ours = tree.resolve().is_relative_to(sources) and tree.resolve() != sources
    known = ours or (key is not None and told == _built_from(key))
    return tree if known and tree.is_dir() else None


def _built_from(key: str) -> str | None:
    """The tree that the kernel with this key was built from, by its kernel.json."""
    if not key or set(key) & {"/", "\0"} or key in (".", ".."):
        return None
    kernels = home() / "kernels"
    try:
        data = read_json(kernels / key / "kernel.json", kernels)
    except (OSError, ValueError):
        return None
    source = data.get("source") if isinstance(data, dict) else None
    return source if isinstance(source, str) else None
