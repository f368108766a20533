"""Frames dissected by tshark, a child that gets them on a pipe and answers a line for each.

Numbers and addresses alone are asked for, no text of a packet. What tshark keeps in memory
is bounded: it gets a frame's first bytes, reassembles nothing and forgets after some frames.
"""

from __future__ import annotations

import ipaddress
import os
import select
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import IO, Any

from kernlab.decode.names import flags_text
from kernlab.decode.protocols.tcp import tcp_options
from kernlab.errors import WeFailed
from kernlab.process import PIPE, Child
from kernlab.record.container import IDB, SHB, Captured
from kernlab.record.dissected import CUT, Dissected, start

_HEAD = 2048  # bytes of a frame that are dissected: more than the headers of many tunnels
_FORGET = 50_000  # frames after which tshark begins anew
_LIMIT = 60  # seconds without an answer
_LINE = 1 << 20  # bytes of an answer
_FIELDS = (
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.ttl",
    "ip.id",
    "ip.dsfield",
    "ip.flags.mf",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.hlim",
    "ipv6.tclass",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.window_size_value",
    "tcp.len",
    "tcp.urgent_pointer",
    "tcp.options",
    "ieee8021ad.id",
    "vlan.id",
    "vxlan.vni",
    "geneve.vni",
    "gre.key",
)
_WITHIN = {
    "ieee8021ad.id": "vlan",
    "vlan.id": "vlan",
    "vxlan.vni": "vxlan",
    "geneve.vni": "geneve",
    "gre.key": "gre",
}
_OPTIONS = (
    "tcp.relative_sequence_numbers:FALSE",
    "tcp.analyze_sequence_numbers:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
)
# Layers that hold the headers of a packet that was sent elsewhere, not one that passed here
_QUOTING = {"icmp", "icmpv6", "sflow", "cflow"}
# The last layer of a frame that was dissected no further
_OPAQUE = {"data", "_ws.malformed", "_ws.short", "_ws.unreassembled", "esp", "frame"}
# Layers after which a payload that is not known hides no headers
_ENDS = {"udp", "sctp", "dccp", "udplite", "icmp", "icmpv6", "igmp", "arp", "llc"}


def dissected(frames: Iterable[Captured]) -> Iterator[Dissected]:
    """Each frame by tshark. Raises ``WeFailed`` when it ends too soon or does not answer; what
    reading the frames raises comes after the frames before it."""
    with (
        tempfile.TemporaryDirectory(prefix="kernlab-tshark-") as empty,
        tempfile.TemporaryFile() as said,
    ):
        argv = [
            "tshark",
            "-r",
            "-",
            "-n",
            "-Q",
            "-l",
            "-M",
            str(_FORGET),
            "-T",
            "fields",
            "-E",
            "separator=/t",
            "-E",
            "occurrence=a",
            "-E",
            "aggregator=,",
        ]
        argv += [word for one in _OPTIONS for word in ("-o", one)]
        argv += [word for one in _FIELDS for word in ("-e", one)]
        # Without a user's profiles: another "decode as", other preferences.
        env = {
            **os.environ,
            "WIRESHARK_CONFIG_DIR": empty,
            "XDG_CONFIG_HOME": empty,
            "HOME": empty,
            "LC_ALL": "C",
        }
        with Child(argv, env=env, stdin=PIPE, stdout=PIPE, stderr=said) as child:
            assert child.stdin is not None
            feeder = _Feeder(frames, child.stdin)
            feeder.start()
            for line in _lines(child, feeder):
                if not feeder.owed:
                    raise WeFailed(
                        "tshark answered more frames than it was given", "", "tshark --version"
                    )
                yield _read(feeder.owed.popleft(), line)
            child.wait(_LIMIT)
            # The pipe ended: of the child, or of what it was to be given.
            feeder.join(1)
            if feeder.error is not None:
                raise feeder.error
            if feeder.owed or child.returncode:
                raise _ended(child, feeder, said)


