"""configs/locks.yaml: which lock a function is entered with, the kernel's tables of locks, and
the functions in which a vCPU waits. And a lock of a record in words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from kernlab.config.paths import config_file, shipped
from kernlab.config.text import Language, Text, say
from kernlab.config.yaml import Model, load

WaitKind = Literal["lock", "ipi", "rcu", "stop_machine"]

_WORDS: dict[str, dict[Language, str]] = {
    "slock": {"en": "spinlock (slock) of the socket {at}", "zh": "套接字 {at} 的自旋锁 (slock)"},
    "owned": {"en": "ownership (owned) of the socket {at}", "zh": "套接字 {at} 的所有权 (owned)"},
}


class LockRow(Model):
    """``of``: the argument that has the lock, where it is not ``sk``."""

    lock: str
    held: dict[str, str]
    of: dict[str, str] = {}


class Range(Model):
    """C expressions: the address of the first byte, and the size in bytes."""

    first: str
    size: str


class TableRow(Model):
    """A table of locks. ``at``: where it lies, in one kernel or another."""

    id: str
    says: Text
    at: list[Range]


class WaitRow(Model):
    """A function in which a vCPU waits. ``when``: C conditions, one of which must be true;
    ``owner``: the pid of the task that has the lock."""

    kind: WaitKind
    at: str
    when: list[str] = []
    sleeps: bool = False
    owner: str = ""


class LockTable(Model):
    """configs/locks.yaml."""

    locks: list[LockRow]
    tables: list[TableRow] = []
    waits: list[WaitRow] = []


def table() -> LockTable:
    """The user's own file or the shipped one; what the user's lacks is the shipped one's.
    Raises ``BadInput`` naming file and line."""
    own, ours = map(_loaded, (config_file("locks.yaml"), shipped("configs", "locks.yaml")))
    return own.model_copy(
        update={"tables": own.tables or ours.tables, "waits": own.waits or ours.waits}
    )


@cache  # each lock of each stop asks for its words
def _loaded(path: Path) -> LockTable:
    return load(path, LockTable)


def entered(table: LockTable) -> dict[str, str]:
    """The argument whose socket's lock a function's callers have, by the function's name."""
    return {name: row.of.get(name, "sk") for row in table.locks for name in row.held}


def said(which: Mapping[str, Any], language: Language = "en") -> str:
    """Which lock it is, in words: ``kind`` is ``slock`` or ``owned``, of the socket with this
    ``port`` and ``state``, or ``table``, one of the table with this id. Empty for another."""
    kind = which.get("kind")
    if kind in _WORDS:
        at = f":{which.get('port', '?')} ({which.get('state', '?')})"
        return _WORDS[kind][language].format(at=at)
    if kind != "table":
        return ""
    rows = [row for row in table().tables if row.id == which.get("table")]
    return say(rows[0].says, language) if rows else ""
