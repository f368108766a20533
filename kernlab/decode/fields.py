"""The fields of an event that an expression can name, and what type each has."""

from __future__ import annotations

import difflib
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from kernlab.decode import protocols
from kernlab.decode.chains import is_c
from kernlab.decode.kinds import ADDRESS as ADDRESS
from kernlab.decode.kinds import FLAGS as FLAGS
from kernlab.decode.kinds import NAMED as NAMED
from kernlab.decode.kinds import NUMBER as NUMBER
from kernlab.decode.kinds import OPEN as OPEN
from kernlab.decode.kinds import STACK as STACK
from kernlab.decode.kinds import STATE as STATE
from kernlab.decode.kinds import TEXT as TEXT


def _many(prefix: str, kind: str, names: str) -> Dict[str, str]:
    return {prefix + name: kind for name in names.split()}


# What every packet has, whatever its protocol.
_PACKET: Dict[str, str] = {
    **_many("", TEXT, "id family proto direction"),
    **_many("", ADDRESS, "src dst"),
    **_many("", NUMBER, "rseq rack wnd len ttl ip_id tos fragment"),
    **{field.name: field.kind for _, field in protocols.fields()},
}
# Of a packet that an ICMP error quotes: all but what the record tells.
_QUOTED = [
    name for name in _PACKET if name not in ("id", "direction", "rseq", "rack", "wnd", "quoted")
]


# Of an error that a function is about to send.
ERROR = ("proto", "icmp_type", "icmp_name", "icmp_code", "icmp_code_name")

# The words that numbers have, by the name of the packet's field, whichever protocol has them.
WORDS: Dict[str, Set[str]] = {}
for _, _field in protocols.fields():
    if _field.words:
        WORDS.setdefault(_field.name, set()).update(_field.words)

TYPES: Dict[str, str] = {
    **_many("", NUMBER, "cpu guest_ns host_ns v netns"),
    **_many("", TEXT, "probe engine"),
    **_many("task.", NUMBER, "pid"),
    **_many("task.", TEXT, "comm"),
    **_many("site.", TEXT, "func file"),
    **_many("site.", NUMBER, "line"),
    **{"packet." + name: kind for name, kind in _PACKET.items()},
    **{"packet.quoted." + name: _PACKET[name] for name in _QUOTED},
    **{"error." + name: _PACKET[name] for name in ERROR},
    **_many("packet.options.", NUMBER, "mss wscale"),
    **_many("packet.options.", OPEN, "sack_ok sack ts md5 tfo mptcp"),
    **_many("skb.", NUMBER, "len data_len users"),
    **_many("skb.", TEXT, "addr head dev sk owner"),
    **_many("skb.cb.", NUMBER, "seq end_seq ack_seq"),
    **_many("skb.cb.", FLAGS, "flags"),
    **_many("sock.", TEXT, "addr family protocol ca_state via"),
    **_many("sock.", ADDRESS, "src dst"),
    **_many("sock.", STATE, "state substate"),
    **_many("sock.", OPEN, "sock_flags"),
    **_many(
        "sock.",
        NUMBER,
        "sport dport err err_soft shutdown rcvbuf sndbuf wmem_queued receive_queue backlog_len "
        "ack_backlog max_ack_backlog lingertime retransmits backoff rto_ms linger2 srtt_us "
        "snd_una snd_nxt snd_wnd rcv_nxt rcv_wnd copied_seq write_seq snd_cwnd snd_ssthresh "
        "packets_out retrans_out lost_out sacked_out total_retrans mss_cache rcv_isn snt_isn",
    ),
    **_many("drop.", TEXT, "reason"),
    "stack": STACK,
    "ret": OPEN,
}

_ENDS = ("family", "proto", "src", "sport", "dst", "dport", "seq")


def _of_protocols() -> Dict[str, Sequence[Tuple[str, ...]]]:
    """The short names that protocols have for their fields. A number that is named is found
    by either; what a function is about to send comes before what it has."""
    found: Dict[str, Sequence[Tuple[str, ...]]] = {}
    for _, field in protocols.fields():
        if not field.short:
            continue
        names = (field.name, field.named) if field.named else (field.name,)
        groups: Tuple[Tuple[str, ...], ...] = (tuple("packet." + name for name in names),)
        if field.name in ERROR:
            groups = (tuple("error." + name for name in names), *groups)
        found[field.short] = groups
    return found


