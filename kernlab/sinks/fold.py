"""A call stack folded to the frames that matter: configs/frames.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load


class _Row(Model):
    pattern: str
    why: str


class FrameTable(Model):
    keep: list[_Row]
    drop: list[_Row]
    mark: dict[str, str]


class Part(NamedTuple):
    """A piece of the folded stack: ``kind`` is func or mark (a change of context)."""

    kind: str
    text: str


@lru_cache(maxsize=1)
def _table() -> tuple[re.Pattern[str], re.Pattern[str], Mapping[str, str]]:
    table = load(config_file("frames.yaml"), FrameTable)
    keep = re.compile("|".join(f"(?:{row.pattern})" for row in table.keep) or "$^")
    drop = re.compile("|".join(f"(?:{row.pattern})" for row in table.drop) or "$^")
    return keep, drop, table.mark


def marks() -> dict[str, str]:
    """Functions that begin another context, with the word for it."""
    return dict(_table()[2])


def whole(stack: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Every frame of the stack, the inlined ones too; for one whose depth was asked for."""
    return [
        Part("func", f"{frame.get('func', '?')}{' (inlined)' if frame.get('inlined') else ''}")
        for frame in stack
    ]


def fold(stack: Sequence[Mapping[str, Any]]) -> list[Part]:
    """The stack from the probe outwards, the frames that say little left out.

    Inlined frames are never shown here, the probe's own always is. A change of context is
    marked where frames follow it.
    """
    keep, drop, marks = _table()
    parts: list[Part] = []
    for index, frame in enumerate(stack):
        name = str(frame.get("func", "?"))
        if name in marks:
            mark = Part("mark", marks[name])
            if parts and parts[-1] != mark:
                parts.append(mark)
        elif index == 0 or (
            not frame.get("inlined") and keep.search(name) and not drop.search(name)
        ):
            parts.append(Part("func", name))
    while parts and parts[-1].kind == "mark":
        parts.pop()
    return parts
