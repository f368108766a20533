"""Events for human eyes: one line a packet, the stack under it.

#  time      conn  flags      seq           ack  wnd    state
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kernlab.decode import protocols
from kernlab.decode.names import flags_words
from kernlab.record.flows import Endpoint, Flow
from kernlab.record.isn import Isns
from kernlab.record.numbers import Numbers
from kernlab.sinks.console import safe, words
from kernlab.sinks.fold import Part, fold, whole

StackStyle = Literal["fold", "whole", "full", "none"]

_INDENT = " " * 15
_ENDPOINT = re.compile(r"(?:[\d.]+|\[[\da-f:]+\]):\d+|AF_UNSPEC")
# Columns from which on a line also has the window, and what else is known.
_WITH_WINDOW, _WIDE = 96, 130


def _flag_style(flags: str) -> str:
    if "R" in flags:
        return "bold red"
    if "S" in flags:
        return "bold green"
    if "F" in flags:
        return "bold yellow"
    return "bold cyan" if "P" in flags else "cyan"


class TraceView:
    """Draws a stream of events on ``console``; remembers what it needs of earlier ones. ``raw``:
    sequence numbers and windows as on the wire."""

    def __init__(
        self,
        console: Console,
        stack: StackStyle = "fold",
        several: bool = False,
        raw: bool = False,
    ) -> None:
        self._console = console
        self._stack = stack
        self._several = several  # more than one probe: each line says which
        self._raw = raw
        self._numbers = Numbers()
        self._flows = self._numbers.flows
        self._first_ns: int | None = None
        self._last_parts: list[Part] = []
        self._ascii = not (console.encoding or "").lower().startswith("utf")
        self._wide = console.width >= _WIDE

    def count_from(self, isns: Isns) -> None:
        """Where connections began, as far as the events themselves do not tell."""
        self._numbers.count_from(isns)

    def _relative(self, flow: Flow, sender: Endpoint, receiver: Endpoint, number: int) -> str:
        """A sequence number of ``sender``'s counted from its SYN, or marked as it is."""
        if self._raw:
            return str(number)
        relative = self._numbers.relative(flow, sender, receiver, number)
        if relative is not None:
            return str(relative)
        return f"{number} abs" if number else "0"

    def _sign(self, fancy: str, plain: str) -> str:
        return plain if self._ascii else fancy

    def event(self, event: Mapping[str, Any]) -> None:
        """Draw one event."""
        packet = event.get("packet") or {}
        taken = self._flows.take(packet) if packet else None
        flow, from_client = taken if taken else (None, True)
        if flow is not None and sum(flow.segments.values()) == 1:
            self._connection(flow)
        line = Text()
        line.append(f"{event.get('seq', 0):>4} ", "dim")
        line.append(f"{self._time(event):>8}  ", "dim")
        if flow is not None:
            self._packet(line, packet, flow, from_client)
        elif "proto" in packet or "src" in packet:
            self._other(line, packet)
        else:
            self._arguments(line, event)
        state = (event.get("sock") or {}).get("state")
        if state:
            line.append("  ")
            line.append(safe(state), "magenta")
        sends = protocols.sends(event)
        if sends:
            line.append(f"  {safe(sends)}", "bold yellow")
        if "ret" in event:
            line.append("  = ", "dim")
            line.append(safe(event["ret"]), "bold")
        if self._several and packet:
            line.append(f"  {safe(event.get('probe', ''))}", "blue")
        if self._wide:
            self._extras(line, event, packet)
        self._console.print(line, no_wrap=True, overflow="ellipsis")
        self._draw_values(event)
        self._draw_stack(event)

    def _draw_values(self, event: Mapping[str, Any]) -> None:
        """What --show asked for, and a line probe's variables."""
        for text, value in (event.get("show") or {}).items():
            line = Text(f"{_INDENT}{safe(text)} = ")
            line.append(safe(value), "bold")
            self._console.print(line, soft_wrap=True)
        variables = event.get("locals") or {}
        if variables:
            text = "  ".join(f"{safe(name)}={safe(value)}" for name, value in variables.items())
            for row in textwrap.wrap(text, max(40, self._console.width - len(_INDENT))):
                self._console.print(Text(_INDENT + row, "dim"), soft_wrap=True)

    def _time(self, event: Mapping[str, Any]) -> str:
        now = event.get("guest_ns")
        if not isinstance(now, int):
            return ""
        if self._first_ns is None:
            self._first_ns = now
        # A call that was waited for until it returned began before what is shown above it.
        return f"{round((now - self._first_ns) / 1e6):+d} ms"

    def _connection(self, flow: Flow) -> None:
        line = Text()
        line.append(self._sign("┌─ ", "-- "), "dim")
        line.append(f"connection {flow.number}  ", "bold")
        line.append(safe(f"{flow.client[0]}:{flow.client[1]}"))
        line.append(self._sign("  ⇄  ", "  <->  "), "dim")
        line.append(safe(f"{flow.server[0]}:{flow.server[1]}"))
        line.append("   client", "dim")
        line.append(self._sign(" → ", " > "), "dim")
        line.append("server", "dim")
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def _packet(self, line: Text, packet: Mapping[str, Any], flow: Flow, from_client: bool) -> None:
        arrow = self._sign("→" if from_client else "←", ">" if from_client else "<")
        line.append(f"{flow.number}{arrow} ", "bold" if from_client else "bold blue")
        flags = str(packet.get("flags", ""))
        if not protocols.numbered(packet):
            self._protocol(line, packet)
            line.append(safe(protocols.line(packet)))
            return
        named = flags_words(flags) or "none"
        line.append(f"{named:<7} ", _flag_style(flags))
        sender, receiver = (flow.client, flow.server) if from_client else (flow.server, flow.client)
        seq, ack = packet.get("seq"), packet.get("ack")
        shown = self._relative(flow, sender, receiver, seq) if isinstance(seq, int) else "?"
        line.append(f"seq {shown:<7} ")
        length = packet.get("len")
        line.append(f"len {length:<6}" if length else " " * 10, "bold" if length else "")
        if "A" in flags and isinstance(ack, int):
            line.append(f"ack {self._relative(flow, receiver, sender, ack):<7}")
        else:
            line.append(" " * 11)
        if self._console.width >= _WITH_WINDOW:
            window = None
            if not self._raw:
                window = self._numbers.window(flow, sender, receiver, packet)
            shown = f"win {packet.get('win', '-')}" if window is None else f"wnd {window}"
            line.append(f" {shown:<9}", "dim")

    def _extras(self, line: Text, event: Mapping[str, Any], packet: Mapping[str, Any]) -> None:
        """What else is known, as far as there is room for it."""
        sock = event.get("sock") or {}
        task = event.get("task")
        extras: list[str] = []
        options = packet.get("options") or {}
        shown = [f"{name} {options[name]}" for name in ("mss", "wscale") if name in options]
        shown += [
            word
            for name, word in (("sack_ok", "sackOK"), ("sack", "SACK"), ("ts", "TS"))
            if name in options
        ]
        if shown and "S" in str(packet.get("flags", "")):
            extras.append("<" + ", ".join(shown) + ">")
        if task:
            extras.append(f"cpu{event.get('cpu')} {safe(task.get('comm'))}/{task.get('pid')}")
        if "snd_cwnd" in sock:
            flight = (sock.get("snd_nxt", 0) - sock.get("snd_una", 0)) & 0xFFFFFFFF
            extras.append(f"cwnd {sock['snd_cwnd']} in flight {flight}")
        for extra in extras:
            if len(line) + 2 + len(extra) <= self._console.width:
                line.append(f"  {extra}", "dim")

    @staticmethod
    def _protocol(line: Text, packet: Mapping[str, Any]) -> None:
        row = protocols.of(packet)
        line.append(f"{safe(protocols.title(packet)):<8}", row.colour if row else "cyan")

    def _other(self, line: Text, packet: Mapping[str, Any]) -> None:
        self._protocol(line, packet)
        line.append(safe(protocols.ends(packet)))
        said = protocols.line(packet)
        if said:
            line.append(f"  {safe(said)}", "bold")

    @staticmethod
    def _arguments(line: Text, event: Mapping[str, Any]) -> None:
        line.append(safe(event.get("probe", "?")), "bold")
        sock = event.get("sock") or {}
        if "sport" in sock:
            line.append(
                f"  {safe(sock.get('src'))}:{sock['sport']} > "
                f"{safe(sock.get('dst'))}:{sock.get('dport')}"
            )
        texts = event.get("texts") or {}
        for name, value in (event.get("args") or {}).items():
            if name in texts:
                line.append(f"  {safe(name)}={_quoted(texts[name])}")
            elif "sport" not in sock:
                line.append(f"  {safe(name)}={safe(value)}", "dim")

    def _draw_stack(self, event: Mapping[str, Any]) -> None:
        stack = event.get("stack") or []
        if not stack or self._stack == "none":
            return
        if self._stack == "full":
            self._full(stack)
            return
        parts = whole(stack) if self._stack == "whole" else fold(stack)
        if parts == self._last_parts:
            self._console.print(Text(f"{_INDENT}{self._sign('″', '=')} the same way", "dim"))
            return
        self._last_parts = parts
        for line in stack_lines(parts, self._console, len(stack)):
            self._console.print(line, soft_wrap=True)

    def _full(self, stack: list[Mapping[str, Any]]) -> None:
        for number, frame in enumerate(stack):
            line = Text(_INDENT)
            line.append(f"#{number:<3}", "dim")
            line.append(safe(frame.get("func", "?")), "bold" if number == 0 else "")
            if frame.get("inlined"):
                line.append(" (inlined)", "dim")
            where = f"{safe(frame['file'])}:{frame.get('line', '?')}" if frame.get("file") else ""
            if where and len(line) + 2 + len(where) > self._console.width:
                self._console.print(line, no_wrap=True, overflow="ellipsis")
                line = Text(f"{_INDENT}    ")
            line.append(f"  {where}" if where else "", "dim")
            self._console.print(line, no_wrap=True, overflow="ellipsis")

    def summary(self, facts: Mapping[str, str]) -> None:
        """What was seen, connection by connection, and the facts given."""
        self._console.print()
        if self._flows.all:
            table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
            for name in ("conn", "client", "server"):
                table.add_column(name, no_wrap=True)
            table.add_column(self._sign("→", ">"), justify="right")
            table.add_column(self._sign("←", "<"), justify="right")
            table.add_column("")
            for flow in self._flows.all[:20]:
                table.add_row(
                    str(flow.number),
                    words(f"{flow.client[0]}:{flow.client[1]}"),
                    words(f"{flow.server[0]}:{flow.server[1]}"),
                    str(flow.segments.get(flow.client, 0)),
                    str(flow.segments.get(flow.server, 0)),
                    Text("RST", "bold red") if flow.reset else "",
                )
            self._console.print(table)
            if len(self._flows.all) > 20:
                more = f"and {len(self._flows.all) - 20} more connections"
                self._console.print(Text(more, "dim"))
        for name, value in facts.items():
            line = Text()
            line.append(f"{name:<10}", "dim")
            line.append(safe(value))
            self._console.print(line, soft_wrap=True)


