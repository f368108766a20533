"""What a command line asked for, as run.json keeps it: its words, and what the files it named
held then."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kernlab.config.files import open_regular


def asked(words: Sequence[str], files: Iterable[Path]) -> dict[str, Any]:
    """``argv``, and ``files``: each path that is there → its SHA-256."""
    found = {str(path): digest for path in files if (digest := _digest(path))}
    return {"argv": list(words), **({"files": found} if found else {})}


def _digest(path: Path) -> str:
    """Of a file's content; of a directory's, the names and digests of all files in it. Empty
    for what cannot be read: who needs it says so."""
    try:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            rows = "".join(f"{_digest(one)}  {one.relative_to(path)}\n" for one in inside)
            return hashlib.sha256(rows.encode("utf-8", "surrogateescape")).hexdigest()
        digest = hashlib.sha256()
        with open_regular(path) as file:  # of a device or a pipe it would not end
            while piece := file.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest()
    except OSError:
        return ""