# A number that has a name beside it: by its path it is found by either.
BESIDE: Dict[str, Sequence[Tuple[str, ...]]] = {
    top + field.name: ((top + field.name, top + field.named),)
    for top in ("packet.", "packet.quoted.", "error.")
    for _, field in protocols.fields()
    if field.named and top + field.name in TYPES
}
# Short names: groups of paths; the first group that is there at all answers, and within
# a group any of the values may match ("port" is either side's).
SHORT: Dict[str, Sequence[Tuple[str, ...]]] = {
    "sport": (("packet.sport",), ("sock.sport",)),
    "dport": (("packet.dport",), ("sock.dport",)),
    "port": (("packet.sport", "packet.dport"), ("sock.sport", "sock.dport")),
    "src": (("packet.src",), ("sock.src",)),
    "dst": (("packet.dst",), ("sock.dst",)),
    "addr": (("packet.src", "packet.dst"), ("sock.src", "sock.dst")),
    "host": (("packet.src", "packet.dst"), ("sock.src", "sock.dst")),
    "rseq": (("packet.rseq",),),
    "rack": (("packet.rack",),),
    "wnd": (("packet.wnd",),),
    "len": (("packet.len",),),
    "family": (("packet.family",), ("sock.family",)),
    "proto": (("packet.proto",), ("sock.protocol",)),
    "ttl": (("packet.ttl",),),
    "state": (("sock.state",),),
    "func": (("site.func",),),
    "comm": (("task.comm",),),
    "pid": (("task.pid",),),
    "dev": (("skb.dev",),),
    "direction": (("packet.direction",),),
    **_of_protocols(),
    **{"quoted." + name: (("packet.quoted." + name,),) for name in _ENDS},
    "quoted.port": (("packet.quoted.sport", "packet.quoted.dport"),),
}
SHOW = "show."
OPEN_PREFIXES = (
    "args.",
    "texts.",
    "locals.",
    "show.",
    "rst.",
    "connection.",
    "history.",
    "race.",
    "packet.options.kind-",
)
# What the record tells of an event after its stop: no filter while a trace runs can ask it.
RECORDED = ("packet.id", "drop.reason")
# What only the segments of a capture have, in a lab's verdict and on the report page.
CAPTURED = ("packet.rseq", "packet.rack", "packet.wnd")
# Events of the same call that came before this one, by their probe (kernlab.reasons.match):
# before.tcp_set_state.sock.state is a field of theirs.
_EARLIER = "before."


def type_of(name: str) -> Optional[str]:
    """The type of a field or short name; None when there is no such field. A C expression is a
    field of ``show``."""
    if name in TYPES:
        return TYPES[name]
    if name in SHORT:
        return TYPES[SHORT[name][0][0]]
    if name.startswith(OPEN_PREFIXES) or is_c(name):
        return OPEN
    if name.startswith(_EARLIER):
        probe, _, rest = name[len(_EARLIER) :].partition(".")
        return type_of(rest) if rest else OPEN if probe else None
    return None


def words_of(name: str) -> Set[str]:
    """The words that a field's number may be compared with."""
    return WORDS[paths(name)[0][0].rpartition(".")[2]]


def paths(name: str) -> Sequence[Tuple[str, ...]]:
    """The groups of paths that a name stands for."""
    if is_c(name) and not name.startswith((*OPEN_PREFIXES, _EARLIER)):
        name = SHOW + name
    return SHORT.get(name) or BESIDE.get(name) or ((name,),)


def near(name: str) -> List[str]:
    """Known names that ``name`` may have been meant as."""
    known = [*SHORT, *TYPES]
    return difflib.get_close_matches(name, known, n=3, cutoff=0.6)


def values(event: Mapping[str, Any], name: str) -> List[Any]:
    """The values an event has for a name; empty when absent."""
    for group in paths(name):
        found = [value for value in (_get(event, path) for path in group) if value is not None]
        if found:
            return found
    return []


def _get(event: Mapping[str, Any], path: str) -> Any:
    value: Any = event
    if path.startswith(SHOW):  # a name there may be an expression, with dots in it
        shown = event.get("show")
        name = path[len(SHOW) :]
        if isinstance(shown, Mapping) and name in shown:
            return shown[name]
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value
