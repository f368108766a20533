"""events/*/*/format: where an event's fields lie in its record.

Linux: kernel/trace/trace_events.c, f_show(); Documentation/trace/events.rst, section 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_FIELD = re.compile(
    r"field:[^;]*?\b(?P<name>\w+)(?P<array>\[[^\]]*\])?;\s*"
    r"offset:(?P<offset>\d+);\s*size:(?P<size>\d+);\s*signed:(?P<signed>\d)"
)


class Field(NamedTuple):
    """``offset`` and ``size`` in bytes from the record's start."""

    offset: int
    size: int
    signed: bool


@dataclass(frozen=True)
class Format:
    """``number`` is what ``common_type`` says in a record of this event."""

    name: str
    number: int
    fields: dict[str, Field]


def parse(text: str) -> Format:
    """A format file. Raises ``ValueError`` for a text that is none."""
    name = re.search(r"^name:\s*(\S+)", text, re.MULTILINE)
    number = re.search(r"^ID:\s*(\d+)", text, re.MULTILINE)
    if name is None or number is None:
        raise ValueError("no event's format")
    fields = {
        match["name"]: Field(
            int(match["offset"]),
            int(match["size"]),
            match["signed"] == "1",
        )
        for match in _FIELD.finditer(text)
    }
    return Format(name[1], int(number[1]), fields)
