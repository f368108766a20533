"""Every rule is held against everything that its own event holds: the events before it in the
same call, the socket, the stack, and what the connection had seen."""

from __future__ import annotations

from typing import Any

import pytest
from causes import BESIDE, EVENTS
from pure import test_reasons_a, test_reasons_b
from pure.test_reasons_a import CLOSE, DEAD, LINGER, SOFTIRQ, at, closing, refuse, reset

from kernlab.decode import expr
from kernlab.reasons import watch
from kernlab.reasons.match import UNKNOWN, Finding, Matcher, findings
from kernlab.reasons.model import table
from kernlab.reasons.report import complete

Event = dict[str, Any]
REASONS = table()
EARLIER = {item.probe: item for reason in REASONS.values() for item in reason.earlier}
KNOWN: list[tuple[str, list[Event]]] = [
    *((cause, events) for cause, _, events in test_reasons_a.CAUSES),
    *test_reasons_b.EVENTS,
    *((cause, events) for events, cause in EVENTS.values()),
]


def beside(probe: str, event: Event) -> Event:
    """A call of ``probe`` in the same activation, before the sender's."""
    stack = [dict(frame) for frame in event["stack"][1:]]
    stack[0]["line"] = 990
    state = "NEW_SYN_RECV" if "reqsk" in probe else "ESTABLISHED"
    packet = event.get("packet") or {}
    sock = {"addr": "0x1", "state": state}
    if probe == "inet_csk_reqsk_queue_drop_and_put" and packet:
        sock |= {
            "src": packet["dst"],
            "sport": packet["dport"],
            "dst": packet["src"],
            "dport": packet["sport"],
        }
    elif "sock" in event:
        sock = {**event["sock"], "state": state}
    found = {
        "probe": probe,
        "cpu": event["cpu"],
        "task": event["task"],
        "sock": sock,
        "stack": [{"func": probe, "line": 1}, *stack],
        "show": {},
    }
    if EARLIER[probe].same == "skb" and packet:
        found |= {"packet": packet, "skb": event.get("skb", {})}
    return found


def named(finding: Finding, probe: str) -> bool:
    reason = finding.reason
    assert reason is not None
    fields = expr.parse(reason.when).fields() if reason.when else set()
    told = any(field.startswith(f"before.{probe}") for field in fields)
    return told or f"{{before.{probe}." in reason.condition


@pytest.mark.parametrize("probe", sorted(EARLIER))
def test_what_happened_before_is_never_denied(probe: str) -> None:
    """A cause is found only if its rule asks for the earlier event, or the event says nothing
    about it. "No request socket" beside a request socket is a contradiction."""
    met = 0
    for cause, events in KNOWN:
        if any(event["probe"] == probe for event in events):
            continue
        more = [*events[:-1], beside(probe, events[-1]), events[-1]]
        found = list(findings(more, REASONS))[-1]
        if probe not in found.before:
            continue
        met += 1
        fine = found.cause in BESIDE.get(probe, []) and found.cause == cause
        assert found.cause == UNKNOWN or named(found, probe) or fine, (cause, found.cause)
        assert found.also == ()
    assert met


def test_every_cause_is_among_those_that_are_held() -> None:
    assert {cause for cause, _ in KNOWN} == set(REASONS)


@pytest.mark.parametrize("six", [False, True])
def test_a_request_whose_listener_closed_is_refused_by_its_sibling(six: bool) -> None:
    """envoy 15818: the request is dropped, and the look-up finds the other SO_REUSEPORT
    listener. "No request socket" would deny what the same event holds."""
    listener = test_reasons_b.LISTENER
    events = [test_reasons_b.dropped(), test_reasons_b.sent(["tcp_v4_do_rcv"], "A", listener)]
    if six:
        events = [test_reasons_b.as_ipv6(event) for event in events]
    found = list(findings(events, REASONS))[-1]
    assert (found.cause, found.also) == ("P6", ())
    rst = complete(found)["rst"]
    assert rst["circumstances"] == ["sibling"]
    assert "no request" not in rst["says"] + rst["condition"]


# -- circumstances -----------------------------------------------------------------------


def told(event: Event, before: list[Event] | None = None, **history: Any) -> dict[str, Any]:
    found = list(findings([*(before or []), event], REASONS))[-1]
    return complete(found, history=history or None)["rst"]  # type: ignore[no-any-return]


def exiting(signal: int, status: int = 0) -> Event:
    return at("do_exit", "do_group_exit", show={"signal": signal, "status": status})


DYING = (*CLOSE, "task_work_run", "do_exit", "do_group_exit")


