"""A tarball into a tree that appears under its final name only when it is complete."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from kernlab.config.paths import arriving
from kernlab.errors import BadInput, HostLacks, WeFailed
from kernlab.process import DEVNULL, PIPE, Child, Stream, run
from kernlab.progress import Advanced, Reporter

_LIMIT = 1800.0
_ROOM = 2 << 30  # bytes: a 5.x tree is 1.0 to 1.3 GB


@contextmanager
def arriving_tree(final: Path) -> Iterator[Path]:
    """``arriving`` under a lock, with the room checked: raises ``HostLacks`` when it is short."""
    free = shutil.disk_usage(final.parent).free
    if free < _ROOM:
        raise HostLacks(
            f"{final.parent} has {free >> 20} MB free",
            f"a source tree needs {_ROOM >> 20} MB; KERNLAB_HOME may name a directory on a larger "
            "disk",
            "kernlab clean runs",
        )
    with FileLock(f"{final}.lock", timeout=_LIMIT), arriving(final) as temporary:
        yield temporary


def unpack(tarball: Path, into: Path, report: Reporter) -> None:
    """Unpack a source tarball (any compression tar knows) without its top directory.

    Raises ``BadInput`` when it is truncated or damaged.
    """
    stage = f"unpack {tarball.name}"
    status, said = _tar(["-f", str(tarball), "--strip-components=1"], DEVNULL, into, stage, report)
    if status != 0:
        raise BadInput(f"{tarball} is damaged or truncated", said, f"rm {tarball}")


def member(tarball: Path, name: str) -> str | None:
    """A file of a source tarball, its top directory left out of ``name``; None without it.
    Raises ``BadInput`` where nothing was found and the tarball is damaged."""
    argv = [
        "tar",
        "-x",
        "-O",
        "-f",
        str(tarball),
        "--occurrence=1",
        "--no-wildcards-match-slash",
        "--wildcards",
        f"*/{name}",
    ]
    said = run(_LIMIT, argv, env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False, tree=True)
    if said.stdout:
        return said.text
    text = said.stderr.decode("utf-8", "replace").strip()[-500:]
    if said.returncode == 0 or "Not found in archive" in text:
        return None
    raise BadInput(f"{tarball} is damaged or truncated", text, f"rm {tarball}")


def unpack_stream(stream: Stream, into: Path, stage: str, report: Reporter) -> None:
    """Unpack an uncompressed tar that comes from another child. Raises ``WeFailed``."""
    status, said = _tar(["-f", "-"], stream, into, stage, report)
    if status != 0:
        raise WeFailed(f"{stage}: tar failed", said, "again")


def _tar(
    words: list[str], stdin: Stream, into: Path, stage: str, report: Reporter
) -> tuple[int, str]:
    """tar's status, and the end of what it complained of."""
    # In English, so that what tar says of a full disk is known when it comes.
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    argv = ["tar", "-x", "-v", *words, "--no-same-owner", "-C", str(into)]
    said: list[bytes] = []
    with Child(argv, stdout=PIPE, stderr=PIPE, stdin=stdin, env=env, tree=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        errors = child.stderr
        drain = threading.Thread(target=lambda: said.append(errors.read()), daemon=True)
        drain.start()
        for count, _ in enumerate(child.stdout):
            if count % 500 == 0:
                report(Advanced(stage, count))
        status = child.wait(_LIMIT)
        drain.join(10)
    text = b"".join(said).decode("utf-8", "replace").strip()[-500:]
    if os.strerror(errno.ENOSPC) in text:
        why = f"{text}\nKERNLAB_HOME may name a directory on a larger disk"
        raise HostLacks(f"{into.parent} is full", why, "kernlab clean runs")
    return status, text
