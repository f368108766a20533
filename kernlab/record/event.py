"""The event: one hit of a probe, as events.jsonl holds it, one JSON object a line.

Events travel as plain dicts; the models here are their schema, and check them where a
file comes from outside. A field that could not be read is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from kernlab.decode import protocols
from kernlab.decode.kinds import ADDRESS, FLAGS, NAMED, NUMBER, TEXT
from kernlab.decode.names import FLAG_LETTERS
from kernlab.record.shapes import Int, Line, Open, Value

VERSION = 1
_U32 = 0xFFFFFFFF


class Task(Open):
    """The task that was current; in a softirq it is the one that was interrupted."""

    pid: Int
    comm: str


class Site(Open):
    """Where the probe is; file relative to the source tree."""

    func: str
    file: str = ""
    line: Line = 0


class Options(Open):
    """TCP's options; ``ts`` are the two timestamps."""

    ts: list[Int] | None = None


class PacketBase(Open):
    """What every packet has. ``id`` is one for all events of one packet
    (``kernlab.record.identity``), there even where no header could be read. ``len`` is the
    payload in bytes; ``raw`` the first bytes from the IP header on, base64."""

    id: str | None = None
    family: Literal["ipv4", "ipv6"] | None = None
    proto: str | None = None
    src: str | None = None
    dst: str | None = None
    rseq: int | None = Field(None, ge=0, le=_U32)
    rack: int | None = Field(None, ge=0, le=_U32)
    wnd: int | None = Field(None, ge=0, le=65535 << 14)
    len: int | None = Field(None, ge=0, le=_U32)
    ip_id: int | None = Field(None, ge=0, le=65535)
    options: Options | None = None
    direction: Literal["in", "out"] | None = None
    raw: str | None = None


def _of_protocols() -> dict[str, Any]:
    """The fields of the headers above IP, by the table of protocols, as pydantic wants them."""
    found: dict[str, Any] = {}
    for _, field in protocols.fields():
        if field.kind in (NUMBER, NAMED):
            most = (1 << field.bits) - 1
            found[field.name] = (int | None, Field(None, ge=0, le=most))
        elif field.kind == FLAGS:
            found[field.name] = (str | None, Field(None, pattern=f"^[{FLAG_LETTERS}]*$"))
        elif field.kind in (TEXT, ADDRESS):
            found[field.name] = (str | None, None)
    return found


if TYPE_CHECKING:
    Packet = PacketBase
else:
    # What an ICMP error quotes has no packet of its own in it.
    Quoted = create_model("Quoted", __base__=PacketBase, **_of_protocols())
    Packet = create_model(
        "Packet",
        __base__=PacketBase,
        __doc__="What the headers say. Ports, seq, ack and window in host order; ``win`` "
        "unscaled; ``quoted`` is the packet that an ICMP error is about.",
        quoted=(Quoted | None, None),
        **_of_protocols(),
    )


class Error(Open):
    """The ICMP error that a function is about to send about ``packet``."""

    proto: str
    icmp_type: int = Field(ge=0, le=255)
    icmp_code: int = Field(ge=0, le=255)
    icmp_name: str | None = None
    icmp_code_name: str | None = None


class Skb(Open):
    """struct sk_buff: ``len`` and ``data_len`` in bytes, as at the probe. ``head``: the
    buffer, which clones share; ``users``: references to this struct. ``sk``: skb->sk;
    ``owner``: sender, where that is the socket that sends the packet (skb->destructor). ``cb``
    is TCP_SKB_CB where it is valid: seq, end_seq, ack_seq in host order, flags."""

    addr: str
    head: str | None = None
    users: Int | None = None
    len: Int | None = None
    data_len: Int | None = None
    dev: str | None = None
    sk: str | None = None
    owner: Literal["sender"] | None = None
    cb: dict[str, Value] | None = None


class Sock(Open):
    """struct sock: ``src`` is the local side; srtt_us in µs, rto_ms in ms. ``via`` tells how
    it was found: as the function's argument, at skb->sk, by the kernel's own lookup; ``sender``:
    at skb->sk, and it is the socket that sent the packet. What the socket does not have is
    absent: a raw socket has no port, only TCP a state, one of no INET family has the family
    alone."""

    addr: str
    via: Literal["argument", "skb", "lookup", "sender"] | None = None
    family: str | None = None
    protocol: str | None = None
    state: str | None = None
    src: str | None = None
    sport: Int | None = None
    dst: str | None = None
    dport: Int | None = None
    snd_una: Int | None = None
    snd_nxt: Int | None = None
    rcv_nxt: Int | None = None
    snd_cwnd: Int | None = None


