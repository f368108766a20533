"""What is known of a protocol. ``kernlab.decode.protocols`` has the table of all."""

from __future__ import annotations

import typing
from typing import (
    Any,
    Callable,
    Dict,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from kernlab.decode.kinds import ADDRESS, FLAGS, NAMED, NUMBER, OPEN, TEXT

Packet = Mapping[str, Any]  # event.packet
Quoted = Callable[[bytes], Optional[Dict[str, Any]]]  # the packet that an error quotes
Decode = Callable[[bytes, int, Optional[Quoted]], Dict[str, Any]]


class Members(typing.Protocol):
    """A structure that was read, as ``kernlab.decode.layout.View`` is."""

    def get(self, member: str) -> Optional[int]: ...

    def signed(self, member: str) -> Optional[int]: ...

    def values(self, pairs: Sequence[Tuple[str, str]]) -> Dict[str, int]: ...


# What a full socket says of itself: by the views of its structures, the kernel's constants (HZ)
# and sk_state.
Views = Callable[[str], Members]
Socket = Callable[[Views, Mapping[str, int], int], Dict[str, Any]]


class Field(NamedTuple):
    """A field of ``packet`` in an event. ``kind``: its type in an expression.

    ``at``: its byte in the header, where it is always there, in network order, ``bits`` wide.
    ``member``: what the kernel's struct of the header calls it. ``short``: its name in an
    expression beside ``packet.NAME``; one with a dot belongs to the protocol ("icmp.type").
    ``named``: the field with the name of its value, for the kind ``named``; ``words`` are
    these names with their values. ``stable``: it is the same in every copy of the packet,
    whatever NAT does.
    """

    name: str
    kind: str = NUMBER
    bits: int = 32
    at: Optional[int] = None
    member: str = ""
    short: str = ""
    named: str = ""
    words: Mapping[str, int] = {}
    stable: bool = False


class Bit(NamedTuple):
    """A bit-field of the kernel's struct of a header: ``mask`` in an event's field."""

    field: str
    mask: int


def decode_nothing(raw: bytes, length: int, quoted: Optional[Quoted]) -> Dict[str, Any]:
    """Of a protocol that is known by its name alone."""
    return {}


def line_nothing(packet: Packet) -> str:
    return ""


class Protocol(NamedTuple):
    """One protocol over IP.

    ``name`` is ``packet.proto`` and ``sock.protocol``; ``numbers`` are IPPROTO_*, the first of
    them is written. ``decode`` gives the fields of a header: its bytes from its begin on, as
    many as there are; the length of the packet from there; and, but inside a quoted packet,
    who reads the packet that this one quotes. What is not there or malformed is absent.
    ``line`` says in one line what is in a packet of it, without addresses and ports.

    ``lane`` is the layer that draws it; ``files``: what its files' names in the kernel have in
    them (a regular expression). ``colour`` is rich's.
    """

    name: str
    numbers: Tuple[int, ...]
    title: str
    decode: Decode = decode_nothing
    fields: Tuple[Field, ...] = ()
    line: Callable[[Packet], str] = line_nothing
    # -- in the kernel ------------------------------------------------------------
    header: str = ""  # the struct of its header
    accessor: str = ""  # the kernel's function that views it: tcp_hdr(skb)
    bits: Mapping[str, Bit] = {}  # bit-fields of that struct
    cast: Mapping[str, str] = {}  # the kernel's casts of a sock: tcp_sk → tcp_sock
    # -- its sockets ----------------------------------------------------------------
    ports: bool = False  # bound to ports: sk->sk_num is one
    stream: bool = False  # of type SOCK_STREAM; another type is a raw socket
    states: bool = False  # sk->sk_state is one of TCP's
    kinds: Tuple[str, ...] = ()  # the structures that it is, behind struct inet_sock
    structs: Mapping[str, Sequence[str]] = {}  # and those of them that are read, by member
    socket: Optional[Socket] = None  # reads them
    # Where the kernel finds the socket of a packet that comes in: the symbol of its hash
    # tables, and the member of struct net that leads to a namespace's own.
    tables: Tuple[str, str] = ("", "")
    # -- on a screen -----------------------------------------------------------------
    lane: str = ""
    files: str = ""
    colour: str = "cyan"

    def of(self, name: str) -> Optional[Field]:
        """The field of this name."""
        return next((field for field in self.fields if field.name == name), None)

    def fixed(self, raw: bytes) -> Dict[str, Any]:
        """The numbers that lie at a fixed place, as far as ``raw`` goes."""
        found = {}
        for field in self.fields:
            if field.at is None or field.kind not in (NUMBER, NAMED):
                continue
            end = field.at + field.bits // 8
            if end <= len(raw):
                found[field.name] = int.from_bytes(raw[field.at : end], "big")
        return found


__all__ = [
    "ADDRESS",
    "FLAGS",
    "NAMED",
    "NUMBER",
    "OPEN",
    "TEXT",
    "Bit",
    "Field",
    "Packet",
    "Protocol",
    "Quoted",
    "Views",
]
