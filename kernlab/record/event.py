"""The event: one hit of a probe, as events.jsonl holds it, one JSON object a line.

Events travel as plain dicts; the models here are their schema, and check them where a
file comes from outside. A field that could not be read is absent.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = 1


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Task(_Open):
    """The task that was current; in a softirq it is the one that was interrupted."""

    pid: int
    comm: str


class Site(_Open):
    """Where the probe is; file relative to the source tree."""

    func: str
    file: str = ""
    line: int = 0


class Packet(_Open):
    """What the headers say. ``id`` is one for all events of one packet
    (``kernlab.record.identity``), there even where no header could be read.
    Ports, seq, ack and window in host order; ``win`` unscaled; ``len`` is the payload in
    bytes; ``raw`` the first bytes from the IP header on, base64."""

    id: str | None = None
    family: Literal["ipv4", "ipv6"] | None = None
    proto: str | None = None
    src: str | None = None
    sport: int | None = Field(None, ge=0, le=65535)
    dst: str | None = None
    dport: int | None = Field(None, ge=0, le=65535)
    flags: str | None = Field(None, pattern="^[FSRPAUEC]*$")
    seq: int | None = Field(None, ge=0, le=0xFFFFFFFF)
    ack: int | None = Field(None, ge=0, le=0xFFFFFFFF)
    win: int | None = Field(None, ge=0, le=65535)
    len: int | None = Field(None, ge=0)
    options: dict[str, Any] | None = None
    direction: Literal["in", "out"] | None = None
    raw: str | None = None


class Skb(_Open):
    """struct sk_buff: ``len`` and ``data_len`` in bytes, as at the probe. ``head``: the
    buffer, which clones share; ``users``: references to this struct. ``sk``: skb->sk;
    ``owner``: sender, where that is the socket that sends the packet (skb->destructor). ``cb``
    is TCP_SKB_CB where it is valid: seq, end_seq, ack_seq in host order, flags."""

    addr: str
    head: str | None = None
    users: int | None = None
    len: int | None = None
    data_len: int | None = None
    dev: str | None = None
    sk: str | None = None
    owner: Literal["sender"] | None = None
    cb: dict[str, Any] | None = None


class Sock(_Open):
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
    sport: int | None = None
    dst: str | None = None
    dport: int | None = None
    snd_una: int | None = None
    snd_nxt: int | None = None
    rcv_nxt: int | None = None
    snd_cwnd: int | None = None


class Frame(_Open):
    """A frame of the call stack, innermost first."""

    func: str
    file: str | None = None
    line: int | None = None
    inlined: bool = False


class Event(_Open):
    """One event. ``seq`` counts the run's events from 1; guest_ns is the guest's monotonic
    clock at its last tick, host_ns the host's wall clock, both in ns. ``args`` are a
    function's arguments, ``locals`` the variables at a line, ``show`` the values of the
    expressions asked for, ``netns`` the inode number of the network namespace of the sock, or
    of skb->dev where there is no sock (``ls -i /proc/PID/ns/net``), ``ret`` what the
    function returned (addresses as "0x…"), ``drop`` the kernel's name for the reason of a
    drop."""

    v: Literal[1]
    seq: int = Field(ge=1)
    engine: str
    probe: str
    cpu: int = Field(ge=0)
    task: Task | None = None
    guest_ns: int | None = None
    host_ns: int
    site: Site
    packet: Packet | None = None
    skb: Skb | None = None
    sock: Sock | None = None
    netns: int | None = None
    args: dict[str, Any] | None = None
    locals: dict[str, Any] | None = None
    show: dict[str, Any] | None = None
    drop: dict[str, str] | None = None
    ret: int | str | None = None
    stack: list[Frame] | None = None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an event, for editors and other programs."""
    schema = Event.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def validate(data: Any) -> Event:
    """Check an event. Raises pydantic's ``ValidationError``."""
    return Event.model_validate(data)