class Frame(Open):
    """A frame of the call stack, innermost first."""

    func: str
    file: str | None = None
    line: Line | None = None
    inlined: bool = False


class Rst(Open):
    """What the detective says of a RST (``kernlab.reasons.match``)."""

    cause: str
    name: str | None = None
    kind: str | None = None
    says: str | None = None
    condition: str | None = None
    remedy: str | None = None
    shape: str | None = None
    state_before: str | None = None
    state_after: str | None = None
    counters: list[str] | None = None
    labs: list[str] | None = None
    also: list[str] | None = None
    circumstances: list[str] | None = None
    errno: dict[str, str] | None = None
    moved: dict[str, Int] | None = None
    moved_by: Int | None = None
    frame: Int | None = None
    answers_frame: Int | None = None
    decides: Int | None = None
    segment: Packet | None = None
    # Pairs: a line's number and its text.
    source: list[Annotated[list[Line | str], Field(min_length=2, max_length=2)]] | None = None


class WhichLock(Open):
    """Of what a lock is: one of the two locks of the socket with this local port and state
    (struct socket_lock_t), or a lock of the table with this id in configs/locks.yaml."""

    kind: Literal["slock", "owned", "table"]
    port: Int | None = None
    state: str | None = None
    table: str | None = None


class Lock(Open):
    """A lock that an actor of a race has, or waits for; ``what``: ``which`` in words."""

    addr: str
    name: str
    which: WhichLock | None = None
    what: str | None = None
    func: str | None = None
    line: Line | None = None
    since: Line | str | None = None


class Waits(Open):
    """For what an actor of a race waits: a lock's fields, or whose answer."""

    kind: Literal["lock", "ipi", "rcu"]
    addr: str | None = None
    which: WhichLock | None = None
    of: list[str] | None = None
    held_by: str | None = None
    func: str | None = None
    line: Line | None = None
    since: Line | str | None = None


class Raced(Open):
    """A stop of a race: which actor, at which step, at which place or in which way."""

    actor: str
    step: Int
    reached: str
    locks: list[Lock] | None = None
    waits: Waits | None = None
    source: dict[str, str] | None = None


class Event(Open):
    """One event. ``seq`` counts the run's events from 1; guest_ns is the guest's monotonic
    clock at its last tick, host_ns the host's wall clock, both in ns. ``args`` are a
    function's arguments, ``texts`` what those of them point at that are strings or socket
    addresses (escaped, at most 128 bytes), ``locals`` the variables at a line, ``show`` the
    values of the expressions asked for, ``netns`` the inode number of the network namespace
    of the sock, or of skb->dev where there is no sock (``readlink /proc/PID/ns/net``), ``ret``
    what the function returned (addresses as "0x…"), ``drop`` the kernel's name for the reason
    of a drop."""

    v: Literal[1]
    seq: int = Field(ge=1, le=2**53)
    engine: str
    probe: str
    cpu: int = Field(ge=0, le=65535)
    task: Task | None = None
    guest_ns: Int | None = None
    host_ns: Int
    site: Site
    packet: Packet | None = None
    error: Error | None = None
    skb: Skb | None = None
    sock: Sock | None = None
    netns: Int | None = None
    args: dict[str, Value] | None = None
    texts: dict[str, str] | None = None
    locals: dict[str, Value] | None = None
    show: dict[str, Value] | None = None
    drop: dict[str, str] | None = None
    ret: Int | str | None = None
    stack: list[Frame] | None = None
    rst: Rst | None = None
    race: Raced | None = None


def begin(
    engine: str,
    probe: str,
    cpu: int,
    site: Mapping[str, Any],
    host_ns: int,
    task: Mapping[str, Any] | None = None,
    guest_ns: int | None = None,
) -> dict[str, Any]:
    """A new event: what every event begins with. Whoever saw it adds what it read; the record
    gives it its number (``kernlab.record.store``)."""
    event: dict[str, Any] = {"v": VERSION, "engine": engine, "probe": probe, "cpu": cpu}
    if task is not None:
        event["task"] = task
    if guest_ns is not None:
        event["guest_ns"] = guest_ns
    event["host_ns"] = host_ns
    event["site"] = site
    return event


def number(event: dict[str, Any], seq: int) -> None:
    """Give an event its number, which stands beside its version."""
    rest = {key: value for key, value in event.items() if key not in ("v", "seq")}
    event.clear()
    event.update(v=VERSION, seq=seq, **rest)


def json_schema() -> dict[str, object]:
    """The JSON Schema of an event, for editors and other programs."""
    schema = Event.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def validate(data: object) -> Event:
    """Check an event. Raises pydantic's ``ValidationError``, a ``ValueError``."""
    return Event.model_validate(data)
