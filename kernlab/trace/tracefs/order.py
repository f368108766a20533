"""Hits of all vCPUs in the order of time, each with its stack."""

from __future__ import annotations

from typing import NamedTuple

from kernlab.trace.tracefs import stacks
from kernlab.trace.tracefs.fetch import Fetch

_LATE = 1_000_000_000  # ns after which a stack that has not come will not


class Hit(NamedTuple):
    """A record at ``start`` of ``page``, whole but for its stack. ``at`` is its TSC, ``came``
    ns since 1970; ``returns``: it tells the end of a call that an earlier one began."""

    at: int
    came: int
    cpu: int
    fetch: Fetch
    page: bytes
    start: int
    returns: bool = False


class Order:
    """A hit's stack is the next one on the same vCPU; where an interrupt came between, its
    hit and stack stand between them. So the last hit that waits takes the stack, if that
    was taken at its place.
    """

    def __init__(self) -> None:
        self._whole: list[tuple[Hit, bytes | None]] = []
        self._waiting: dict[int, list[Hit]] = {}
        self._last: dict[int, Hit] = {}
        self.hits = 0
        self.without = 0

    def hit(self, hit: Hit, with_stack: bool) -> None:
        if hit.returns:
            self._whole.append((hit, None))
            return
        self.hits += 1
        self._last[hit.cpu] = hit
        if with_stack:
            self._waiting.setdefault(hit.cpu, []).append(hit)
        else:
            self._whole.append((hit, None))

    def stack(self, cpu: int, callers: bytes) -> None:
        """A stack trace; one that was taken at the place of no hit that waits is a return's."""
        waiting = self._waiting.get(cpu, [])
        for number in range(len(waiting) - 1, -1, -1):
            if stacks.matches(waiting[number].fetch.what["address"], callers):
                for hit in waiting[number + 1 :]:
                    self._lose(hit)
                self._whole.append((waiting[number], callers))
                del waiting[number:]
                return

    def _lose(self, hit: Hit) -> None:
        self.without += 1
        self._whole.append((hit, None))

    def before(self, tsc: int, now: int) -> list[tuple[Hit, bytes | None]]:
        """Those before this time, and no later than one that still waits for its stack.
        ``now``: in ns since 1970."""
        for cpu, waiting in self._waiting.items():
            late = sum(1 for hit in waiting if now - hit.came > _LATE)
            for hit in waiting[:late]:
                self._lose(hit)
            self._waiting[cpu] = waiting[late:]
            if waiting[late:]:
                tsc = min(tsc, waiting[late].at)
        self._whole.sort(key=_time)
        count = next((n for n, one in enumerate(self._whole) if one[0].at >= tsc), len(self._whole))
        ready, self._whole = self._whole[:count], self._whole[count:]
        return ready

    def rest(self) -> list[tuple[Hit, bytes | None]]:
        """All that are left. A vCPU's last hit may have no stack because the trace ended
        between the two: it is not given."""
        for waiting in self._waiting.values():
            if waiting and self._last.get(waiting[-1].cpu) is waiting[-1]:
                waiting.pop()
                self.hits -= 1
            for hit in waiting:
                self._lose(hit)
        self._waiting.clear()
        self._whole.sort(key=_time)
        ready, self._whole = self._whole, []
        return ready


def _time(one: tuple[Hit, bytes | None]) -> int:
    return one[0].at
