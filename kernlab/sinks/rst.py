"""A RST on the terminal: who sent it, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from kernlab.decode.names import flags_words
from kernlab.errors import as_called
from kernlab.record.isn import Isns, near
from kernlab.record.numbers import Numbers, counted
from kernlab.sinks.console import safe
from kernlab.sinks.explained import doubt

_NAMES = 14  # columns of the facts' names
_KINDS = {
    "active": "active: a socket's own decision",
    "passive": "passive: the answer to a segment",
    "netfilter": "by a netfilter rule",
    "foreign": "foreign: the capture has it, but no function of this kernel sent it",
}


class RstView:
    """Draws events that kernlab.reasons.report has completed."""

    def __init__(self, console: Console, full: bool = False) -> None:
        self._console = console
        self._full = full
        self._numbers = Numbers()

    def count_from(self, isns: Isns) -> None:
        """Where connections began, as far as the events themselves do not tell."""
        self._numbers.count_from(isns)

    def event(self, event: Mapping[str, Any], number: int | None = None) -> None:
        """One RST. ``number``: its own among those shown, where events of other kinds are
        counted with it."""
        rst = event["rst"]
        head = Text()
        shown = event.get("seq", "") if number is None else number
        head.append(f"\nRST {shown}  ", "bold red")
        head.append(safe(rst["cause"]), "bold")
        head.append(f"  {safe(rst.get('name', 'no rule matches: nothing is guessed'))}", "bold")
        self._console.print(head, soft_wrap=True)
        self._fact("", _KINDS.get(rst.get("kind", ""), ""))
        self._fact("why", rst.get("says", ""))
        self._fact("because", rst.get("condition", ""))
        for told in rst.get("doubts", ()):
            self._fact("but", doubt(told))
        self._segments(event, rst)
        if rst["cause"] != "foreign":
            self._socket(event, rst)
        self._stack(event, rst)
        self._source(rst)
        moved = rst.get("moved")
        if moved is not None:
            shared = " (read together with other RSTs)" if rst.get("moved_by", 1) > 1 else ""
            self._fact("counters", ", ".join(f"{k} +{v}" for k, v in moved.items()) + shared)
        errno = rst.get("errno") or {}
        self._fact("this side", errno.get("local", ""))
        self._fact("other side", errno.get("peer", ""))
        self._fact("remedy", rst.get("remedy", ""))
        if rst.get("labs"):
            labs = ", ".join(f"kernlab lab run {lab}" for lab in rst["labs"])
            self._fact("try", as_called(labs))
        if rst.get("also"):
            self._fact("also", "other rules that match: " + ", ".join(rst["also"]))
        if rst["cause"] == "unknown":
            self._everything(event)

    def _fact(self, name: str, text: object) -> None:
        if not text:
            return
        width = max(30, self._console.width - _NAMES - 2)
        lines = Text(safe(text)).wrap(self._console, width)
        for number, line in enumerate(lines):
            row = Text(f"  {name if not number else '':<{_NAMES - 2}}", "dim")
            row.append_text(line)
            self._console.print(row, soft_wrap=True)

    def _segments(self, event: Mapping[str, Any], rst: Mapping[str, Any]) -> None:
        packet = event.get("packet")
        answers = rst.get("answers_frame")
        frame = f"  frame {answers}" if answers is not None else ""
        if rst["cause"] == "foreign":
            if frame:
                self._fact("may answer", frame.strip())
        elif packet is not None:
            self._fact("provoked by", _segment(self._numbers.of(packet)) + frame)
        elif rst.get("kind") == "active":
            self._fact("provoked by", "no segment")
        sent = rst.get("segment")
        if sent is not None:
            device = f", {rst['device']}" if rst.get("device") else ""
            shown = _segment({**self._numbers.of(sent), **_known(sent)})
            self._fact("the RST", f"{shown}  frame {rst['frame']} of the capture{device}")
        elif rst.get("sent") is False:
            early = "its sender returned without sending it (no memory, no route), or "
            self._fact(
                "the RST",
                f"not seen to leave: {'' if rst.get('built') else early}"
                "a rule or a queue on its way out dropped it",
            )
        else:
            self._fact(
                "the RST",
                "not in the capture: it has nothing of this connection under these addresses",
            )

    def _socket(self, event: Mapping[str, Any], rst: Mapping[str, Any]) -> None:
        sock = event.get("sock")
        if sock is None:
            self._fact("socket", "none")
            return
        before, after = rst.get("state_before", "?"), rst.get("state_after", sock.get("state", "?"))
        text = f"{before} → {after}" if before != after else str(before)
        if "sport" in sock:
            text += f"  {sock.get('src')}:{sock['sport']} ⇄ {sock.get('dst')}:{sock.get('dport')}"
        text += "".join(f"  {name} {value}" for name, value in self._numbered(sock).items())
        self._fact("socket", text)
        task = event.get("task")
        if task:
            self._fact("on", f"cpu {event.get('cpu')}, task {task.get('comm')}/{task.get('pid')}")

    def _numbered(self, sock: Mapping[str, Any]) -> dict[str, object]:
        """The socket's numbers, counted as those of its segments are."""
        names = ("snd_una", "snd_nxt", "rcv_nxt", "lingertime", "linger2", "err")
        found: dict[str, object] = {name: sock[name] for name in names if name in sock}
        mine, theirs = self._numbers.bases(sock)
        for name, base in (("snd_una", mine), ("snd_nxt", mine), ("rcv_nxt", theirs)):
            if found.get(name):
                relative = near(base, sock[name])
                found[name] = f"{sock[name]} abs" if relative is None else relative
        return found

    def _stack(self, event: Mapping[str, Any], rst: Mapping[str, Any]) -> None:
        stack = event.get("stack") or []
        decides = rst.get("decides", -1)
        last = len(stack) if self._full else max(decides + 4, 8)
        for number, frame in enumerate(stack[:last]):
            row = Text(f"  {'stack' if not number else '':<{_NAMES - 2}}", "dim")
            mark = number == decides
            row.append("→ " if mark else "  ", "bold red")
            row.append(safe(frame.get("func", "?")), "bold red" if mark else "")
            if frame.get("inlined"):
                row.append(" (inlined)", "dim")
            if frame.get("file"):
                row.append(f"  {safe(frame['file'])}:{frame.get('line', '?')}", "dim")
            self._console.print(row, no_wrap=True, overflow="ellipsis")
        if len(stack) > last:
            self._fact("", f"  … {len(stack) - last} more frames (--full)")

    def _source(self, rst: Mapping[str, Any]) -> None:
        lines = rst.get("source") or []
        middle = len(lines) // 2
        for number, (line, text) in enumerate(lines):
            row = Text(f"  {'source' if not number else '':<{_NAMES - 2}}", "dim")
            row.append(f"{line:>6} ", "dim")
            row.append(safe(text), "bold" if number == middle else "dim")
            self._console.print(row, no_wrap=True, overflow="ellipsis")

    def _everything(self, event: Mapping[str, Any]) -> None:
        for name in ("sock", "packet", "show", "args"):
            values = event.get(name) or {}
            text = "  ".join(f"{key}={value}" for key, value in values.items() if key != "raw")
            self._fact(name, text)

    def summary(self, facts: Mapping[str, str]) -> None:
        """What was counted."""
        self._console.print()
        for name, text in facts.items():
            for number, line in enumerate(text.split("\n")):
                self._fact("" if number else name, line)


def _known(packet: Mapping[str, Any]) -> dict[str, Any]:
    return {name: packet[name] for name in ("rseq", "rack", "wnd") if name in packet}


def _segment(packet: Mapping[str, Any]) -> str:
    flags = str(packet.get("flags", ""))
    text = f"{packet.get('src')}:{packet.get('sport')} → {packet.get('dst')}:{packet.get('dport')}"
    text += f"  [{flags_words(flags)}]"
    text += f" seq {counted(packet, 'rseq', 'seq')}"
    if "A" in flags:
        text += f" ack {counted(packet, 'rack', 'ack')}"
    if packet.get("len"):
        text += f" len {packet['len']}"
    return text + (f" wnd {packet['wnd']}" if "wnd" in packet else f" win {packet.get('win')}")
