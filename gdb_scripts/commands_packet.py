"""kl-skb and kl-stack: what the guest holds, and how it came there."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import gdb

from gdb_scripts.commands import Command, lab, safe
from gdb_scripts.here import site_of, the_skb
from gdb_scripts.inferior import Registers
from kernlab.decode import protocols
from kernlab.decode.arch.orc import walk
from kernlab.decode.kinds import ADDRESS, NAMED, NUMBER, TEXT
from kernlab.decode.layout import read_struct
from kernlab.decode.place import Header
from kernlab.decode.skb import decode_skb
from kernlab.decode.sock import decode_sock

_SHOWN = (NUMBER, NAMED, TEXT, ADDRESS)
_HEADERS: Tuple[Header, ...] = ("network", "transport", "cb")
_DEPTH = 64


class KlSkb(Command):
    """An skb and the packet in it: kl-skb [EXPR [network|transport|cb]]

    Without EXPR: the skb of the selected frame, or of the nearest one above it.
    Which headers are valid depends on where the kernel stands; kernlab's table (sites.yaml)
    says so for the functions it knows. Elsewhere only the skb itself is shown. A last word
    takes a header as valid on your own word:
      network    the IP header (skb->network_header)
      transport  the header above IP too: TCP, UDP, ICMP, ... (skb->transport_header)
      cb         no header yet; TCP_SKB_CB(skb) has sequence number and flags"""

    NAME = "kl-skb"

    def run(self, text: str) -> List[str]:
        told, (text, header) = lab(), _split_header(text)
        memory, layout = told.kernel.memory, told.kernel.layout
        found = the_skb(text)
        site = site_of(told, found.address)
        if header is not None:
            site = {**site, "header": header}
        owner = None
        skb, packet = decode_skb(memory, layout, found.address, site)
        if skb is None or not _plausible(found.address):
            raise gdb.error("there is no skb at 0x%x (%s)" % (found.address, found.where))
        if "sk" in skb:
            owner = decode_sock(memory, layout, int(skb["sk"], 16))
            if owner is not None and site["header"] == "cb":
                skb, packet = decode_skb(memory, layout, found.address, site, owner)
        lines = ["skb %s  (%s)" % (skb["addr"] if skb else "?", found.where)]
        lines.append("  " + _pairs(skb or {}, ("len", "data_len", "dev")))
        if packet is None:
            lines.append("  no header is known to be valid here; 'kl-skb transport' looks anyway")
        else:
            lines += ["  " + line for line in packet_lines(packet)]
        if skb and "cb" in skb:
            lines.append("  TCP_SKB_CB  " + _pairs(skb["cb"], ("seq", "end_seq", "ack_seq")))
        if owner is not None:
            sent = (skb or {}).get("owner") == "sender" and site["direction"] == "in"
            lines.append(
                "  %ssocket %s %s  (kl-sock %s)"
                % (
                    "sender's " if sent else "",
                    owner["addr"],
                    owner.get("state", ""),
                    owner["addr"],
                )
            )
        return lines


def _plausible(address: int) -> bool:
    """Whether what is at an address the user gave can be an skb (skb_headroom() and
    skb_headlen() of include/linux/skbuff.h are not negative)."""
    members = ("len", "data_len", "head", "data")
    view = read_struct(lab().kernel.memory, lab().kernel.layout, "sk_buff", address, members)
    values = [view.get(name) for name in members] if view is not None else [None]
    if any(value is None for value in values):
        return False
    length, paged, head, data = (value or 0 for value in values)
    return paged <= length and head >> 47 == (1 << 17) - 1 and head <= data


def _split_header(text: str) -> Tuple[str, Optional[Header]]:
    words = text.rsplit(None, 1)
    for header in _HEADERS:
        if words and words[-1] == header:
            return (words[0] if len(words) > 1 else ""), header
    return text, None


def _pairs(values: Dict[str, Any], names: "Sequence[str]") -> str:
    return "  ".join("%s %s" % (name, safe(values[name])) for name in names if name in values)


def packet_lines(packet: Dict[str, Any]) -> List[str]:
    """A decoded packet: one line for IP, one for what it carries, one for TCP's options."""
    lines = []
    if "src" in packet:
        ends = [
            "%s%s" % (packet[side], ":%d" % packet[port] if port in packet else "")
            if ":" not in packet[side] or port not in packet
            else "[%s]:%d" % (packet[side], packet[port])
            for side, port in (("src", "sport"), ("dst", "dport"))
        ]
        rest = _pairs(packet, ("ttl", "ip_id", "tos", "fragment"))
        lines.append("%s %s -> %s  %s" % (packet.get("family", ""), ends[0], ends[1], rest))
    row = protocols.of(packet)
    names = [field.name for field in row.fields if field.kind in _SHOWN] if row else []
    names = [name for name in (*names, "len") if name not in ("sport", "dport")]
    flags = " " + packet["flags"] if packet.get("flags") else ""
    direction = "  (%s)" % packet["direction"] if "direction" in packet else ""
    lines.append("%s%s  %s%s" % (packet.get("proto", "?"), flags, _pairs(packet, names), direction))
    if "quoted" in packet:
        lines += ["  quoted  " + line for line in packet_lines(packet["quoted"])]
    if packet.get("options"):
        shown = ["%s %s" % (name, value) for name, value in packet["options"].items()]
        lines.append("options  " + ", ".join(shown))
    return [line.rstrip() for line in lines]


