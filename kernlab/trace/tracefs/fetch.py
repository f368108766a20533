"""What a kprobe event fetches at a hit, and its record as memory that can be decoded.

A kprobe event can only follow pointers at constant offsets, so the words that
``kernlab.decode`` will ask for are fetched as they are: of the skb and the sock each word that
holds a wanted member, of the device its name, and the bytes around skb->data, among which the
headers lie wherever the skb says that they are. The host lays them out as the memory they came
from. What was not fetched, or lies behind a pointer that is none, cannot be read: absent.

Linux: Documentation/trace/kprobetrace.rst; kernel/trace/trace_probe.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kernlab.decode import protocols
from kernlab.decode import skb as skbs
from kernlab.decode import sock as socks
from kernlab.decode.arch import ARCH
from kernlab.decode.hit import as_type
from kernlab.decode.layout import Layout
from kernlab.decode.memory import Unreadable
from kernlab.symbols.probes import Probe
from kernlab.trace.tracefs.formats import Format

GROUP = "kernlab"
_LONGEST = 64  # elements of an array: MAX_ARRAY_LEN
# Bytes around skb->data. Before it: the headers of a segment whose payload it points at
# (tcp_queue_rcv), IPv4 without options and TCP with all of them. After it: a MAC header and
# what an event keeps. Where sites.yaml says what is at skb->data, less will do: nothing before an
# IP header, the longest IPv4 header before one above it.
_AROUND = {None: (80, 144), "ip": (0, 128)}
_ABOVE_IP = (64, 112)
# The upper half of the address space, without the values that are errors (include/linux/err.h).
_FIRST, _LAST = 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFFF_F000
_WORD = struct.Struct("<Q")


def is_pointer(address: int) -> bool:
    """Whether this can be an address of the kernel's."""
    return _FIRST <= address < _LAST


class Run(NamedTuple):
    """``words`` 64-bit words from ``offset`` of an object on, in the event's field ``name``."""

    name: str
    offset: int
    words: int


@dataclass(frozen=True)
class Piece:
    """An object of which ``runs`` are fetched; ``base`` leads to it in the words of a kprobe
    event. It reads as bytes ``start`` to ``end`` of the object."""

    kind: str  # skb | data | dev | sock | dev_net | sock_net
    base: str
    runs: tuple[Run, ...]
    start: int
    end: int

    def text(self) -> str:
        return " ".join(
            f"{run.name}={run.offset:+d}({self.base}):x64" + (f"[{run.words}]" * (run.words > 1))
            for run in self.runs
        )


