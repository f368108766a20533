"""Who holds a lock, and since which line: told by the source of the frames that know it.

A queued spinlock does not keep its owner (kernel/locking/qspinlock.c). But the function that
took it stands on its owner's stack, past the line that takes it and before the one that lets
it go; a vCPU whose frames only know the lock's address took it nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_TAKES = (
    r"\b\w*(?:_lock|lock_sock|_trylock)(?:_\w+)?\(\s*&?{name}\b"
    # net/core/sock.c, sk_clone_lock(): a child is born with its lock taken.
    r"|\b{name} = (?:sk_clone_lock|inet_csk_clone_lock|tcp_create_openreq_child)\("
)
_LETS = r"\b\w*(?:_unlock|unlock_sock|release_sock)(?:_\w+)?\(\s*&?{name}\b"


def settled(locks: list[dict[str, Any]], source: Path) -> list[dict[str, Any]]:
    """``gdb_scripts.hold``'s locks, each with the function that took it and the line
    (``func``, ``file``, ``since``) where that can be told, and where its holder is now
    (``line``); without their frames."""
    found = [_settled(lock, source) for lock in locks]
    # A process that owns a sock (lock_sock()) may sleep anywhere: only who took it on this
    # very stack is told.
    return [one for one in found if "since" in one or not one["name"].endswith("owned")]


def _settled(lock: dict[str, Any], source: Path) -> dict[str, Any]:
    frames = lock["frames"]
    found = {key: value for key, value in lock.items() if key != "frames"}
    for frame in frames:
        since = taken(_lines(Path(frame["file"])), frame["first"], frame["line"], frame["name"])
        if since is not None:
            return {**found, "name": frame["name"], **_at(frame, source), "since": since}
    return {**found, **_at(frames[0], source)}


def _at(frame: dict[str, Any], source: Path) -> dict[str, Any]:
    file = frame["file"].removeprefix(f"{source}/")
    return {"func": frame["func"], "file": file, "line": frame["line"]}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def taken(text: list[str], first: int, now: int, name: str) -> int | None:
    """The line before ``now`` where the function that begins at line ``first`` (1-based)
    took the lock ``name`` (a variable; ``sk->sk_lock.slock`` for a socket's), if it has not
    let go of it since. What a loop or a label changes is not followed."""
    variable = re.escape(name.partition("->")[0])
    takes, lets = (re.compile(one.format(name=variable)) for one in (_TAKES, _LETS))
    since = None
    for number in range(max(1, first), min(now, len(text) + 1)):
        row = text[number - 1]
        if lets.search(row):
            since = None
        elif takes.search(row):
            since = number
    return since
