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
    """A piece of the folded stack: kind is func, hidden (a count) or mark."""

    kind: str
    text: str


@lru_cache(maxsize=1)
def _table() -> tuple[re.Pattern[str], re.Pattern[str], Mapping[str, str]]:
    table = load(config_file("frames.yaml"), FrameTable)
    keep = re.compile("|".join(f"(?:{row.pattern})" for row in table.keep) or "$^")
    drop = re.compile("|".join(f"(?:{row.pattern})" for row in table.drop) or "$^")
    return keep, drop, table.mark


def fold(stack: Sequence[Mapping[str, Any]]) -> list[Part]:
    """The stack from the probe outwards. Inlined frames are never shown here, and the
    probe's own frame always is."""
    keep, drop, marks = _table()
    parts: list[Part] = []
    hidden = 0
    for index, frame in enumerate(stack):
        name = str(frame.get("func", "?"))
        mark = marks.get(name)
        if mark is not None and (not parts or parts[-1] != Part("mark", mark)):
            if hidden:
                parts.append(Part("hidden", str(hidden)))
            parts.append(Part("mark", mark))
            hidden = 0
        elif index == 0 or (
            not frame.get("inlined") and keep.search(name) and not drop.search(name)
        ):
            if hidden:
                parts.append(Part("hidden", str(hidden)))
            parts.append(Part("func", name))
            hidden = 0
        elif not frame.get("inlined") and mark is None:
            hidden += 1
    if hidden and parts and parts[-1].kind != "mark":
        parts.append(Part("hidden", str(hidden)))
    return parts