def _words(ranges: Iterable[tuple[int, int]], prefix: str) -> tuple[Run, ...]:
    """The runs of whole words that cover ranges of (first, last + 1) byte."""
    wanted = sorted({word for low, high in ranges for word in range(low // 8, (high + 7) // 8)})
    runs: list[Run] = []
    for word in wanted:
        last = runs[-1] if runs else None
        if last and last.offset // 8 + last.words == word and last.words < _LONGEST:
            runs[-1] = last._replace(words=last.words + 1)
        else:
            runs.append(Run(f"{prefix}{len(runs)}", word * 8, 1))
    return tuple(runs)


def _ranges(layout: Layout, structs: Mapping[str, Sequence[str]]) -> list[tuple[int, int]]:
    places = (layout.field(struct, name) for struct, names in structs.items() for name in names)
    return [(place[0], place[0] + place[1]) for place in places if place is not None]


def _end(layout: Layout, structs: Iterable[str]) -> int:
    return max((span[1] for span in map(layout.span, structs) if span is not None), default=0)


class Fetch:
    """One probe's event. ``name`` is the event's in the group ``kernlab``; ``extra`` has
    fields that only the kernel's filter wants, with what they fetch. ``skb_base`` and
    ``sock_base`` lead to these objects, None where there is none to fetch."""

    def __init__(self, name: str, probe: Probe, layout: Layout) -> None:
        self.name = name
        self.what = probe.spec
        self.symbol = probe.place.symbol
        self._layout = layout
        self.extra: dict[str, str] = {}
        self._args = self.what["args"]
        names = {item["name"]: ARCH.kprobe[item["register"]] for item in self._args}
        self._skb = names.get(probe.skb) if probe.skb else None
        self._sock = names.get(probe.sock) if probe.sock else None
        # Where a name only leads to the object, the pointer is a field of its own.
        self._hops: dict[str, str] = {}
        if self._skb is not None and probe.skb_hop is not None:
            self._skb = self._hops["skb"] = f"{probe.skb_hop:+d}({self._skb})"
        if self._sock is not None and probe.sock_hop is not None:
            self._sock = self._hops["sock"] = f"{probe.sock_hop:+d}({self._sock})"
        self.pieces = tuple(self._pieces())
        bases = {piece.kind: piece.base for piece in self.pieces}
        self.skb_base, self.sock_base = bases.get("skb"), bases.get("sock")
        self._format: Format | None = None

    def _pieces(self) -> Iterable[Piece]:
        layout, site = self._layout, self.what["site"]
        if self._sock is not None:
            yield from self._sock_pieces(self._sock)
        place = {name: layout.field("sk_buff", name) for name in ("sk", "dev", "data", "cb")}
        if self._skb is None or place["data"] is None:
            return
        wanted = skbs.members(site["header"], site["tcp_cb"])
        ranges = _ranges(layout, {"sk_buff": [name for name in wanted if name != "cb"]})
        if "cb" in wanted and place["cb"] is not None:
            at = place["cb"][0]
            inner = _ranges(layout, {"tcp_skb_cb": skbs.CB_MEMBERS})
            ranges += [(at + low, at + high) for low, high in inner]
        yield Piece("skb", self._skb, _words(ranges, "b"), 0, _end(layout, ["sk_buff"]))
        if "network_header" in wanted:
            before, after = _AROUND.get(site["data"], _ABOVE_IP)
            run = Run("w0", -before, (before + after) // 8)
            base = f"{place['data'][0]:+d}({self._skb})"
            yield Piece("data", base, (run,), -before, after)
        # Where TCP has the skb it has no device: tcp_v4_rcv() clears it, a new one has none yet.
        name = layout.field("net_device", "name")
        own = site["header"] == "cb" or site["header"] in protocols.BY_NAME
        has_device = not own and not site["tcp_cb"]
        if has_device and place["dev"] is not None and name is not None:
            ranges = [(name[0], name[0] + name[1])]
            base = f"{place['dev'][0]:+d}({self._skb})"
            net = layout.field("net_device", "nd_net.net")
            if net is not None:
                ranges.append((net[0], net[0] + net[1]))
            yield Piece("dev", base, _words(ranges, "d"), 0, max(end for _, end in ranges))
            if net is not None and self._sock is None:
                yield from self._net_piece("dev_net", f"{net[0]:+d}({base})")
        # On its way in an skb mostly belongs to no sock yet, and each read through NULL is a fault.
        if self._sock is None and site["direction"] == "out" and place["sk"] is not None:
            yield from self._sock_pieces(f"{place['sk'][0]:+d}({self._skb})")

    def _net_piece(self, kind: str, base: str) -> Iterable[Piece]:
        """The number of a network namespace."""
        number = self._layout.field("net", "ns.inum")
        if number is not None:
            end = number[0] + number[1]
            runs = _words([(number[0], end)], kind[0] + "n")
            yield Piece(kind, base, runs, 0, (end + 7) // 8 * 8)

    def _sock_pieces(self, base: str) -> Iterable[Piece]:
        yield self._sock_piece(base)
        net = self._layout.field("sock", "__sk_common.skc_net.net")
        if net is not None:
            yield from self._net_piece("sock_net", f"{net[0]:+d}({base})")

    def _sock_piece(self, base: str) -> Piece:
        layout, members = self._layout, socks.MEMBERS
        return Piece("sock", base, _words(_ranges(layout, members), "s"), 0, _end(layout, members))

    # -- to the kernel --------------------------------------------------------

    def definition(self) -> str:
        """The line for kprobe_events."""
        words = [f"p:{GROUP}/{self.name}", f"0x{self.what['address']:x}", "comm=$comm"]
        words += [f"r_{r}={ARCH.kprobe[r]}:x64" for r in self.registers]
        words += [f"p_{kind}={text}:x64" for kind, text in self._hops.items()]
        words += [piece.text() for piece in self.pieces]
        words += [f"{name}={text}" for name, text in self.extra.items()]
        return " ".join(words)

    @property
    def registers(self) -> list[str]:
        return list(dict.fromkeys(item["register"] for item in self._args))

    # -- from the kernel ------------------------------------------------------

    def bind(self, form: Format) -> None:
        """The event's format, as the kernel tells it once the event is defined."""
        self._format = form
        self._pid = form.fields["common_pid"].offset
        self._comm = form.fields["comm"].offset
        self._at = {r: form.fields[f"r_{r}"].offset for r in self.registers}
        # Of each piece: where its runs lie in the record, and in the object as it reads.
        self._copies = {
            piece.kind: [
                (form.fields[run.name].offset, run.words * 8, run.offset - piece.start)
                for run in piece.runs
            ]
            for piece in self.pieces
        }

        self._reads = {
            piece.kind: sum(run.words for run in piece.runs)
            + sum(f"({piece.base})" in text for text in self.extra.values())
            for piece in self.pieces
        }

    @property
    def number(self) -> int:
        assert self._format is not None
        return self._format.number

    def task(self, page: bytes, start: int) -> dict[str, Any]:
        """The current task, of a record at ``start``."""
        pid = int.from_bytes(page[start + self._pid :][:4], "little", signed=True)
        where = int.from_bytes(page[start + self._comm :][:4], "little")
        at = start + (where & 0xFFFF)
        comm = page[at : at + (where >> 16)].split(b"\0")[0]
        return {"pid": pid, "comm": comm.decode("utf-8", "replace")}

    def arguments(self, page: bytes, start: int) -> dict[str, Any]:
        """The function's arguments, as an event keeps them."""
        at = self._at
        return {
            item["name"]: as_type(_WORD.unpack_from(page, start + at[item["register"]])[0], item)
            for item in self._args
        }

    def number_of(self, name: str, page: bytes, start: int) -> int | None:
        """A field of ``extra`` that is a register; None where it was not asked for."""
        if name not in self.extra or self._format is None:
            return None
        return int(_WORD.unpack_from(page, start + self._format.fields[name].offset)[0])

    def objects(self, page: bytes, start: int) -> tuple[int | None, int | None, FetchedMemory]:
        """The addresses of the skb and the sock, None where the function takes none, and the
        memory that can be read."""
        memory = FetchedMemory()
        skb = self._pointer(page, start, self._skb, "skb")
        sock = self._pointer(page, start, self._sock, "sock")
        for piece in self.pieces:
            if piece.kind == "skb":
                address = skb or 0
            elif piece.kind == "sock" and self._sock is not None:
                address = sock or 0
            elif piece.kind.endswith("_net"):
                address = self._net(memory, piece.kind, skb or 0, sock)
            else:
                member = {"data": "data", "dev": "dev", "sock": "sk"}[piece.kind]
                address = self._member(memory, skb or 0, member)
            if is_pointer(address):
                block = bytearray(piece.end - piece.start)
                for at, length, to in self._copies[piece.kind]:
                    block[to : to + length] = page[start + at : start + at + length]
                memory.add(address + piece.start, bytes(block))
            else:
                memory.faults += self._reads[piece.kind]
        return skb, sock, memory

    def _pointer(self, page: bytes, start: int, register: str | None, kind: str) -> int | None:
        if register is None:
            return None
        if kind in self._hops:
            assert self._format is not None
            at = self._format.fields[f"p_{kind}"].offset
            return int(_WORD.unpack_from(page, start + at)[0])
        name = next(name for name, text in ARCH.kprobe.items() if text == register)
        return int(_WORD.unpack_from(page, start + self._at[name])[0])

    def _net(self, memory: FetchedMemory, kind: str, skb: int, sock: int | None) -> int:
        if kind == "dev_net":
            owner = self._member(memory, skb, "dev")
            place = self._layout.field("net_device", "nd_net.net")
        else:
            owner = (sock or 0) if self._sock is not None else self._member(memory, skb, "sk")
            place = self._layout.field("sock", "__sk_common.skc_net.net")
        if place is None or not is_pointer(owner):
            return 0
        try:
            return int.from_bytes(memory.read(owner + place[0], 8), "little")
        except Unreadable:
            return 0

    def _member(self, memory: FetchedMemory, skb: int, name: str) -> int:
        place = self._layout.field("sk_buff", name)
        if place is None or not is_pointer(skb):
            return 0
        return int.from_bytes(memory.read(skb + place[0], 8), "little")


class FetchedMemory:
    """``kernlab.decode.memory.Memory`` of what one record holds."""

    def __init__(self) -> None:
        self._blocks: list[tuple[int, int, bytes]] = []
        self.faults = 0  # reads of the kernel's that hit no memory

    def add(self, address: int, data: bytes) -> None:
        self._blocks.append((address, address + len(data), data))

    def read(self, address: int, length: int) -> bytes:
        for first, last, data in self._blocks:
            if first <= address and address + length <= last:
                return data[address - first : address - first + length]
        raise Unreadable(hex(address))
