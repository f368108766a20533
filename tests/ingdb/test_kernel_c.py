"""Kernel C as it is written, in a real GDB: the accessors work, and nothing is read that the
object does not have. The program's structures are the kernel's, with few members."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ingdb.test_scripts import inside

PROGRAM = """
typedef unsigned short __be16; typedef unsigned int __be32;
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
struct sock_common { __be32 skc_daddr; __be16 skc_dport; u16 skc_num; u16 skc_family;
                     volatile u8 skc_state; };
struct sock { struct sock_common __sk_common; u16 sk_type, sk_protocol; int sk_err; };
struct inet_sock { struct sock sk; };
struct tcp_sock { struct inet_sock inet; int snd_cwnd; };
struct inet_timewait_sock { struct sock_common __tw_common; int tw_substate; };
struct sk_buff { struct sock *sk; unsigned len; char cb[8]; u8 *head;
                 u16 transport_header, network_header, mac_header; };
struct tcphdr { __be16 source, dest; __be32 seq; u16 fin:1, syn:1; };
struct iphdr { u8 version; }; struct tcp_skb_cb { u32 seq; };
struct tcp_sock tcp = {{{{0x0100007f, 0x901f, 80, 2, 1}, 1, 6, 5}}, 10};
struct { struct inet_timewait_sock tw; int other[16]; } wait =
  {{{0x0100007f, 0x901f, 80, 2, 6}, 5}, {0xcccccccc, 0xcccccccc, 0xcccccccc, 0xcccccccc}};
struct { struct sock sk; int other[16]; } raw =
  {{{0, 0, 6, 2, 7}, 3, 6, 0}, {0xcccccccc, 0xcccccccc}};
u8 head[64] = {[4] = 0x45, [24] = 0x1f, 0x90, 0x23, 0x28, [32] = 1};
struct sk_buff good = {&tcp.inet.sk, 40, {7}, head, 24, 4, 0xffff};
struct sk_buff unset = {&raw.sk, 40, {7}, head, 0xffff, 4, 0xffff};
struct iphdr *i; struct tcphdr *t; struct tcp_skb_cb *c;
struct inet_timewait_sock *w = &wait.tw;
int at(struct sock *sk, struct sk_buff *skb) { return sk->sk_err + skb->len; }
int main(void) { return at(&tcp.inet.sk, &good) + at((struct sock *)&wait, &unset); }
"""
TEXTS = [
    "sk->sk_state",
    "sk->sk_dport",
    "sk->sk_num",
    "sk->sk_daddr",
    "sk->sk_err",
    "tcp_sk(sk)->snd_cwnd",
    "((struct tcp_sock *)sk)->snd_cwnd",
    "tcp_sk(skb->sk)->snd_cwnd",
    "tcp_hdr(skb)->fin",
    "tcp_hdr(skb)->source",
    "ntohs(tcp_hdr(skb)->source)",
    "ip_hdr(skb)->version",
    "TCP_SKB_CB(skb)->seq",
    "inet_twsk(sk)->tw_substate",
    "tcp_sk(sk)->snd_cwnd - sk->sk_err",
    "(unsigned long)&((struct sock *)0)->sk_err",
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("program")
    (place / "p.c").write_text(PROGRAM)
    argv = ["gcc", "-g", "-O1", "-fno-inline", "-fno-ipa-cp", "-fno-pie", "-no-pie", "-w"]
    subprocess.run([*argv, "-o", place / "p", place / "p.c"], check=True)
    return place / "p"


def shown(
    program: Path, tmp_path: Path, sk: str, skb: str, site: dict[str, Any], packet: dict[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = inside(
        program,
        tmp_path,
        f"""
from gdb_scripts import macros
from gdb_scripts.inferior import Registers
from gdb_scripts.scopes import arguments
from gdb_scripts.values import EntryValues, show
macros.define()
address = lambda text: int(gdb.parse_and_eval("(unsigned long)(%s)" % text))
what = {{"args": [{{"name": n, "register": n, "kind": "pointer", "size": 8}}
                 for n in ("sk", "skb")]}}
names = arguments(address("&at"))
values = EntryValues(what, {{"sk": address({sk!r}), "skb": address({skb!r})}}, names)
answer = show([(t, t) for t in {TEXTS!r}], values, names, {site!r}, {packet!r})
""",
        "break main",
        "run",
    )
    return found


LISTED = {"header": "transport", "tcp_cb": True, "listed": True}


def test_accessors_and_member_macros_are_read(program: Path, tmp_path: Path) -> None:
    found = shown(program, tmp_path, "&tcp", "&good", LISTED, {"proto": "tcp", "family": "ipv4"})
    assert found == {
        "sk->sk_state": 1,
        "sk->sk_dport": 0x901F,
        "sk->sk_num": 80,
        "sk->sk_daddr": "127.0.0.1",
        "sk->sk_err": 5,
        "tcp_sk(sk)->snd_cwnd": 10,
        "((struct tcp_sock *)sk)->snd_cwnd": 10,
        "tcp_sk(skb->sk)->snd_cwnd": 10,
        "tcp_hdr(skb)->fin": 1,
        "tcp_hdr(skb)->source": 0x901F,
        "ntohs(tcp_hdr(skb)->source)": 8080,
        "ip_hdr(skb)->version": 0x45,
        "TCP_SKB_CB(skb)->seq": 7,
        "tcp_sk(sk)->snd_cwnd - sk->sk_err": 5,
        "(unsigned long)&((struct sock *)0)->sk_err": 16,
    }


def test_a_time_wait_socket_is_not_read_as_a_tcp_sock(program: Path, tmp_path: Path) -> None:
    found = shown(program, tmp_path, "&wait", "&unset", LISTED, {})
    assert (found["sk->sk_state"], found["sk->sk_dport"], found["sk->sk_num"]) == (6, 0x901F, 80)
    assert found.keys().isdisjoint(
        {
            "sk->sk_err",
            "tcp_sk(sk)->snd_cwnd",
            "((struct tcp_sock *)sk)->snd_cwnd",
            "tcp_hdr(skb)->fin",
            "tcp_sk(skb->sk)->snd_cwnd",
            "tcp_sk(sk)->snd_cwnd - sk->sk_err",
        }
    )
    assert found["inet_twsk(sk)->tw_substate"] == 5


def test_a_raw_socket_for_tcp_is_no_tcp_sock(program: Path, tmp_path: Path) -> None:
    found = shown(program, tmp_path, "&raw", "&good", LISTED, {"proto": "tcp"})
    assert (found["sk->sk_state"], found["sk->sk_err"]) == (7, 0)
    assert found.keys().isdisjoint({"tcp_sk(sk)->snd_cwnd", "inet_twsk(sk)->tw_substate"})


def test_a_header_is_read_where_it_is_set_and_of_its_protocol(
    program: Path, tmp_path: Path
) -> None:
    names = {"tcp_hdr(skb)->fin", "tcp_hdr(skb)->source", "ntohs(tcp_hdr(skb)->source)"}
    for site, packet in (
        (LISTED, {"proto": "udp"}),
        ({"header": "network", "tcp_cb": False, "listed": True}, {"proto": "tcp"}),
        ({"header": "none", "tcp_cb": False, "listed": True}, {}),
    ):
        found = shown(program, tmp_path, "&tcp", "&good", site, packet)
        assert found.keys().isdisjoint(names), site
    assert "TCP_SKB_CB(skb)->seq" not in found
    unlisted = {"header": "none", "tcp_cb": False, "listed": False}
    assert names <= shown(program, tmp_path, "&tcp", "&good", unlisted, {}).keys()
