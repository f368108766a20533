"""Events as JSON that is small and written one after the other, for any number of them.

A page of a hundred thousand events has to open in seconds. What repeats is written once and
named by its number afterwards: tasks, sites, stacks, packets that pass several probes. A
socket is written as what changed since its last event, which is what a reader asks for too.
The page's data.js undoes it. A row:

    {"q": seq, "p": probe, "g": engine, "c": cpu, "n": guest_ns, "h": host_ns, "t": task,
     "s": site, "k": stack, "P": packet, "b": skb, "S": sock, "f": frame, "o": refused,
     "l": line, "d": drop, "x": the rest}

``t``, ``s``, ``k``, ``P``: a number names an earlier value by the order in which values of
its kind came, anything else is a new value. ``S``: [addr, changed, gone]. Times: ``n`` and
``h`` are differences to the event before, the first ``h`` is the clock's as text.
``l`` is what is in a packet that is no segment, in words. Left out: ``packet.raw``.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kernlab.decode import protocols
from kernlab.record import drops
from kernlab.sinks.console import safe_lines

_KNOWN = 8192  # values of a kind that are remembered
_OWN = frozenset(
    (
        "v",
        "seq",
        "probe",
        "engine",
        "cpu",
        "guest_ns",
        "host_ns",
        "task",
        "site",
        "stack",
        "packet",
        "skb",
        "sock",
    )
)


def dumps(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it ends the element or a line
    (HTML, 4.12.1.3: neither ``</script`` nor ``<!--`` can appear without a ``<``)."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    # What ends a line in a script, turns a text's direction or is no UTF-8 is shown as "?".
    return safe_lines(text.replace("<", "\\u003c"))


class _Once:
    """Values of one kind: the first time itself, then its number."""

    def __init__(self) -> None:
        self._count = 0
        self._known: OrderedDict[str, int] = OrderedDict()

    def __call__(self, value: Any) -> Any:
        key = json.dumps(value, separators=(",", ":"))
        number = self._known.get(key)
        if number is not None:
            self._known.move_to_end(key)
            return number
        self._known[key] = self._count
        self._count += 1
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return value


class Packer:
    """Packs the events of one run in their order."""

    def __init__(self) -> None:
        self._once = {name: _Once() for name in ("task", "site", "stack", "packet")}
        self._probes = _Once()
        self._socks: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._guest = 0
        self._host: int | None = None

    def row(
        self, event: Mapping[str, Any], frame: int | None, refused: int | None = None
    ) -> dict[str, Any]:
        """One event; ``frame``: its segment's number in the capture, ``refused``: of the
        segment that its RST answers."""
        row: dict[str, Any] = {"q": event.get("seq", 0)}
        for short, name in (("p", "probe"), ("g", "engine")):
            if name in event:
                row[short] = self._probes(event[name])
        if "cpu" in event:
            row["c"] = event["cpu"]
        if isinstance(event.get("guest_ns"), int):
            row["n"] = event["guest_ns"] - self._guest
            self._guest = event["guest_ns"]
        host = event.get("host_ns")
        if isinstance(host, int):
            row["h"] = str(host) if self._host is None else host - self._host
            self._host = host
        for short, name in (("t", "task"), ("s", "site"), ("k", "stack")):
            if name in event:
                row[short] = self._once[name](event[name])
        if "packet" in event:
            packet = {k: v for k, v in event["packet"].items() if k != "raw"}
            row["P"] = self._once["packet"](packet)
            said = "" if "flags" in packet else protocols.line(packet)
            if said:
                row["l"] = said
        if "skb" in event:
            row["b"] = event["skb"]
        if "sock" in event:
            row["S"] = self._sock(event["sock"])
        if frame is not None:
            row["f"] = frame
        if refused is not None:
            row["o"] = refused
        dropped = drops.said(event)
        if dropped:
            row["d"] = dropped
        rest = {k: _safe(v) for k, v in event.items() if k not in _OWN}
        if rest:
            row["x"] = rest
        return row

    def _sock(self, sock: Mapping[str, Any]) -> list[Any]:
        addr = str(sock.get("addr", ""))
        known = self._socks.get(addr, {})
        changed = {k: v for k, v in sock.items() if k != "addr" and known.get(k) != v}
        gone = [k for k in known if k not in sock]
        self._socks[addr] = dict(sock)
        return [addr, changed, gone] if gone else [addr, changed]


def _safe(value: Any) -> Any:
    """Values that a JavaScript number holds exactly; larger ones as ``{"$n": text}``. A
    packet's bytes are left out."""
    if isinstance(value, dict):
        return {k: _safe(v) for k, v in value.items() if k != "raw"}
    if isinstance(value, list):
        return [_safe(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return {"$n": str(value)}
    return value


def segment_rows(segments: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Segments as JSON, an array each: number, ns since 1970 as text, flow, client, packet,
    and where they are known the interface's name and whether it came in there: a loopback's
    does not, its sender is here."""
    for one in segments:
        packet = {k: v for k, v in one["packet"].items() if k not in ("raw", "proto")}
        row = [one["number"], str(one["at"]), one["flow"], int(one["client"]), packet]
        device = one.get("interface")
        if device is not None:
            row += [device, int(device != "lo" and one.get("outgoing") is False)]
        yield dumps(row)
