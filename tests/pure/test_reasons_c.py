"""Causes N1 and P14: hand-made events, and what tells P14 from P1."""

from __future__ import annotations

from typing import Any

import pytest

from kernlab.reasons.match import findings
from kernlab.reasons.model import table

Event = dict[str, Any]
TRACKED4 = {"nfct": 0, "tracked4": 1, "tracked6": 0}
TRACKED6 = {"nfct": 0, "tracked4": 0, "tracked6": 1}
HOOK = ("reject_tg", "ipt_do_table", "nf_hook_entry_hookfn", "nf_hook_slow", "ip_local_deliver")


def event(
    probe: str,
    *stack: str,
    flags: str = "PA",
    family: str = "ipv4",
    sk: str = "0x0",
    show: dict[str, int] | None = None,
) -> Event:
    packet = {
        "family": family,
        "flags": flags,
        "src": "10.9.0.2",
        "sport": 5001,
        "dst": "10.9.0.1",
        "dport": 1111,
    }
    return {
        "probe": probe,
        "cpu": 0,
        "task": {"pid": 7},
        "packet": packet,
        "show": show or {},
        "args": {"sk": sk},
        "stack": [{"func": name, "line": 1} for name in (probe, *stack)],
        **({"sock": {"addr": sk, "state": "LISTEN"}} if sk != "0x0" else {}),
    }


def refused(show: dict[str, int] | None = None, six: bool = False, flags: str = "PA") -> Event:
    version = "6" if six else "4"
    return event(
        f"tcp_v{version}_send_reset",
        f"tcp_v{version}_rcv",
        "ip_protocol_deliver_rcu",
        flags=flags,
        family=f"ipv{version}",
        show=show,
    )


EVENTS = {
    "rejected": (event("nf_send_reset", *HOOK, flags="S", show={"hook": 1}), "N1"),
    "rejected, IPv6": (
        event("nf_send_reset6", *HOOK, flags="S", family="ipv6", show={"hook": 1}),
        "N1",
    ),
    "rejected in a connection": (event("nf_send_reset", *HOOK, show={"hook": 1}), "N1"),
    "INVALID": (refused(TRACKED4), "P14"),
    "INVALID, IPv6": (refused(TRACKED6, six=True), "P14"),
    "conntrack knows it": (refused({**TRACKED4, "nfct": 0xFFFF888000000002}), "P1"),
    "nobody tracks": (refused({**TRACKED4, "tracked4": 0}), "P1"),
    "only IPv4 is tracked": (refused(TRACKED4, six=True), "P1"),
    "no conntrack in this kernel": (refused(), "P1"),
    "a SYN": (refused(TRACKED4, flags="S"), "P1"),
    "a listener": (
        event(
            "tcp_v4_send_reset",
            "tcp_v4_do_rcv",
            "tcp_v4_rcv",
            flags="A",
            sk="0xffff888000000000",
            show=TRACKED4,
        ),
        "P2",
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_one_cause_and_no_other(name: str) -> None:
    given, cause = EVENTS[name]
    (found,) = findings([given], table())
    assert (found.cause, found.also) == (cause, ())


def test_the_condition_names_the_port_that_was_not_translated() -> None:
    (found,) = findings([refused(TRACKED4)], table())
    assert "to port 1111" in found.condition()
    assert "_nfct = 0" in found.condition()
    assert found.decides == 1
