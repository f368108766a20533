"""Where each side of a connection began to count: its initial sequence number, by its SYN.

A trace may see a connection from its middle on, or a part of it that a filter lets pass. The
capture beside it has the SYNs (RFC 9293, 3.4): numbers are counted from there, and where it
has none they are told as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from kernlab.decode.packet import packet as decode
from kernlab.record.flows import Endpoint
from kernlab.record.pcapng import Captured, Growing, inner, read

_HALF = 1 << 31
_PATIENCE, _LOOK = 25, 0.02  # looks at a growing capture for a SYN, seconds between two
_KEPT = 65536  # ends of connections remembered


class Isns:
    """``more`` gives the frames that came since the last call. ``patient``: whether more may
    still come; tcpdump writes a SYN a moment after the trace saw it."""

    def __init__(self, more: Callable[[], Iterable[Captured]], patient: bool) -> None:
        self._more = more
        self._patient = patient
        self._known: dict[tuple[Endpoint, Endpoint], int] = {}
        self._shifts: dict[tuple[Endpoint, Endpoint], int | None] = {}
        self._waited: set[tuple[Endpoint, Endpoint]] = set()

    @classmethod
    def growing(cls, capture: Path) -> Isns:
        """Of what tcpdump is writing."""
        return cls(Growing(capture).frames, True)

    @classmethod
    def kept(cls, capture: Path) -> Isns:
        """Of a run's capture; of none where there is none."""
        frames = read(capture) if capture.is_file() else iter(())
        return cls(lambda: frames, False)

    def of(self, sender: Endpoint, receiver: Endpoint) -> int | None:
        """The sender's newest initial sequence number to this receiver; None: no SYN seen."""
        key = (sender, receiver)
        self._learn()
        looks = _PATIENCE if self._patient and key not in self._waited else 0
        while key not in self._known and looks > 0:
            looks -= 1
            threading.Event().wait(_LOOK)
            self._learn()
        self._waited.add(key)
        return self._known.get(key)

    def shifts(self, one: Endpoint, other: Endpoint) -> dict[Endpoint, int | None]:
        """The window scale that each side's SYN offered, as far as the SYNs were seen."""
        known = ((one, other), (other, one))
        return {pair[0]: self._shifts[pair] for pair in known if pair in self._shifts}

    def _learn(self) -> None:
        for frame in self._more():
            inside = inner(frame)
            fields = decode(inside.data) if inside is not None else None
            if fields is None or "S" not in fields.get("flags", ""):
                continue
            sender = (str(fields["src"]), int(fields["sport"]))
            receiver = (str(fields["dst"]), int(fields["dport"]))
            if len(self._known) >= _KEPT:
                self._known.clear()
                self._shifts.clear()
            self._known[sender, receiver] = fields["seq"]
            self._shifts[sender, receiver] = fields.get("options", {}).get("wscale")
            if "A" in fields["flags"]:
                self._known.setdefault((receiver, sender), (fields["ack"] - 1) & 0xFFFFFFFF)


def near(isn: int | None, number: int) -> int | None:
    """A number counted from ``isn``; None where that is not known, or is another
    connection's: more than half of the sequence space away."""
    relative = None if isn is None else (number - isn) & 0xFFFFFFFF
    return relative if relative is not None and relative < _HALF else None
