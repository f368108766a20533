"""What tcpdump's file does not say of a capture: devices' names, and what was lost."""

from __future__ import annotations

import re

from kernlab.record.pcapng import Lost

_LINK = re.compile(r"^(\d+) (\S+)$", re.MULTILINE)
_COUNT = re.compile(
    r"^(\d+) packets? (received by filter|dropped by kernel|dropped by interface)", re.MULTILINE
)


def devices(text: str) -> dict[int, str]:
    """Index → name, of what links (rootfs/guest/links.h) says: ``INDEX NAME`` a line, in the
    order of time. A device that was renamed has its last name; an index is never used again."""
    return {int(index): name for index, name in _LINK.findall(text)}


def lost(text: str) -> Lost | None:
    """The counts that tcpdump prints at its end (tcpdump(1)); None where it did not."""
    found = {what: int(count) for count, what in _COUNT.findall(text)}
    if "dropped by kernel" not in found:
        return None
    return Lost(
        found.get("received by filter", 0),
        found["dropped by kernel"],
        found.get("dropped by interface", 0),
    )
