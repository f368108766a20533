"""Packets on the terminal, one after the other: each with its whole way through the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from kernlab.decode import protocols
from kernlab.errors import as_called
from kernlab.record.identity import FREES
from kernlab.record.isn import Isns
from kernlab.record.numbers import Numbers
from kernlab.record.segments import text as segment_text
from kernlab.sinks.console import safe
from kernlab.sinks.lanes import lane_of

_OPEN = 4096  # packets that are waited for; the oldest is drawn when there are more


class FollowView:
    """Draws a packet when it is freed, and those that are left at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open: dict[str, list[Mapping[str, Any]]] = {}
        self._live: dict[str, set[str]] = {}
        self._numbers = Numbers()
        self.packets = 0
        self.without = 0

    def count_from(self, isns: Isns) -> None:
        """Where connections began, as far as the events themselves do not tell."""
        self._numbers.count_from(isns)

    def event(self, event: Mapping[str, Any]) -> None:
        """Take one event; draw the packet that it ends."""
        packet, skb = event.get("packet") or {}, event.get("skb") or {}
        name = packet.get("id")
        if name is None or "addr" not in skb:
            self.without += 1
            return
        self._open.setdefault(name, []).append(event)
        live = self._live.setdefault(name, set())
        live.add(skb["addr"])
        if event.get("probe") in FREES and skb.get("users", 1) <= 1:
            live.discard(skb["addr"])
        if not live:
            self._draw(name)
        elif len(self._open) > _OPEN:
            self._draw(next(iter(self._open)))

    def summary(self, facts: Mapping[str, str]) -> None:
        """Draw what is left, and the facts given."""
        for name in list(self._open):
            self._draw(name)
        self._console.print()
        told = {"packets": str(self.packets), **facts}
        if self.without:
            told["besides"] = as_called(f"{self.without} events of no packet; see kernlab show")
        for name, value in told.items():
            line = Text(f"{name:<10}", "dim")
            line.append(value)
            self._console.print(line, soft_wrap=True)

    def _draw(self, name: str) -> None:
        events = self._open.pop(name)
        self._live.pop(name, None)
        self.packets += 1
        packet = self._numbers.of(max((event["packet"] for event in events), key=len))
        head = Text(f"\n{name}  ", "bold")
        if "flags" in packet and "win" in packet:
            reset = "R" in packet["flags"]
            head.append(safe(segment_text({"packet": packet})), "bold red" if reset else "bold")
        else:
            said = f"{protocols.title(packet)} {protocols.line(packet)}"
            head.append(safe(said.strip()), "bold")
        if "src" in packet:
            ends = "{} → {}".format(*protocols.ends(packet).split(" > "))
            head.append(f"  {safe(ends)}", "dim")
        self._console.print(head, no_wrap=True, overflow="ellipsis")
        start = events[0].get("host_ns", 0)
        before: dict[str, Any] = {}
        for event in events:
            self._hop(event, start, before)
            before = {**before, **_facts(event)}

    def _hop(self, event: Mapping[str, Any], start: int, before: Mapping[str, Any]) -> None:
        line = Text(f"  {(event.get('host_ns', start) - start) / 1e6:>8.1f} ms  ", "dim")
        line.append(f"{lane_of(event):<10}", "cyan")
        freed = event.get("probe") in FREES
        line.append(safe(event.get("probe", "?")), "dim" if freed else "bold")
        changed = [
            f"{key} {before[key]} → {value}"
            for key, value in _facts(event).items()
            if key in before and before[key] != value
        ]
        first = [f"{key} {value}" for key, value in _facts(event).items() if key not in before]
        shown = "  ".join([*changed, *first])
        if shown:
            line.append(f"  {safe(shown)}", "yellow")
        self._console.print(line, no_wrap=True, overflow="ellipsis")


def _facts(event: Mapping[str, Any]) -> dict[str, Any]:
    sock, skb = event.get("sock") or {}, event.get("skb") or {}
    named = {
        "state": sock.get("state"),
        "dev": skb.get("dev"),
        "len": skb.get("len"),
        "cpu": event.get("cpu"),
    }
    return {key: value for key, value in named.items() if value is not None}
