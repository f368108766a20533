"""A trace as one picture that changes: connections and their states, last packets, rates."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kernlab.decode import protocols
from kernlab.record.flows import Flow
from kernlab.record.isn import Isns
from kernlab.record.numbers import Numbers
from kernlab.record.segments import text as segment_text
from kernlab.sinks.console import safe, words

_WINDOW = 2.0  # seconds over which a rate is taken
_CONNECTIONS, _PACKETS, _PROBES = 8, 10, 8
_KEPT = 4096  # packets that are known again


def _text(packet: Mapping[str, Any]) -> str:
    if protocols.numbered(packet):
        return segment_text({"packet": dict(packet)})
    ports = f"{packet['sport']} > {packet['dport']}"
    return f"{ports} {protocols.title(packet)} {protocols.line(packet)}".rstrip()


class LiveView:
    """Draws while events come, from the first on: before it others write on the terminal.
    Use as a context manager; ``console`` is a terminal that can move its cursor."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._numbers = Numbers()
        self._flows = self._numbers.flows
        self._states: dict[tuple[int, bool], str] = {}
        self._packets: OrderedDict[str, tuple[int, str, str, bool]] = OrderedDict()
        self._segments: Counter[int] = Counter()
        self._probes: Counter[str] = Counter()
        self._times: deque[float] = deque()
        self._flow: dict[int, Flow] = {}
        self._started = time.monotonic()
        self.seen = 0
        self._live = Live(console=console, refresh_per_second=5, get_renderable=self.draw)

    def count_from(self, isns: Isns) -> None:
        """Where connections began, as far as the events themselves do not tell."""
        self._numbers.count_from(isns)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *why: object) -> None:
        self._live.stop()

    def event(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        if not self.seen:
            self._started = time.monotonic()
            self._live.start()
        self.seen += 1
        self._times.append(time.monotonic())
        probe = str(event.get("probe", "?"))
        self._probes[probe] += 1
        packet = event.get("packet") or {}
        taken = self._flows.take(packet) if packet else None
        if taken is None:
            return
        flow = taken[0]
        self._flow.pop(flow.number, None)
        self._flow[flow.number] = flow  # the latest last
        sock = event.get("sock") or {}
        if "state" in sock and "sport" in sock and "dport" in sock:
            mine = (str(sock.get("src")), sock["sport"])
            self._states[flow.number, mine == flow.client] = str(sock["state"])
        row = protocols.of(packet)
        if row is not None:
            name = str(packet.get("id", f"event {self.seen}"))
            if self._packets.pop(name, None) is None:
                self._segments[flow.number] += 1
            reset = "R" in str(packet.get("flags", ""))
            line = safe(_text(self._numbers.in_flow(packet, *taken)))
            self._packets[name] = (flow.number, probe, line, reset)
            if len(self._packets) > _KEPT:
                self._packets.popitem(last=False)

    def draw(self) -> Group:
        """The picture as it is now."""
        now = time.monotonic()
        while self._times and self._times[0] < now - _WINDOW:
            self._times.popleft()
        head = Text(f"{self.seen} events", "bold")
        rate, since = len(self._times) / _WINDOW, now - self._started
        head.append(
            f"  {rate:.0f} a second  {since:.0f} s  {len(self._flows.all)} connections", "dim"
        )
        flows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("conn", "client", "state", "server", "state", "segments"):
            flows.add_column(name, no_wrap=True)
        for number, flow in list(self._flow.items())[-_CONNECTIONS:]:
            flows.add_row(
                str(number),
                words(f"{flow.client[0]}:{flow.client[1]}"),
                words(self._states.get((number, True), "")),
                words(f"{flow.server[0]}:{flow.server[1]}"),
                words(self._states.get((number, False), "")),
                str(self._segments[number]),
                style="red" if flow.reset else "",
            )
        packets = [
            Text(f"{number:>4}  {line}  ", "red" if reset else "").append(safe(probe), "dim")
            for number, probe, line, reset in [*self._packets.values()][-_PACKETS:]
        ]
        for row in packets:
            row.truncate(self._console.width, overflow="ellipsis")
        most = self._probes.most_common(_PROBES)
        counts = Text("  ".join(f"{safe(name)} {count}" for name, count in most), "cyan")
        return Group(head, counts, flows, *packets)
