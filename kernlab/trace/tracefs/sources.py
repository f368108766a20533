"""Where a kprobe event finds a field of the event that the host will decode: for filters.

Only what lies at a fixed place: members of a sock or skb, TCP's control block, and a header
where ``sites.yaml`` says that skb->data points at it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kernlab.decode import protocols
from kernlab.decode import sock as socks
from kernlab.decode.arch import ARCH
from kernlab.decode.layout import Layout
from kernlab.decode.place import position
from kernlab.decode.protocols.model import ADDRESS, Field
from kernlab.trace.tracefs.fetch import Fetch
from kernlab.trace.tracefs.lower import STATES, Constant, Number, Source, Text

_UNSIGNED, _SIGNED = "u", "s"
# The IPv4 header, RFC 791.
_IP = (
    Field("tos", bits=8, at=1),
    Field("ip_id", bits=16, at=4),
    Field("ttl", bits=8, at=8),
    Field("src", ADDRESS, 32, at=12),
    Field("dst", ADDRESS, 32, at=16),
)
_SOCK_STRUCTS = socks.FULL


def _header(data: str | None) -> tuple[Field, ...]:
    """The fields of the header that skb->data points at."""
    if data == "ip":
        return _IP
    row = protocols.BY_NAME.get(data or "")
    return () if row is None else row.fields


def _words(field: Field) -> dict[str, int]:
    """What a number's names stand for. A code's are those of one type each: the number alone
    does not tell them."""
    return dict(field.words) if field.name == "icmp_type" else {}


class Sources:
    """The fields of one probe, by path. Raises ``KeyError`` for one that none of its events
    has; None stands for one that some may have, but nobody can say where."""

    def __init__(self, fetch: Fetch, layout: Layout) -> None:
        self._fetch = fetch
        self._layout = layout
        self._what = fetch.what
        self._site = fetch.what["site"]
        self._names = {member: name for pairs in socks.NAMES for member, name in pairs}
        self._members = {name: member for member, name in self._names.items()}

    def __call__(self, path: str) -> Source:
        top, _, rest = path.partition(".")
        if path in ("probe", "engine"):
            return Constant(self._what["probe"] if path == "probe" else "ftrace")
        if top == "site":
            return Constant(position(self._what)[rest])
        if path == "cpu":
            return Number("", name="cpu")
        if path == "task.pid":
            return Number("", name="common_pid")
        if path == "task.comm":
            return Text()
        if top == "args":
            return self._argument(rest)
        if top == "sock":
            return self._sock(rest)
        if top == "skb":
            return self._skb(rest)
        if top == "packet":
            return self._packet(rest)
        if top == "error":
            return self._error(rest)
        return None

    def _argument(self, name: str) -> Source:
        for item in self._what["args"]:
            if item["name"] == name:
                if item["kind"] == "pointer":
                    return None  # text in the event
                sign = _SIGNED if item["kind"] == "signed" else _UNSIGNED
                return Number(f"{ARCH.kprobe[item['register']]}:{sign}{8 * item['size']}")
        raise KeyError(name)

    def _member(self, base: str, struct: str, member: str, **more: Any) -> Source:
        place = self._layout.field(struct, member)
        if place is None:
            raise KeyError(member)
        if len(place) != 2 or place[1] not in (1, 2, 4, 8):
            return None
        return Number(f"{place[0]:+d}({base}):u{8 * place[1]}", **more)

    def _sock(self, name: str) -> Source:
        base = self._fetch.sock_base
        if base is None:
            raise KeyError(name)
        common = "__sk_common.skc_"
        if name == "state":
            return self._member(base, "sock", f"{common}state", names=STATES)
        if name == "dport":
            return self._member(base, "sock", f"{common}dport", swapped=True)
        if name == "sport":  # the port of a socket on its way to CLOSE is elsewhere
            return self._member(base, "sock", f"{common}num", also=(0,))
        if name in ("src", "dst"):
            member = f"{common}{'rcv_saddr' if name == 'src' else 'daddr'}"
            return self._member(base, "sock", member, swapped=True)
        member = self._members.get(name, "")
        for struct in _SOCK_STRUCTS:
            if member and self._layout.field(struct, member) is not None:
                return self._member(base, struct, member)
        return None

    def _skb(self, name: str) -> Source:
        base = self._fetch.skb_base
        if base is None:
            raise KeyError(name)
        if name in ("len", "data_len"):
            return self._member(base, "sk_buff", name)
        if name.startswith("cb."):
            if not self._site["tcp_cb"]:
                raise KeyError(name)
            return self._control_block(base, name[len("cb.") :])
        return None

    def _control_block(self, base: str, name: str) -> Source:
        block = self._layout.field("sk_buff", "cb")
        place = self._layout.field("tcp_skb_cb", "tcp_flags" if name == "flags" else name)
        if block is None or place is None:
            raise KeyError(name)
        return Number(f"{block[0] + place[0]:+d}({base}):u{8 * place[1]}")

    def _packet(self, name: str) -> Source:
        base, header = self._fetch.skb_base, self._site["header"]
        if base is None or header == "none":
            raise KeyError(name)
        if name == "direction" and self._site["direction"] != "none":
            return Constant(self._site["direction"])
        if header == "cb":
            return self._to_be(base, name)
        data = self._layout.field("sk_buff", "data")
        table = _header(self._site["data"])
        field = next((one for one in table if one.name == name and one.at is not None), None)
        if data is None or field is None:
            of_table = (one.named for one in table if one.named)
            if name in of_table:
                raise KeyError(name)  # the number beside it says the same
            return None
        fetch = f"{field.at:+d}({data[0]:+d}({base})):u{field.bits}"
        return Number(fetch, swapped=field.bits > 8, names=_words(field))

    def _error(self, name: str) -> Source:
        """Of an ICMP error that is about to be sent: the function's arguments."""
        row = protocols.BY_NAME.get(self._site.get("sends") or "")
        field = row.of(name) if row is not None else None
        if field is None or not field.named:
            raise KeyError(name)
        found = self._argument(name.removeprefix("icmp_"))
        return replace(found, names=_words(field)) if isinstance(found, Number) else found

    def _to_be(self, base: str, name: str) -> Source:
        """A segment without a header yet: TCP's control block and the sock say it."""
        if name in ("seq", "flags"):
            return self._control_block(base, name)
        if name == "len":
            return self._member(base, "sk_buff", "len")
        if name in ("src", "sport", "dst", "dport"):
            return self._sock(name)
        return None