@pytest.mark.parametrize(
    ("cause", "before", "event"),
    [
        (
            "A1",
            [at("__tcp_close", *DYING[1:], state="ESTABLISHED", receive_queue=2)],
            reset(*DYING, state="CLOSE"),
        ),
        ("A2", [], reset("tcp_disconnect", *DYING, state="CLOSE", **LINGER)),
        ("A4", [], reset("tcp_disconnect", "inet_csk_listen_stop", *DYING, state="CLOSE")),
        ("A6", [], reset(*DYING, dead=1, state="CLOSE", linger2=-1, **DEAD)),
    ],
)
def test_a_process_that_was_killed_called_no_close(
    cause: str, before: list[Event], event: Event
) -> None:
    killed = told(event, [exiting(15), *before], signal="15 (SIGTERM)")
    assert killed["cause"] == cause
    assert killed["circumstances"] == ["killed"]
    assert "killed by signal 15 (SIGTERM)" in killed["says"]
    assert "close()" not in killed["errno"]["local"] + killed["remedy"]
    ended = told(event, [exiting(0, 3), *before])
    assert ended["circumstances"] == ["ended"]
    assert "exit status 3" in ended["says"]
    assert "close()" not in ended["errno"]["local"]


def test_a_task_that_ends_without_closing_is_another() -> None:
    event = reset(*CLOSE, state="CLOSE")
    found = list(findings([exiting(9), closing("ESTABLISHED", 1), event], REASONS))[-1]
    assert "do_exit" not in found.before  # it is not on the stack
    other = {**exiting(9), "task": {"pid": 99}}
    dying = reset(*DYING, state="CLOSE")
    found = list(findings([other, dying], REASONS))[-1]
    assert "do_exit" not in found.before
    softirq = refuse(*SOFTIRQ, "do_exit")
    found = list(findings([exiting(9), softirq], REASONS))[-1]
    assert "do_exit" not in found.before  # the segment's answer has borrowed the task


@pytest.mark.parametrize(
    ("flags", "history", "circumstance", "peer"),
    [
        ("S", {}, "refused", "ECONNREFUSED"),
        ("SA", {"syn": 1, "connected": 0, "injected_text": ""}, "raw-syn", "half-open"),
        ("SA", {"syn": 1, "connected": 1, "connected_by": "x[1]"}, "connect-gone", "half-open"),
        ("SA", {"syn": 1}, "syn-ack", "half-open"),  # nothing was watched: both are said
        ("PA", {}, "gone", "ECONNRESET"),
        ("PA", {"reset": 7, "reset_text": "frame 7"}, "after-effect", "ECONNRESET"),
        (
            "FA",
            {"gave_up": 1, "unacked": 4, "error": "ETIMEDOUT", "reset": 7},
            "gave-up",
            "ECONNRESET",
        ),
        ("PA", {"gave_up": 2, "error": "ETIMEDOUT"}, "probes-unanswered", "ECONNRESET"),
        ("PA", {"silent": 1, "silent_text": "no key"}, "refused-before", "ECONNRESET"),
    ],
)
def test_a_segment_without_a_socket_is_told_by_what_came_before(
    flags: str, history: dict[str, Any], circumstance: str, peer: str
) -> None:
    rst = told(refuse(*SOFTIRQ, flags=flags), **history)
    assert (rst["cause"], rst["circumstances"]) == ("P1", [circumstance])
    assert peer in rst["errno"]["peer"]
    if circumstance != "refused":
        assert "ECONNREFUSED" not in str(rst["errno"])
        assert "is the server running" not in rst["remedy"].lower()


def test_a_hand_made_syn_is_told_with_the_rule_that_drops_such_rsts() -> None:
    rst = told(
        refuse(*SOFTIRQ, flags="SA"),
        syn=1,
        connected=0,
        injected_text=": raw[7] sent",
        drop_rule="iptables -A OUTPUT --sport 40000",
        drop_rule_nft="tcp sport 40000",
    )
    assert "not this kernel's: a raw socket" in rst["says"]
    assert "raw[7]" in rst["says"]
    assert "iptables -A OUTPUT --sport 40000" in rst["remedy"]
    assert "tcp sport 40000" in rst["remedy"]


FULL = {"show": {"accept_queue_full": 1}}


@pytest.mark.parametrize(
    ("moved", "history", "more", "wanted"),
    [
        ({"SyncookiesFailed": 1}, {}, {}, ["cookie"]),
        ({"SyncookiesFailed": 1}, {"handshake": 1}, FULL, ["accept-queue-cookie"]),
        ({}, {"handshake": 1}, FULL, ["accept-queue"]),
        ({}, {"handshake": 1, "overflows": 2}, {}, ["accept-queue"]),
        ({}, {"handshake": 0, "overflows": 2}, FULL, None),  # a stray segment: not why
        ({}, {}, {}, None),
    ],
)
def test_a_listener_that_refuses_names_cookie_and_queue(
    moved: dict[str, int], history: dict[str, Any], more: Event, wanted: list[str] | None
) -> None:
    event = test_reasons_b.sent(["tcp_v4_do_rcv"], "A", test_reasons_b.LISTENER, **more)
    (found,) = findings([event], REASONS)
    rst = complete(found, counters=moved, history=history)["rst"]
    assert (rst["cause"], rst.get("circumstances")) == ("P2", wanted)


