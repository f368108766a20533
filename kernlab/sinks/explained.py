"""The RSTs of a capture on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from kernlab.record.segments import text as segment_text
from kernlab.sinks.console import safe, words

_SHAPES = {
    "active": "active: it acknowledges and has a window, so a socket sent it by its own decision",
    "passive": "passive: no ACK, no window, no options; it answers a segment that nobody wanted",
    "passive-syn": "passive: sequence number 0; it answers a segment without ACK, as a SYN is",
    "other": "no shape of Linux: a middlebox, another stack, or a program that builds packets",
}
_LIMITS = {
    "active": "which of these it was: the capture does not show why a socket was closed; "
    "counters (nstat) and the call stack do",
    "passive": "whether TCP sent it or a netfilter rule (nstat: OutRsts stands still for a rule), "
    "and what the socket's state was",
    "passive-syn": "whether nobody listens or a netfilter rule refuses: both look the same; "
    "OutRsts tells",
    "other": "who sent it: compare TTL and IP id with the connection's other segments",
}


class ExplainedView:
    """Draws rows of kernlab.reasons.wire."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def row(self, row: Mapping[str, Any]) -> None:
        """One RST."""
        rst = row["rst"]
        head = Text(f"\nframe {row['number']}  ", "dim")
        head.append(safe(segment_text(dict(row))), "bold red")
        packet = row["packet"]
        head.append(f"   {safe(packet['src'])} → {safe(packet['dst'])}", "dim")
        self._console.print(head, soft_wrap=True)
        self._line("shape", _SHAPES[rst["shape"]])
        provoked = (row.get("before") or {}).get("provoked")
        if provoked:
            fits = "" if rst["answers"] else "  (its numbers do not answer this one)"
            self._line("answers", segment_text(dict(provoked)) + fits)
        seen = row["connection"]
        facts = [
            ("handshake complete" if seen["established"] else "no complete handshake seen"),
            *(["the sender had closed (FIN)"] if seen["sender_fin"] else []),
            *(["the receiver had closed (FIN)"] if seen["receiver_fin"] else []),
        ]
        self._line("before", ", ".join(facts))
        for number, cause in enumerate(rst["causes"]):
            self._line("may be" if not number else "", f"{cause['id']:<4} {cause['name']}")
        if not rst["causes"]:
            self._line("may be", "nothing that kernlab knows")
        self._line("not told", _LIMITS[rst["shape"]])
        if rst["labs"]:
            self._line("try", "kernlab lab run " + " ".join(rst["labs"]))

    def _line(self, name: str, text: str) -> None:
        row = Text(f"  {name:<10}", "dim")
        row.append(safe(text))
        self._console.print(row, soft_wrap=True)

    def summary(self, count: int, path: str) -> None:
        """How many there were."""
        self._console.print(words(f"\n{count} RSTs in {path}"))
        if count:
            hint = "for the true cause: kernlab rst -- CMD, with the socket calls of the program"
            self._console.print(Text(hint, "dim"), soft_wrap=True)
