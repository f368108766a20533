"""C expressions that an event answers by itself, for the engines that evaluate none."""

from __future__ import annotations

from typing import Any

import pytest

from kernlab.decode import expr
from kernlab.errors import BadInput
from kernlab.record.expression import parse_where
from kernlab.symbols.dwarf import Argument, Function
from kernlab.symbols.probes import Probe
from kernlab.symbols.sites import SiteRow
from kernlab.trace.expressions import not_set
from kernlab.trace.members import reader
from kernlab.trace.plan import Plan
from kernlab.trace.request import TraceRequest
from kernlab.trace.streaming import Expressions, answerable

EVENT: dict[str, Any] = {
    "probe": "f",
    "sock": {
        "via": "argument",
        "family": "ipv4",
        "state": "CLOSE_WAIT",
        "dst": "10.0.0.1",
        "snd_cwnd": 10,
        "err": 104,
        "retransmits": 2,
    },
    "skb": {"len": 40, "cb": {"seq": 7, "flags": "SA"}},
    "packet": {"proto": "tcp", "dport": 8080, "seq": 1, "flags": "FA"},
}


def probe(header: Any = "transport") -> Probe:
    args = (
        Argument("sk", "struct sock *", "pointer", 8, "rdi"),
        Argument("skb", "struct sk_buff *", "pointer", 8, "rsi"),
    )
    place = Function("f", "f", 1, "net/f.c", 1, args, b"")
    return Probe("f", place, SiteRow(header=header, tcp_cb=True, why=""), "skb", "sk")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("icmp_hdr(skb)->type", 3),
        ("icmp_hdr(skb)->code", 1),
        ("udp_hdr(skb)->dest", None),
        ("icmp_hdr(skb)->un.gateway", None),
    ],
)
def test_a_header_of_any_protocol_is_read_by_its_members(text: str, value: Any) -> None:
    event = {"probe": "f", "packet": {"proto": "icmp", "icmp_type": 3, "icmp_code": 1}}
    found = reader(text, probe())
    assert (None if found is None else found(event)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sk->sk_state", 8),
        ("tcp_sk(sk)->snd_cwnd", 10),
        ("sk->sk_err", 104),
        ("((struct tcp_sock *)sk)->snd_cwnd", 10),
        ("inet_csk(sk)->icsk_retransmits", 2),
        ("sk->sk_daddr", "10.0.0.1"),
        ("skb->len", 40),
        ("TCP_SKB_CB(skb)->seq", 7),
        ("TCP_SKB_CB(skb)->tcp_flags", 0x12),
        ("tcp_hdr(skb)->fin", 1),
        ("tcp_hdr(skb)->syn", 0),
        ("tcp_hdr(skb)->dest", 0x901F),
        ("tcp_hdr(skb)->seq", 0x01000000),
    ],
)
def test_a_member_that_is_decoded_has_the_value_that_c_has(text: str, value: Any) -> None:
    read = reader(text, probe())
    assert read is not None
    assert read(EVENT) == value
    assert read({"probe": "f"}) is None


@pytest.mark.parametrize(
    "text",
    [
        "sk->sk_socket",
        "skb->mark",
        "sk->snd_cwnd",
        "skb->sk->sk_state",
        "sk->sk_flags & 1",
        "other->len",
        "udp_sk(sk)->pending",
        "jiffies",
    ],
)
def test_any_other_is_refused(text: str) -> None:
    assert reader(text, probe()) is None
    if "->" in text:
        request = TraceRequest(("f",), parse_where(f"{text} == 1"))
        with pytest.raises(BadInput, match="cannot evaluate this C expression"):
            answerable(Plan(request, (probe(),)), "ftrace")


def test_a_header_that_is_not_set_there_is_not_read() -> None:
    """GDB reads none there either: gdb_scripts.guards."""
    assert reader("tcp_hdr(skb)->fin", probe("network")) is None


def test_a_view_of_a_header_that_is_not_set_at_any_probe_is_refused() -> None:
    assert not_set(["tcp_hdr(skb)->fin", "skb->len"], [probe()]) == []
    (note,) = not_set(["tcp_hdr(skb)->fin"], [probe(), probe("network")])
    assert "no value at f" in note
    with pytest.raises(BadInput, match="not set there yet"):
        not_set(["tcp_hdr(skb)->fin"], [probe("network")])
    with pytest.raises(BadInput, match="not set there yet"):
        not_set(["ip_hdr(skb)->ttl"], [probe("tcp")])


def test_a_sock_that_is_not_the_argument_s_has_no_say() -> None:
    event = {**EVENT, "sock": {**EVENT["sock"], "via": "lookup"}}
    read = reader("sk->sk_state", probe())
    assert read is not None
    assert read(event) is None


def test_the_values_are_in_the_event_and_the_filter_passes() -> None:
    where = parse_where("tcp_sk(sk)->snd_cwnd == 10 and sk->sk_state == CLOSE_WAIT")
    plan = Plan(TraceRequest(("f",), where), (probe(),))
    answerable(plan, "bpf")
    event = dict(EVENT)
    Expressions(plan).put(event)
    assert event["show"] == {"tcp_sk(sk)->snd_cwnd": 10, "sk->sk_state": 8}
    assert expr.passes(where.expr, event)
