"""Causes of half-open connections, connect() and closing sockets: P2 to P9, P11, P15.

Each rule meets an event as the kernel's source makes it; the whole table is asked, so that a
second rule that fits as well is seen. P15 has no lab: TCP's own handlers never get there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kernlab.reasons.match import UNKNOWN, Finding, findings
from kernlab.reasons.model import table

Path = Sequence["str | tuple[str, int]"]  # functions, innermost first, and their lines
RECEIVE = ["ip_protocol_deliver_rcu", "ip_local_deliver_finish", "process_backlog"]
LISTENER = {"addr": "0x10", "state": "LISTEN", "ack_backlog": 1, "max_ack_backlog": 8}
FULL = {**LISTENER, "ack_backlog": 3, "max_ack_backlog": 2}
CONNECTING = {"addr": "0x20", "state": "SYN_SENT", "snd_una": 100, "snd_nxt": 101}
CROSSED = {**CONNECTING, "state": "SYN_RECV"}
CLOSED = {"addr": "0x30", "state": "CLOSE", "err": 0, "rcv_nxt": 7}
ENDS = {"src": "10.9.0.2", "sport": 40000, "dst": "10.9.0.1", "dport": 8080}
REQUEST = {
    "addr": "0x40",
    "state": "NEW_SYN_RECV",
    "src": "10.9.0.1",
    "sport": 8080,
    "dst": "10.9.0.2",
    "dport": 40000,
}


def event(
    probe: str,
    path: Path,
    flags: str,
    sock: dict[str, Any] | None,
    skb: str = "0x1",
    line: int = 1,
    **more: Any,
) -> dict[str, Any]:
    """A hit below tcp_v4_rcv(), which calls ``path`` at ``line``."""
    stack = [
        {"func": name, "line": 1} if isinstance(name, str) else {"func": name[0], "line": name[1]}
        for name in (probe, *path)
    ]
    stack += [{"func": "tcp_v4_rcv", "line": line}]
    stack += [{"func": name, "line": 1} for name in RECEIVE]
    packet = {**ENDS, "flags": flags, "len": 0, "seq": 1, "ack": 2, "raw": flags}
    packet |= more.pop("packet", {})
    found = {
        "probe": probe,
        "cpu": 0,
        "task": {"pid": 7},
        "skb": {"addr": skb},
        "stack": stack,
        "packet": packet,
        **more,
    }
    return found if sock is None else {**found, "sock": sock}


def sent(path: Path, flags: str, sock: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return event("tcp_v4_send_reset", path, flags, sock, line=9, **more)


def checked(flags: str, **more: Any) -> dict[str, Any]:
    return event("tcp_check_req", [], flags, LISTENER, show={"snt_isn": 1, "rcv_isn": 2}, **more)


def dropped(**more: Any) -> dict[str, Any]:
    found = event("inet_csk_reqsk_queue_drop_and_put", [], "A", REQUEST, **more)
    del found["packet"], found["skb"]
    return found


DO = ["tcp_v4_do_rcv"]
OUTSIDE, INSIDE = {"show": {"ack_outside": 1}}, {"show": {"ack_outside": 0}}
HIT = {"show": {"accept_queue_full": 1}}
LATE: dict[str, Any] = {"packet": {"len": 5}, "show": {"linger2": 0}}


def found(*events: dict[str, Any]) -> Finding:
    return list(findings(events, table()))[-1]


def as_ipv6(one: dict[str, Any]) -> dict[str, Any]:
    def named(name: str) -> str:
        return name.replace("tcp_v4_", "tcp_v6_")

    stack = [{**frame, "func": named(frame["func"])} for frame in one["stack"]]
    return {**one, "probe": named(one["probe"]), "stack": stack}


EVENTS = [
    ("P2", [sent(DO, "A", LISTENER)]),
    ("P2", [sent(DO, "SA", LISTENER)]),
    ("P3", [checked("A"), sent(DO, "A", LISTENER)]),
    ("P4", [checked("S"), sent([("tcp_check_req", 7)], "S", LISTENER)]),
    (
        "P4",
        [
            event(
                "tcp_check_req", ["tcp_rcv_state_process", *DO], "S", CROSSED, show={"rcv_isn": 2}
            ),
            sent([("tcp_check_req", 7), "tcp_rcv_state_process", *DO], "S", CROSSED),
        ],
    ),
    ("P5", [checked("A"), sent(["tcp_check_req"], "A", FULL, **HIT)]),
    ("P5", [checked("PA"), sent(["tcp_check_req"], "PA", FULL, **HIT)]),
    ("P6", [dropped(), sent([], "A", None)]),
    (
        "P6",
        [
            dropped(),
            sent(
                [],
                "A",
                None,
                show={"nfct": 0, "tracked4": 1, "tracked6": 1},
                packet={"family": "ipv4"},
            ),
        ],
    ),  # P14 fits as well
    ("P7", [sent(DO, "SA", CONNECTING, **OUTSIDE)]),
    ("P7", [sent(DO, "A", CONNECTING, **OUTSIDE)]),
    ("P8", [sent(DO, "SA", CONNECTING, **INSIDE)]),
    ("P9", [sent(DO, "A", CROSSED)]),
    ("P9", [sent([], "A", CROSSED)]),  # by tcp_child_process(), TCP Fast Open
    ("P11", [sent(DO, "PA", CLOSED, **LATE)]),
    ("P15", [sent(DO, "S", LISTENER)]),
]


@pytest.mark.parametrize(("cause", "events"), EVENTS)
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_cause_is_found_alone(cause: str, events: list[dict[str, Any]], family: str) -> None:
    one = found(*(events if family == "ipv4" else [as_ipv6(event) for event in events]))
    assert (one.cause, one.also) == (cause, ())
    assert "?" not in one.condition()
    if one.reason is not None and one.reason.decides and cause != "P9":
        assert one.decides is not None


@pytest.mark.parametrize(
    ("not_this", "events"),
    [
        ("P5", [sent(["tcp_check_req"], "A", FULL, show={"accept_queue_full": 0})]),
        ("P5", [sent(["tcp_check_req"], "A", FULL)]),  # not read: not guessed
        ("P6", [dropped(cpu=1), sent([], "A", None)]),
        ("P6", [dropped(), sent([], "A", None, packet={"sport": 40001})]),
        ("P7", [sent(DO, "SA", CONNECTING)]),
        ("P8", [sent(DO, "SA", CONNECTING)]),
        ("P9", [sent(DO, "S", CROSSED)]),
        ("P11", [sent(DO, "PA", {**CLOSED, "err": 104}, **LATE)]),  # tcp_reset() came first
        ("P11", [sent(DO, "PA", CLOSED, packet={"len": 5}, show={"linger2": -1})]),
        ("P11", [sent(DO, "A", CLOSED, show={"linger2": 0})]),
    ],
)
def test_what_is_missing_or_other_is_not_guessed(
    not_this: str, events: list[dict[str, Any]]
) -> None:
    assert found(*events).cause != not_this


def test_a_queue_that_was_not_full_makes_an_unknown_cause() -> None:
    """A child can also not be made for want of memory: the kernel then goes the same way."""
    assert found(sent(["tcp_check_req"], "A", FULL, show={"accept_queue_full": 0})).cause == UNKNOWN


def test_the_next_segment_in_a_freed_skb_is_another_one() -> None:
    """L18: a RST goes through tcp_check_req() and kills the request; the ACK that follows has
    the same skb address, and is a stray one to the listener."""
    assert found(checked("R"), sent(DO, "A", LISTENER)).cause == "P2"
    assert found(checked("A"), sent(DO, "A", LISTENER)).cause == "P3"


def test_a_request_is_dropped_for_one_rst() -> None:
    """The client sends its ACK again: by now there is no request any more."""
    causes = [
        one.cause
        for one in findings([dropped(), sent([], "A", None), sent([], "A", None)], table())
    ]
    assert causes[0] == "P6"
    assert causes[1] != "P6"
