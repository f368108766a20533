"""Source `local`: a tree or a tarball of the user's own."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from kernlab.config.paths import expanded, home_dir
from kernlab.errors import BadInput
from kernlab.kernel.model import SourceTree
from kernlab.kernel.sources.unpack import arriving_tree, unpack
from kernlab.progress import Finished, Reporter, Said, Started

_VERSION_LINES = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL)\s*=\s*(\d+)\s*$", re.MULTILINE)


def tree_version(tree: Path) -> str:
    """The release a tree's Makefile says. Raises ``BadInput`` when it is no kernel tree."""
    try:
        text = (tree / "Makefile").read_text("utf-8", "replace")[:2000]
    except OSError as error:
        raise BadInput(
            f"{tree} is not a kernel source tree", str(error), "kernlab fetch"
        ) from error
    return version_in(text if (tree / "Kconfig").is_file() else None, str(tree))


def version_in(makefile: str | None, name: str) -> str:
    """The release that a kernel's Makefile says. Raises ``BadInput`` when it is none; ``name``
    stands for the tree."""
    found = dict(_VERSION_LINES.findall((makefile or "")[:2000]))
    if len(found) < 3:
        raise BadInput(
            f"{name} is not a kernel source tree",
            "its Makefile has no VERSION, PATCHLEVEL and SUBLEVEL, or Kconfig is missing",
            "kernlab fetch",
        )
    return f"{found['VERSION']}.{found['PATCHLEVEL']}.{found['SUBLEVEL']}"


def get(path: Path, report: Reporter) -> SourceTree:
    """The tree at ``path``, or the one in the tarball there.

    A tree is used where it lies and never written to (objects go elsewhere). A tree that
    was built in is refused, as the kernel's own build would.
    """
    path = expanded(path).absolute()
    if path.is_dir():
        return _tree(path)
    if path.is_file():
        return _tarball(path, report)
    raise BadInput(f"{path} does not exist", "no such tree or tarball", "kernlab fetch")


def _tree(path: Path) -> SourceTree:
    version = tree_version(path)
    if (path / ".config").exists() or (path / "include" / "config").is_dir():
        is_git = (path / ".git").exists()
        clean = f"make -C {path} mrproper"
        raise BadInput(
            f"{path} contains the files of an earlier build",
            "kernlab builds outside the tree, which must be clean for that"
            + (f"; {clean} removes them, and what is committed can be built as it is" * is_git),
            f"kernlab build {path}@HEAD" if is_git else clean,
        )
    return SourceTree(version, path, f"tree {path}", _fingerprint(path))


def _fingerprint(tree: Path) -> str:
    """A digest of every file's path, size and mtime: an edit changes it, without reading 1 GB."""
    digest = hashlib.sha256(str(tree).encode())
    for directory, names, files in os.walk(tree):
        names[:] = sorted(name for name in names if name != ".git")
        for name in sorted(files):
            stat = os.lstat(os.path.join(directory, name))
            digest.update(f"{directory}/{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _tarball(path: Path, report: Reporter) -> SourceTree:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    content = digest.hexdigest()
    final = home_dir("sources") / f"local-{content[:16]}"
    if not _here(final, report):
        report(Started(f"unpack {path.name}"))
        with arriving_tree(final) as temporary:
            unpack(path, temporary, report)
            tree_version(temporary)
        report(Finished(f"unpack {path.name}"))
    return SourceTree(tree_version(final), final, f"tarball {path}", content)


def _here(tree: Path, report: Reporter) -> bool:
    if not tree.is_dir():
        return False
    try:
        tree_version(tree)
        return True
    except BadInput as error:
        report(Said(f"{error.what} any more ({error.why}): it is unpacked again"))
        return False