def _quoted(text: object) -> str:
    """A string in quotes; an address and a port as they are."""
    shown = safe(text)
    return shown if _ENDPOINT.fullmatch(shown) else f'"{shown}"'


def stack_lines(parts: Sequence[Part], console: Console, frames: int) -> list[Text]:
    """A folded stack as lines: frames joined by arrows, broken at the console's width."""
    fancy = (console.encoding or "").lower().startswith("utf")
    arrow = " ← " if fancy else " < "
    pieces: list[Text] = []
    for part in parts:
        if part.kind == "func":
            pieces.append(Text(safe(part.text), "" if pieces else "bold"))
        else:
            pieces.append(Text(f"╱{part.text}╱" if fancy else f"/{part.text}/", "yellow"))
    lines: list[Text] = []
    line = Text(_INDENT)
    marked = True  # no arrow beside the mark of a change of context
    for piece in [*pieces, Text(f"({frames} frames)", "dim")]:
        mark = piece.style in ("yellow", "dim")
        joint = " " if mark or marked else arrow
        if len(line) == len(_INDENT):
            joint = ""
        elif len(line) + len(joint) + len(piece) > console.width:
            lines.append(line)
            line = Text(_INDENT)
            joint = joint.lstrip()
        line.append(joint, "dim")
        line.append_text(piece)
        marked = mark
    return [*lines, line]