class _Feeder(threading.Thread):
    """Writes frames to tshark; ``owed`` are those without an answer. A daemon: it may stand
    in a pipe that nobody writes to when all ends."""

    def __init__(self, frames: Iterable[Captured], out: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self.owed: deque[Dissected] = deque()
        self.error: BaseException | None = None
        self.reading = False
        self._frames, self._out = iter(frames), out

    def run(self) -> None:
        try:
            self._feed()
        except (BrokenPipeError, ValueError):
            pass  # tshark has gone, or this end was closed
        except BaseException as error:
            self.error = error
        finally:
            with suppress(OSError, ValueError):
                self._out.close()

    def _feed(self) -> None:
        self._out.write(_block(SHB, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        links: dict[int, int] = {}
        number = 0
        while True:
            self.reading = True
            frame = next(self._frames, None)
            self.reading = False
            if frame is None:
                return
            number += 1
            if frame.linktype not in links:
                links[frame.linktype] = len(links)
                self._out.write(_block(IDB, struct.pack("<HHI", frame.linktype, 0, 0)))
            data = frame.data[:_HEAD]
            length = max(frame.length, len(data))
            head = struct.pack("<IIIII", links[frame.linktype], 0, 0, len(data), length)
            self.owed.append(start(number, frame))
            self._out.write(_block(6, head + data))
            self._out.flush()


def _block(kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _lines(child: Child, feeder: _Feeder) -> Iterator[bytes]:
    """What tshark answers, line by line. A frame it was given is answered within a limit."""
    assert child.stdout is not None
    descriptor = child.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    rest, idle = b"", 0
    while True:
        if not poll.poll(1000):
            idle = 0 if feeder.reading or not feeder.owed else idle + 1
            if idle >= _LIMIT:
                raise WeFailed(
                    f"tshark has not answered for {_LIMIT} s",
                    f"at frame {feeder.owed[0].number}",
                    "tshark --version",
                )
            continue
        idle = 0
        part = os.read(descriptor, 1 << 16)
        if not part:
            return
        *whole, rest = (rest + part).split(b"\n")
        if len(rest) > _LINE:
            raise WeFailed(
                f"tshark printed a line of more than {_LINE} bytes", "", "tshark --version"
            )
        yield from whole


def _ended(child: Child, feeder: _Feeder, said: IO[bytes]) -> WeFailed:
    said.seek(0)
    words = said.read(1 << 16).decode("utf-8", "replace").strip()[-500:]
    at = f" at frame {feeder.owed[0].number}" if feeder.owed else ""
    status = child.returncode or 0
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return WeFailed(
        f"tshark ended{at} ({how})",
        (words or "it printed nothing")
        + "\neditcap FILE COPY NUMBER writes a copy of the capture without one frame",
        "leave out that frame with editcap and read the copy",
    )


def _read(began: Dissected, line: bytes) -> Dissected:
    """An answer: its innermost TCP header, and the IP header around that one."""
    cells = line.decode("ascii", "replace").split("\t")
    if len(cells) != len(_FIELDS):
        return began._replace(unknown="tshark printed something that is not a row")
    found = {
        name: cell.split(",") if cell else [] for name, cell in zip(_FIELDS, cells, strict=True)
    }
    layers = cells[0].split(":")
    segment = max((n for n, name in enumerate(layers) if name == "tcp"), default=None)
    quoted = next((n for n, name in enumerate(layers) if name in _QUOTING), len(layers))
    if segment is None or quoted < segment:
        return began._replace(unknown="" if quoted < len(layers) else _opaque(layers))
    try:
        fields = _network(found, layers[:segment])
        fields.update(_transport(found))
    except (IndexError, KeyError, ValueError):
        return began._replace(unknown=CUT)
    return began._replace(
        fields=fields, within=_within(found), place=(*began.place, cells[0][:500], *_within(found))
    )


def _opaque(layers: list[str]) -> str:
    """What a frame without TCP is, where tshark did not see to its end."""
    shown = [one for one in layers if one not in ("ethertype", "")]
    if shown and (shown[-1] not in _OPAQUE or _ENDS & set(shown)):
        return ""
    return ":".join(shown)[:80] or "unknown to tshark"


def _network(found: dict[str, list[str]], layers: list[str]) -> dict[str, Any]:
    """The IP header that holds the segment: of its family the last."""
    family = next((name for name in reversed(layers) if name in ("ip", "ipv6")), None)
    count = layers.count(family) - 1 if family is not None else 0
    if len(found["ip.src"]) + len(found["ipv6.src"]) > layers.count("ip") + layers.count("ipv6"):
        # tshark 4.4 leaves out the name of the IP header below MPLS. Where headers of both
        # families are there, it is not known which of them holds the segment.
        (family,) = [name for name in ("ip", "ipv6") if found[f"{name}.src"]]
        count = len(found[f"{family}.src"]) - 1
    if family is None:
        raise KeyError("ip")

    def value(name: str) -> str:
        return found[name][count]

    if family == "ipv6":
        return {
            "family": "ipv6",
            "src": _address(value("ipv6.src")),
            "dst": _address(value("ipv6.dst")),
            "ttl": _number(value("ipv6.hlim")),
            "tos": _number(value("ipv6.tclass")),
            "proto": "tcp",
        }
    fields: dict[str, Any] = {
        "family": "ipv4",
        "src": _address(value("ip.src")),
        "dst": _address(value("ip.dst")),
        "ttl": _number(value("ip.ttl")),
        "ip_id": _number(value("ip.id")),
        "tos": _number(value("ip.dsfield")),
        "proto": "tcp",
    }
    if _number(value("ip.flags.mf")) or _number(value("ip.frag_offset")):
        fields["fragment"] = _number(value("ip.frag_offset"))
    return fields


def _transport(found: dict[str, list[str]]) -> dict[str, Any]:
    def value(name: str) -> int:
        return _number(found[name][-1])

    flags = value("tcp.flags")
    fields: dict[str, Any] = {
        "sport": value("tcp.srcport"),
        "dport": value("tcp.dstport"),
        "flags": flags_text(flags & 0xFF),
        "seq": value("tcp.seq"),
        "ack": value("tcp.ack_raw"),
        "win": value("tcp.window_size_value"),
    }
    if found["tcp.len"]:
        fields["len"] = value("tcp.len")
    if flags & 0x20:
        fields["urg"] = value("tcp.urgent_pointer")
    # Of several TCP headers it is not known whose options the last are.
    if found["tcp.options"] and len(found["tcp.srcport"]) == 1:
        raw = found["tcp.options"][-1].replace(":", "")
        try:
            options = tcp_options(bytes.fromhex(raw))
        except ValueError:  # <MISSING>
            fields["options_cut"] = True
        else:
            if options:
                fields["options"] = options
    return fields


def _within(found: dict[str, list[str]]) -> tuple[str, ...]:
    """The networks around a segment; VLAN 0 is a priority alone (IEEE 802.1Q)."""
    ids = [(name, _number(one)) for field, name in _WITHIN.items() for one in found[field]]
    return tuple(f"{name} {number}" for name, number in ids if number or name != "vlan")


def _number(text: str) -> int:
    """Newer tsharks write a flag as a word."""
    return {"True": 1, "False": 0}[text] if text in ("True", "False") else int(text, 0)


@lru_cache(maxsize=4096)
def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))
