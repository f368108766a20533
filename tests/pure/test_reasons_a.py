"""Causes A1-A12 and P1, P10, P12, P13: hand-made events, each of which one rule explains."""

from __future__ import annotations

from typing import Any

import pytest

from kernlab.reasons.match import UNKNOWN, Matcher, findings
from kernlab.reasons.model import table

Event = dict[str, Any]

SOFTIRQ = ("tcp_v4_rcv", "ip_protocol_deliver_rcu", "process_backlog", "__do_softirq")
SOFTIRQ6 = ("tcp_v6_rcv", "ip6_protocol_deliver_rcu", "process_backlog", "__do_softirq")
TIMER = ("call_timer_fn", "__run_timers", "run_timer_softirq", "__do_softirq")
CLOSE = ("__tcp_close", "tcp_close", "inet_release", "sock_close")
LINGER = {"sock_flags": ["LINGER"], "lingertime": 0}
DEAD = {"sock_flags": ["DEAD"]}
SEGMENT = {"flags": "A", "len": 0, "src": "10.0.0.2", "sport": 9, "dst": "10.0.0.1", "dport": 80}


def at(
    probe: str,
    *stack: str,
    line: int = 1,
    args: dict[str, Any] | None = None,
    show: dict[str, int] | None = None,
    flags: str = "",
    skb: str = "0x5",
    **sock: Any,
) -> Event:
    """An event at a probe's entry, called from ``stack``; ``line`` is its caller's."""
    frames = [{"func": name, "line": 7} for name in (probe, *stack)]
    if stack:
        frames[1]["line"] = line
    event: Event = {
        "probe": probe,
        "cpu": 0,
        "task": {"pid": 3},
        "stack": frames,
        "show": show or {},
        "args": args or {},
    }
    if sock:
        event["sock"] = {"addr": "0x1", "sock_flags": [], **sock}
    if flags:
        event |= {"packet": {**SEGMENT, "flags": flags}, "skb": {"addr": skb}}
    return event


def reset(*stack: str, line: int = 2, dead: int = 0, **sock: Any) -> Event:
    return at("tcp_send_active_reset", *stack, line=line, show={"dead": dead}, **sock)


def refuse(
    *stack: str,
    probe: str = "tcp_v4_send_reset",
    show: dict[str, int] | None = None,
    flags: str = "A",
    line: int = 2,
    **sock: Any,
) -> Event:
    args = {"sk": "0x1" if sock else "0x0"}
    return at(probe, *stack, line=line, flags=flags, show=show, args=args, **sock)


def closing(state: str, queue: int = 0) -> Event:
    return at(*CLOSE, state=state, receive_queue=queue)


def segment(state: str, family: str = "4") -> Event:
    tail = SOFTIRQ if family == "4" else SOFTIRQ6
    return at("tcp_rcv_state_process", f"tcp_v{family}_do_rcv", *tail, flags="A", state=state)


DONE = {"fin_acked": 1}
OPEN = {"fin_acked": 0}

