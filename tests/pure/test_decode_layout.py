"""The members that are asked for of every kernel, and who reads them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kernlab.decode.layout import WANTED

ROOT = Path(__file__).resolve().parents[2]


def texts() -> Iterator[str]:
    """Every string in what decodes: in quotes, so that a comment is no reader."""
    for folder in ("kernlab", "gdb_scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_every_member_that_is_wanted_is_read() -> None:
    """Its name stands where it is asked for, and once more where it is read: whole, or, of the
    part that socks share, without that part's name."""
    found = Counter(texts())
    unread = [
        f"{struct}.{member}"
        for struct, members in WANTED.items()
        for member in members
        if found[member] < 2 and not found[member.removeprefix("__sk_common.")]
    ]
    assert unread == []