def test_a_rst_of_the_stopping_is_told_as_such() -> None:
    (found,) = findings([refuse(*SOFTIRQ, flags="S")], REASONS)
    rst = complete(found, stopped=True)["rst"]
    assert "stopped" in rst["circumstances"]
    assert "kernlab ended the program" in rst["says"]


@pytest.mark.parametrize(
    ("ours", "theirs", "told"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_rst_without_the_signature_that_is_expected_is_dropped(
    ours: bool, theirs: bool, told: bool
) -> None:
    """tcp_reset() ends an orphan, and tcp_v4_destroy_sock() clears its keys before the answer."""
    event = refuse(*SOFTIRQ, flags="PA")
    event["packet"]["options"] = {"md5": "00"} if ours else {}
    (found,) = findings([event], REASONS)
    packet = {"flags": "R", "seq": 5, "win": 0, "options": {"md5": "00"} if theirs else {}}
    rst = complete(found, {"number": 3, "packet": packet})["rst"]
    assert ("TCPMD5NotFound" in rst["says"]) == told


def test_circumstances_name_causes_and_fields_that_are_there() -> None:
    rules = watch.table()
    for one in rules.circumstances:
        assert set(one.causes) <= set(REASONS), one.id
        assert one.says is not None or one.adds is not None, one.id
    assert set(rules.senders) == {name for one in REASONS.values() for name in one.probes}


# -- silent returns ----------------------------------------------------------------------


def passing(event: Event, probe: str, skb: str) -> Event:
    stack = [{"func": probe, "line": 1}, *event["stack"]]
    return {**event, "probe": probe, "args": {"skb": skb}, "stack": stack}


@pytest.mark.parametrize(
    ("sender", "through"),
    [("tcp_v4_send_reset", "ip_send_unicast_reply"), ("tcp_v6_send_reset", "tcp_v6_send_response")],
)
def test_a_sender_that_gets_past_its_checks_is_known_by_what_it_calls(
    sender: str, through: str
) -> None:
    matcher = Matcher(REASONS)
    event = refuse(*SOFTIRQ, probe=sender)
    event["args"]["skb"] = "0x5"
    finding = matcher.take(event)
    assert finding is not None
    assert finding.passed is None
    matcher.take({**passing(event, through, "0x5"), "cpu": 1})
    # A mini-socket's ACK for another segment, by another caller:
    matcher.take(passing({**event, "stack": event["stack"][1:]}, through, "0x9"))
    assert finding.passed is None
    matcher.take(passing({**event, "stack": event["stack"][1:]}, through, "0x5"))  # a tail call
    assert finding.passed is True


def test_netfilter_s_answer_is_another_skb_with_the_sender_below_it() -> None:
    matcher = Matcher(REASONS)
    finding = matcher.take(at("nf_send_reset", "reject_tg", flags="S", show={"hook": 1}))
    assert finding is not None
    again = at("ip_route_me_harder", "ip_vs_out")
    matcher.take(again)
    assert finding.passed is None
    matcher.take(at("ip_route_me_harder", "nf_send_reset", "reject_tg"))
    assert finding.passed is True


MD5 = {"options": {"md5": "00"}, "family": "ipv4"}


@pytest.mark.parametrize(
    ("packet", "show", "sk", "certain", "why"),
    [
        ({"family": "ipv4"}, {"rt_type": 3}, None, True, "not sent to an address of this host"),
        (MD5, {"rt_type": 2}, None, False, "TCP-MD5"),
        (MD5, {}, {"state": "TIME_WAIT"}, False, "TCP-MD5"),
        (MD5, {}, {"state": "ESTABLISHED"}, False, ""),  # a full socket has its key
        ({"options": {"kind-29": "00"}}, {}, {"state": "TIME_WAIT"}, False, "TCP-AO"),
        ({}, {}, None, False, ""),
    ],
)
def test_why_a_sender_sends_nothing(
    packet: Event, show: dict[str, int], sk: dict[str, Any] | None, certain: bool, why: str
) -> None:
    event = refuse(*SOFTIRQ, show=show, **(sk or {}))
    event["packet"] |= packet
    sender = watch.table().senders["tcp_v4_send_reset"]
    found = sender.silence(event, certain)
    assert why in (str(found.says) if found else "")
    assert bool(found) == bool(why)
    if certain:
        assert not list(findings([event], REASONS))