CAUSES: list[tuple[str, str, list[Event]]] = [
    ("A1", "unread data", [closing("ESTABLISHED", 2), reset(*CLOSE, state="CLOSE")]),
    (
        "A2",
        "linger 0",
        [closing("ESTABLISHED"), reset("tcp_disconnect", *CLOSE, state="CLOSE", **LINGER)],
    ),
    (
        "A2",
        "linger 0, the peer's FIN is all that is unread",
        [closing("CLOSE_WAIT", 1), reset("tcp_disconnect", *CLOSE, state="CLOSE", **LINGER)],
    ),
    (
        "A3",
        "AF_UNSPEC",
        [
            reset(
                "tcp_disconnect",
                "__inet_stream_connect",
                "inet_stream_connect",
                "__sys_connect",
                state="CLOSE",
            )
        ],
    ),
    (
        "A3",
        "AF_UNSPEC, linger set",
        [
            reset(
                "tcp_disconnect", "__inet_stream_connect", "__sys_connect", state="CLOSE", **LINGER
            )
        ],
    ),
    (
        "A4",
        "listener closed",
        [
            closing("LISTEN"),
            reset(
                "tcp_disconnect", "inet_child_forget", "inet_csk_listen_stop", *CLOSE, state="CLOSE"
            ),
        ],
    ),
    (
        "A4",
        "listener closed, children inherit its linger",
        [reset("tcp_disconnect", "inet_csk_listen_stop", *CLOSE, state="CLOSE", **LINGER)],
    ),
    (
        "A4",
        "listener disconnected",
        [
            reset(
                "tcp_disconnect",
                "inet_csk_listen_stop",
                "tcp_disconnect",
                "__inet_stream_connect",
                "inet_stream_connect",
                state="CLOSE",
            )
        ],
    ),
    (
        "A4",
        "listener destroyed",
        [
            reset(
                "tcp_disconnect",
                "inet_csk_listen_stop",
                "tcp_abort",
                "tcp_diag_destroy",
                state="CLOSE",
            )
        ],
    ),
    (
        "A5",
        "listener left while the handshake ended",
        [
            reset(
                "tcp_disconnect",
                "inet_child_forget",
                "inet_csk_reqsk_queue_add",
                "inet_csk_complete_hashdance",
                "tcp_check_req",
                *SOFTIRQ,
                state="CLOSE",
            )
        ],
    ),
    (
        "A6",
        "linger2 below 0",
        [closing("FIN_WAIT2"), reset(*CLOSE, dead=1, state="CLOSE", linger2=-1, **DEAD)],
    ),
    (
        "A7",
        "too many orphans",
        [
            closing("ESTABLISHED"),
            at("tcp_check_oom", *CLOSE, state="FIN_WAIT1", **DEAD),
            reset(*CLOSE, dead=1, state="CLOSE", **DEAD),
        ],
    ),
    (
        "A7",
        "too many orphans, linger2 below 0",
        [
            at("tcp_check_oom", *CLOSE, state="LAST_ACK", linger2=-1, **DEAD),
            reset(*CLOSE, dead=1, state="CLOSE", linger2=-1, **DEAD),
        ],
    ),
    (
        "A8",
        "an orphan's retransmission",
        [
            at(
                "tcp_check_oom",
                "tcp_out_of_resources",
                "tcp_write_timeout",
                "tcp_retransmit_timer",
                "tcp_write_timer_handler",
                "tcp_write_timer",
                *TIMER,
                state="FIN_WAIT1",
                **DEAD,
            ),
            reset(
                "tcp_out_of_resources",
                "tcp_write_timeout",
                "tcp_retransmit_timer",
                "tcp_write_timer_handler",
                "tcp_write_timer",
                *TIMER,
                dead=1,
                state="FIN_WAIT1",
                **DEAD,
            ),
        ],
    ),
    (
        "A8",
        "an orphan's probe, in close() itself",
        [
            at(
                "tcp_check_oom",
                "tcp_out_of_resources",
                "tcp_probe_timer",
                "tcp_write_timer_handler",
                "tcp_release_cb",
                "release_sock",
                "tcp_close",
                "inet_release",
                state="FIN_WAIT1",
                linger2=-1,
                **DEAD,
            ),
            reset(
                "tcp_out_of_resources",
                "tcp_probe_timer",
                "tcp_write_timer_handler",
                "tcp_release_cb",
                "release_sock",
                "tcp_close",
                "inet_release",
                dead=1,
                state="FIN_WAIT1",
                linger2=-1,
                **DEAD,
            ),
        ],
    ),
    (
        "A9",
        "FIN_WAIT2's timer",
        [reset("tcp_keepalive_timer", *TIMER, dead=1, state="FIN_WAIT2", **DEAD)],
    ),
    ("A10", "keepalive", [reset("tcp_keepalive_timer", *TIMER, state="ESTABLISHED")]),
    (
        "A10",
        "keepalive in FIN_WAIT2, with a process",
        [reset("tcp_keepalive_timer", *TIMER, state="FIN_WAIT2")],
    ),
    (
        "A10",
        "keepalive of an orphan in FIN_WAIT1",
        [reset("tcp_keepalive_timer", *TIMER, dead=1, state="FIN_WAIT1", **DEAD)],
    ),
    (
        "A11",
        "SOCK_DESTROY",
        [reset("tcp_abort", "tcp_diag_destroy", "inet_diag_cmd_exact", state="ESTABLISHED")],
    ),
    (
        "A12",
        "a subflow is reset",
        [
            reset(
                "mptcp_subflow_reset",
                "subflow_finish_connect",
                "tcp_finish_connect",
                *SOFTIRQ,
                state="SYN_SENT",
            )
        ],
    ),
    (
        "A12",
        "a subflow's mapping",
        [
            reset(
                "subflow_check_data_avail",
                "mptcp_subflow_data_available",
                "subflow_data_ready",
                *SOFTIRQ,
                state="CLOSE",
            )
        ],
    ),
    ("P1", "closed port", [refuse(*SOFTIRQ, flags="S")]),
    ("P1", "closed port, IPv6", [refuse(*SOFTIRQ6, probe="tcp_v6_send_reset", flags="S")]),
    (
        "P10",
        "linger2 below 0, FIN acknowledged",
        [
            segment("FIN_WAIT1"),
            refuse("tcp_v4_do_rcv", *SOFTIRQ, show=DONE, state="CLOSE", linger2=-1, **DEAD),
        ],
    ),
    (
        "P10",
        "linger2 below 0, IPv6",
        [
            segment("FIN_WAIT1", "6"),
            refuse(
                "tcp_v6_do_rcv",
                *SOFTIRQ6,
                probe="tcp_v6_send_reset",
                show=DONE,
                state="CLOSE",
                linger2=-1,
                **DEAD,
            ),
        ],
    ),
    (
        "P12",
        "data after close()",
        [
            segment("FIN_WAIT1"),
            at("tcp_reset", "tcp_rcv_state_process", "tcp_v4_do_rcv", *SOFTIRQ, state="FIN_WAIT1"),
            refuse("tcp_v4_do_rcv", *SOFTIRQ, show=OPEN, state="CLOSE", **DEAD),
        ],
    ),
    (
        "P12",
        "data after close(), linger2 below 0",
        [
            segment("FIN_WAIT1"),
            at("tcp_reset", "tcp_rcv_state_process", "tcp_v4_do_rcv", *SOFTIRQ, state="FIN_WAIT1"),
            refuse("tcp_v4_do_rcv", *SOFTIRQ, show=OPEN, state="CLOSE", linger2=-1, **DEAD),
        ],
    ),
    (
        "P13",
        "data for an orphan in FIN_WAIT2",
        [refuse(*SOFTIRQ, flags="PA", state="TIME_WAIT", substate="FIN_WAIT2")],
    ),
]


