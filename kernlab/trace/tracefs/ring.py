"""Pages of the kernel's ring buffer, as per_cpu/cpuN/trace_pipe_raw gives them.

    u64 time stamp of the first event | u64 of which bits 0-19: bytes used | events

An event begins with a 32-bit word: 5 bits type_len, 27 bits time since the event before.
Linux: include/linux/ring_buffer.h, struct ring_buffer_event and enum ring_buffer_type;
kernel/trace/ring_buffer.c, struct buffer_data_page, rb_event_length(). All little-endian.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_HEAD = struct.Struct("<QQ")
_WORD = struct.Struct("<I")
_USED = 0xFFFFF
_MISSED = 1 << 31  # RB_MISSED_EVENTS
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_TOP_BITS = ~((1 << 59) - 1)  # a TIME_STAMP holds 59 bits; the rest is the page's


CPUS = 64  # of which statistics are asked; rootfs/guest/tracefs.c, MAX_CPUS


def statistics(instance: str) -> list[str]:
    """Commands for rootfs/guest/tracefs.c that bring what an instance's buffers have lost: of
    every vCPU that there may be; a file that is not there is passed by."""
    return [f"file {instance}/per_cpu/cpu{cpu}/stats" for cpu in range(CPUS)]


class Entry(NamedTuple):
    """One record: time in ns of the trace's clock, its first byte in the page, its bytes."""

    at: int
    start: int
    length: int


def entries(page: bytes) -> list[Entry]:
    """The records of a page in their order; of a torn one those that are whole."""
    if len(page) < _HEAD.size:
        return []
    now, commit = _HEAD.unpack_from(page)
    end = min(_HEAD.size + (commit & _USED), len(page))
    base = now & _TOP_BITS
    at = _HEAD.size
    found = []
    word = _WORD.unpack_from
    while at + 4 <= end:
        (head,) = word(page, at)
        kind, delta = head & 31, head >> 5
        if 0 < kind < _PADDING:
            length, start = kind * 4, at + 4
            now += delta
        elif at + 8 > end:
            break
        elif kind == 0:
            length, start = word(page, at + 4)[0] - 4, at + 8
            now += delta
        elif kind == _TIME_EXTEND:
            now += (word(page, at + 4)[0] << 27) + delta
            at += 8
            continue
        elif kind == _TIME_STAMP:
            now = base | (word(page, at + 4)[0] << 27) + delta
            at += 8
            continue
        else:  # padding: a discarded record, or the rest of the page
            if not delta:
                break
            at += 4 + word(page, at + 4)[0]  # its delta does not count: rb_update_read_stamp()
            continue
        if length <= 0 or start + length > end:
            break
        found.append(Entry(now, start, length))
        at = start + (length + 3 & ~3)
    return found


def missed(page: bytes) -> bool:
    """Whether events were overwritten before this page."""
    return len(page) >= _HEAD.size and bool(_HEAD.unpack_from(page)[1] & _MISSED)