class Line(NamedTuple):
    """A function on the stack; ``file`` and ``line`` where they are known."""

    func: str
    file: str
    line: int
    inlined: bool


class KlStack(Command):
    """The call stack of the selected vCPU: kl-stack [N]

    Walked by the kernel's own unwind table (ORC), which knows how the kernel switches to the
    interrupt stack: GDB's "backtrace" may end there. N: at most so many functions (64).
    Switches of context are marked; calls that were inlined are there too, in (…)."""

    NAME = "kl-stack"
    COMPLETE = gdb.COMPLETE_NONE

    def run(self, text: str) -> List[str]:
        if text and not text.isdigit():
            raise gdb.error("%s is not a number of frames" % text)
        told, limit = lab(), int(text or _DEPTH)
        if told.orc is None:
            raise gdb.error("this kernel has no ORC table; use backtrace")
        top = gdb.newest_frame()
        pcs = walk(told.orc, told.kernel.memory, Registers(top), _DEPTH)
        by_gdb = _known_to_gdb(top)
        lines: List[str] = []
        shown = 0
        for pc, exact in pcs:
            for item in by_gdb.get(pc) or _named(pc if exact else pc - 1):
                if shown >= limit:
                    return lines
                if item.func in told.marks:
                    lines.append("    -- %s" % told.marks[item.func])
                name = "(%s)" % item.func if item.inlined else item.func
                place = "  %s:%d" % (item.file, item.line) if item.line else ""
                lines.append("#%-2d %-32s%s" % (shown, name, place))
                shown += 1
        return lines


def _known_to_gdb(frame: Any) -> Dict[int, List[Line]]:
    """What GDB's own unwinder says, by program counter: it knows the lines of inlined calls."""
    found: Dict[int, List[Line]] = {}
    for _ in range(2 * _DEPTH):
        if frame is None:
            break
        try:
            place = frame.find_sal()
            file = _short(place.symtab.filename) if place.symtab is not None else ""
            item = Line(frame.name() or "?", file, place.line, frame.type() == gdb.INLINE_FRAME)
            found.setdefault(frame.pc(), []).append(item)
            frame = frame.older()
        except gdb.error:
            break
    return found


def _named(address: int) -> List[Line]:
    """The functions at an address by debug info, innermost first."""
    place = gdb.find_pc_line(address)
    file = _short(place.symtab.filename) if place.symtab is not None else ""
    line = int(place.line)
    names: List[str] = []
    try:
        block: Optional[Any] = gdb.block_for_pc(address)
    except RuntimeError:
        block = None
    while block is not None:
        if block.function is not None:
            names.append(block.function.name)
        block = block.superblock
    if not names:
        text = gdb.execute("info symbol 0x%x" % address, to_string=True)
        names = ["0x%x" % address if text.startswith("No symbol") else text.split()[0]]
    last = len(names) - 1
    return [
        Line(name, file if index == 0 else "", line if index == 0 else 0, index < last)
        for index, name in enumerate(names)
    ]


def _short(path: str) -> str:
    prefix = str(lab().settings.get("source", "")) + "/"
    return path[len(prefix) :] if path.startswith(prefix) else path