@pytest.mark.parametrize(
    ("cause", "events"),
    [(cause, events) for cause, _, events in CAUSES],
    ids=[f"{cause}: {name}" for cause, name, _ in CAUSES],
)
def test_one_rule_explains_it(cause: str, events: list[Event]) -> None:
    (found,) = findings(events, table())
    assert (found.cause, found.also) == (cause, ())
    assert found.decides is not None


NOT: list[tuple[str, list[Event]]] = [
    (
        "an unread queue in another call",
        [closing("ESTABLISHED", 2), reset(*CLOSE[:-1], "other", state="CLOSE")],
    ),
    ("nothing was unread", [closing("ESTABLISHED"), reset(*CLOSE, state="CLOSE")]),
    (
        "linger above 0",
        [reset("tcp_disconnect", *CLOSE, state="CLOSE", sock_flags=["LINGER"], lingertime=5)],
    ),
    (
        "an orphan without a reason",
        [closing("FIN_WAIT2"), reset(*CLOSE, dead=1, state="CLOSE", **DEAD)],
    ),
    (
        "a FIN that was not acknowledged",
        [
            segment("FIN_WAIT1"),
            refuse("tcp_v4_do_rcv", *SOFTIRQ, show=OPEN, state="CLOSE", linger2=-1, **DEAD),
        ],
    ),
    ("a sock that could not be read", [{**refuse(*SOFTIRQ), "args": {"sk": "0x1"}}]),
]


@pytest.mark.parametrize("events", [one for _, one in NOT], ids=[name for name, _ in NOT])
def test_what_does_not_fit_is_unknown(events: list[Event]) -> None:
    (found,) = findings(events, table())
    assert found.cause == UNKNOWN


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_nothing_is_sent_for_a_rst(flags: str) -> None:
    """tcp_v4_send_reset() returns first thing for a RST (RFC 9293, 3.5.2)."""
    assert Matcher(table()).take(refuse(*SOFTIRQ, flags=flags)) is None
