"""Freeing disk, by kind, without taking anything from under whoever uses it.

In use is what a living run names, what is being made (its lock, or its temporary directory, is
held), and for a build all sources and the compiler's cache, since which tree it compiles is not
told. Lock files stay: they are empty, and somebody may wait at one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from kernlab.config.paths import discard, home, is_held, set_aside
from kernlab.errors import KernlabError
from kernlab.record.rundir import RunDir, running

KINDS = ("runs", "kernels", "images", "sources", "downloads")
_LOCK = ".lock"
_CCACHE = "ccache"


def clean_kind(kind: str) -> tuple[int, list[str]]:
    """Remove what is not in use; how many entries are, and what could not be removed and why.
    A run of which it cannot be told (``running``) stays."""
    directory = home() / kind
    if not directory.is_dir():
        return 0, []
    if kind == "runs":
        return _runs(directory)
    live = [run for run, _ in running()[0]]
    used = {
        str(run.read().get("resolved", {}).get(key))
        for run in live
        for key in ("kernel", "image", "source")
    }
    busy = set(_held(directory))
    building = bool(busy) if kind == "kernels" else any(_held(home() / "kernels"))
    kept, failed = 0, []
    for path in sorted(directory.iterdir()):
        if path.name.endswith(_LOCK):
            continue
        if (
            path.name in used
            or str(path) in used
            or (live and kind == "images")
            or any(name in path.name for name in busy)
            or (building and (kind == "sources" or path.name == _CCACHE))
            or (kind == "downloads" and busy)
            or (path.is_dir() and is_held(path))
        ):
            kept += 1
        else:
            failed += _remove(path)
    return kept, failed


def _runs(directory: Path) -> tuple[int, list[str]]:
    kept, failed = 0, []
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or not path.is_dir():
            failed += discard(path)
            continue
        run = RunDir(path)
        try:
            owner = run.owner()
        except KernlabError:
            continue
        if owner is not None:
            kept += 1
        else:
            failed += run.remove()
    return kept, failed


def _remove(path: Path) -> list[str]:
    """An artifact is gone at once, so that nobody finds half of it."""
    if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
        try:
            return set_aside(path)
        except OSError as error:
            return [f"{path}: {error.strerror}"]
    return discard(path)


def _held(directory: Path) -> Iterator[str]:
    """Names of the artifacts of a kind whose locks somebody holds."""
    for path in directory.glob(f"*{_LOCK}"):
        lock = FileLock(path)
        try:
            with lock.acquire(timeout=0):
                pass
        except Timeout:
            yield path.name.removeprefix(".").removesuffix(_LOCK)
        except OSError:
            continue
