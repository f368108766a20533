"""The RSTs of a capture on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from kernlab.errors import as_called
from kernlab.reasons.model import PASSIVE
from kernlab.record.dissected import Tally
from kernlab.record.segments import Stream
from kernlab.record.segments import text as segment_text
from kernlab.sinks.console import safe, words

_SHAPES = {
    "active": "active: it has ACK set, so a socket decided to send it",
    "passive": "passive: no ACK, no window, no options; it answers an unwanted segment",
    "passive-syn": "passive: sequence number 0; it answers a segment without ACK, such as a SYN",
    "other": "not built by Linux's TCP: by a middlebox, another stack, or a program",
}
_FORGED = "it looks like a socket's own RST, but the sender's socket did not send it"
_ZERO = "; its window is 0: the socket's receive buffer was full"
_LIMITS = {
    "active": "which of these it was. The capture does not show why a socket was closed; "
    "counters (nstat) and the call stack do",
    "passive": "whether TCP or a netfilter rule sent it (nstat: a rule does not count in OutRsts), "
    "and what the socket's state was",
    "passive-syn": "whether nobody listens or a netfilter rule refuses. Both look the same; "
    "OutRsts tells",
    "other": "who sent it. Compare TTL and IP id with the connection's other segments",
}
_DOUBTS = {
    "ttl": "its TTL is {here}, the sender's other segments have {others}: "
    "another machine sent it, on the way or elsewhere",
    "early": "the sender has sent nothing before it, not even a SYN-ACK: it has no socket yet "
    "that could decide",
    "ip_id": "its IP id {here} does not follow the sender's last, {last}",
    "timestamps": "both sides agreed on timestamps, but it has none",
    "number": "no segment of its receiver has the number that it answers, and the capture has "
    "them from the SYN on",
}


def doubt(told: Mapping[str, Any]) -> str:
    """A doubt of kernlab.reasons.origin in words."""
    values = {
        key: ", ".join(map(str, value)) if isinstance(value, list) else value
        for key, value in told.items()
    }
    return _DOUBTS[told["kind"]].format(**values)


class ExplainedView:
    """Draws rows of kernlab.reasons.wire."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def row(self, row: Mapping[str, Any]) -> None:
        """One RST."""
        rst = row["rst"]
        numbers = row.get("frames", [row["number"]])
        shown = f"frames {', '.join(map(str, numbers))}" if numbers[1:] else f"frame {numbers[0]}"
        head = Text(f"\n{shown}  ", "dim")
        head.append(safe(segment_text(dict(row))), "bold red")
        packet = row["packet"]
        head.append(f"   {safe(packet['src'])} → {safe(packet['dst'])}", "dim")
        self._console.print(head, soft_wrap=True)
        if row.get("within"):
            self._line("within", ", ".join(row["within"]))
        self._line("shape", _shape(row))
        provoked = (row.get("before") or {}).get("provoked")
        if provoked:
            text = segment_text(dict(provoked))
            older = ", or an older one: kernlab remembers only the last ones of each side"
            more = older if rst.get("older_forgotten") else ""
            self._line("answers", f"frame {provoked['number']}  {text}{more}")
        elif rst["shape"] in PASSIVE:
            self._line("answers", "no segment of the capture")
        for told in rst.get("doubts", ()):
            self._line("but", doubt(told))
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
            self._line("may be", "no cause that kernlab knows")
        self._line("not told", _LIMITS[rst["shape"]])
        if rst["labs"]:
            self._line("try", as_called("kernlab lab run " + " ".join(rst["labs"])))

    def _line(self, name: str, text: str) -> None:
        row = Text(f"  {name:<10}", "dim")
        row.append(safe(text))
        self._console.print(row, soft_wrap=True)

    def summary(self, count: int, path: str) -> None:
        """How many there were."""
        self._console.print(words(f"\n{count} {'RST' if count == 1 else 'RSTs'} in {path}"))
        if count:
            hint = "to find the cause, run the program with kernlab rst -- CMD"
            self._console.print(Text(hint, "dim"), soft_wrap=True)

    def limits(self, stream: Stream, forgotten: int, more: str) -> None:
        """What the reading did not see, a line each; ``more``: how more is understood."""
        lines = [*limits(stream.tally, stream.reader, forgotten, stream.cut), *filter(None, [more])]
        for line in lines:
            self._console.print(Text(line, "yellow"), soft_wrap=True)


def _shape(row: Mapping[str, Any]) -> str:
    kind, packet = row["rst"]["shape"], row["packet"]
    if kind == "other" and row["rst"].get("doubts"):
        return _FORGED
    return _SHAPES[kind] + (_ZERO if kind == "active" and not packet["win"] else "")


def limits(tally: Tally, reader: str, forgotten: int, cut: int | None) -> list[str]:
    """What a capture's reading did not see."""
    told = []
    if tally.lost:
        kinds = sorted(tally.unknown.items(), key=lambda one: -one[1])
        shown = ", ".join(f"{count} {safe(kind)}" for kind, count in kinds[:8])
        more = f", and {len(kinds) - 8} other kinds" if kinds[8:] else ""
        told.append(
            f"{tally.lost} of {tally.frames} frames not understood by {_READERS[reader]}: "
            f"{shown}{more}"
        )
    if cut is not None:
        told.append(
            f"the file is cut: it ends in the middle of what begins at offset {cut}; "
            f"{tally.frames} whole frames come before it"
        )
    if forgotten:
        told.append(
            f"{forgotten} connections were still open when kernlab forgot them, to bound its "
            "memory; a later RST of theirs is told without what came before"
        )
    return told


_READERS = {"tshark": "tshark", "scapy": "scapy", "kernlab": "kernlab's own decoder"}
