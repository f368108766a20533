"""A source tree with a user's patches on it, without touching the tree itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kernlab.errors import BadInput
from kernlab.kernel.model import SourceTree
from kernlab.process import run


@contextmanager
def patched(source: SourceTree, patches: Sequence[Path], scratch: Path) -> Iterator[Path]:
    """The tree to build from: the source itself, or a copy of it with the patches applied.

    Files of the copy are hard links until ``patch`` writes new ones in their place. The
    first patch that does not apply raises ``BadInput`` with what ``patch`` said.
    """
    if not patches:
        yield source.path
        return
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        run(600, ["cp", "-al", str(source.path), str(scratch)], tree=True)
        for patch in patches:
            said = run(
                120,
                ["patch", "-p1", "--forward", "--batch", "-i", str(patch.absolute())],
                cwd=scratch,
                check=False,
                merge=True,
            )
            if said.returncode != 0:
                raise BadInput(
                    f"--patch {patch} does not apply to {source.version}",
                    said.text.strip()[-1500:],
                    f"patch --dry-run -p1 -d {source.path} -i {patch.absolute()}",
                )
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
