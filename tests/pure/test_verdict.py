"""Predicates: what holds, what does not, and that each can fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opposite import inverted

from kernlab.config.yaml import Model, parse
from kernlab.errors import BadInput
from kernlab.record.leg import Leg
from kernlab.verdict.judge import holds, judge
from kernlab.verdict.model import (
    Check,
    Expected,
    OtherKernel,
    amount_holds,
    as_data,
    atoms,
)


def segment(flags: str, **more: Any) -> dict[str, Any]:
    packet = {"flags": flags, "sport": 1, "dport": 2, "seq": 0, "ack": 0, "win": 0, **more}
    return {"number": 1, "at": 0, "packet": packet}


LEG = Leg(
    got={"client.recv": "ECONNRESET", "bytes": "5"},
    counters={"Tcp.OutRsts": 1, "TcpExt.TCPAbortOnClose": 1, "Udp.InErrors": 3, "Tcp.InErrs": 0},
    segments=[segment("S"), segment("SA"), segment("A"), segment("RA", win=9)],
    events=[
        {"probe": "tcp_v4_rcv", "sock": {"state": "LISTEN"}},
        {"probe": "tcp_send_active_reset", "sock": {"state": "CLOSE"}},
    ],
    rst=[{"cause": "A1"}],
    kmsg="6,1,2,-;TCP: too many orphaned sockets\n",
)

HOLDS = [
    {"counters": {"OutRsts": 1}},
    {"counters": {"Tcp.OutRsts": ">= 1", "TCPAbortOnClose": "1..2"}},
    {"got": {"client.recv": "ECONNRESET"}},
    {"got": {"client.recv": ["EPIPE", "ECONNRESET"]}},
    {"got": {"bytes": ">= 5"}},
    {"segment": "flags == RA and win > 0"},
    {"segment": "flags has A", "count": 3},
    {"segments": ["flags == S", "flags == RA"]},
    {"no_segment": "flags has F"},
    {"event": "state == CLOSE"},
    {"events": ["state == LISTEN", "state == CLOSE"]},
    {"no_event": "probe == tcp_reset"},
    {"cause": ["A1"]},
    {"log": "orphaned"},
    {"not": {"cause": []}},
    {"not": {"not": {"log": "orphaned"}}},
]
FAILS = [
    {"counters": {"OutRsts": 2}},
    {"counters": {"NoSuchCounter": 0}},
    {"got": {"client.recv": "EPIPE"}},
    {"got": {"nothing.said": 0}},
    {"segment": "flags == F"},
    {"segment": "flags has A", "count": 2},
    {"segments": ["flags == RA", "flags == S"]},
    {"segments": ["flags == S", "flags == S"]},
    {"no_segment": "flags == RA"},
    {"event": "state == ESTABLISHED"},
    {"events": ["state == CLOSE", "state == LISTEN"]},
    {"no_event": "state == CLOSE"},
    {"cause": []},
    {"cause": ["A1", "A1"]},
    {"log": "no such line"},
]


@pytest.mark.parametrize("data", HOLDS, ids=str)
def test_what_holds_holds_and_inverted_it_fails(data: dict[str, Any]) -> None:
    check = Check.model_validate(data)
    assert holds(judge([check], LEG))
    for one in inverted(check):
        assert not holds(judge([one], LEG)), as_data(one)


@pytest.mark.parametrize("data", FAILS, ids=str)
def test_what_fails_fails(data: dict[str, Any]) -> None:
    assert not holds(judge([Check.model_validate(data)], LEG))


def test_every_line_says_what_was_expected_and_what_was_seen() -> None:
    (line,) = judge([Check.model_validate({"counters": {"OutRsts": 2}})], LEG)
    assert (line.expected, line.seen, line.holds) == ("OutRsts +2", "+1", False)


@pytest.mark.parametrize(
    ("check", "seen"),
    [
        ({"event": "probe == tcp_v4_rcv and stack has tcp_close"}, "none of tcp_v4_rcv(LISTEN)"),
        ({"event": "stack has x"}, "none of tcp_v4_rcv(LISTEN) → tcp_send_active_reset(CLOSE)"),
        ({"event": "probe == tcp_v4_rcv", "count": 0}, "tcp_v4_rcv(LISTEN)"),
        ({"event": "probe == tcp_fin", "count": 0}, "none"),
    ],
)
def test_a_line_that_nothing_fits_says_what_came(check: dict[str, Any], seen: str) -> None:
    (line,) = judge([Check.model_validate(check)], LEG)
    assert (line.seen, line.holds) == (seen, check.get("count") == 0 and seen == "none")


@pytest.mark.parametrize("kind", ["event", "events", "no_event", "cause"])
def test_without_a_debugger_events_are_not_judged(kind: str) -> None:
    value: Any = {"cause": ["A1"], "events": ["cpu == 0"]}.get(kind, "cpu == 0")
    check = Check.model_validate({kind: value})
    without = Leg(got=LEG.got, counters=LEG.counters, segments=LEG.segments)
    for one in (check, *inverted(check)):
        (line,) = judge([one], without)
        assert line.holds is None
        assert "debugger" in line.seen


def test_a_predicate_comes_apart_into_those_that_can_fail_alone() -> None:
    check = Check.model_validate({"counters": {"OutRsts": 1, "InErrs": 0}})
    assert [as_data(one) for one in atoms(check)] == [
        {"counters": {"OutRsts": 1}},
        {"counters": {"InErrs": 0}},
    ]


class Holder(Model):
    verdict: list[Check]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("verdict:\n- {}\n", 2, "an item needs exactly one predicate"),
        ("verdict:\n- {log: x, cause: []}\n", 2, "here are cause and log"),
        ("verdict:\n- {segment: 'flagz == S'}\n", 2, "did you mean flags"),
        ("verdict:\n- {segment: 'flags == Q'}\n", 2, "flags: FIN, SYN"),
        ("verdict:\n- {counters: {OutRsts: 'about 3'}}\n", 2, ">= 1"),
        ("verdict:\n- {segmant: 'flags == S'}\n", 2, "did you mean 'segment'"),
        ("verdict:\n- log: x\n- {log: '('}\n", 3, "bad regular expression"),
        ("verdict:\n- {log: x, count: 2}\n", 2, "count needs"),
    ],
)
def test_a_wrong_predicate_is_told_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text, Holder, "my.yaml")
    said = str(caught.value)
    assert f"my.yaml:{line}:" in said
    assert words in said


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-5, 5))
def test_amounts(seen: int, low: int, high: int) -> None:
    assert amount_holds(low, seen) == (seen == low)
    assert amount_holds(f">= {low}", seen) == (seen >= low)
    assert amount_holds(f"<= {low}", seen) == (seen <= low)
    assert amount_holds(f"> {low}", seen) == (seen > low)
    assert amount_holds(f"< {low}", seen) == (seen < low)
    assert amount_holds(f"{low}..{high}", seen) == (low <= seen <= high)


# -- where kernels differ -----------------------------------------------------------------

OLD = OtherKernel.model_validate(
    {"says": {"en": "an old kernel", "zh": "旧内核"}, "when": {"got": {"bytes": 5}}}
)
NEW = OtherKernel.model_validate({"says": "a new kernel", "has": ["no_such", "tcp_tw_isn"]})
LINE = Expected.model_validate(
    {"counters": {"OutRsts": 2}, "unless": {"new": [], "old": {"counters": {"OutRsts": 1}}}}
)


def test_a_line_reads_otherwise_on_a_kernel_that_the_run_shows() -> None:
    (line,) = judge([LINE], LEG, "zh", {"old": OLD, "new": NEW})
    assert (line.expected, line.holds) == ("OutRsts +1", True)
    assert line.kernel == "这个内核：旧内核"


def test_a_line_is_not_asked_of_a_kernel_that_has_a_symbol() -> None:
    leg = replace(LEG, symbols={"no_such": False, "tcp_tw_isn": True})
    (line,) = judge([LINE], leg, "en", {"old": OLD, "new": NEW})
    assert (line.expected, line.holds) == ("OutRsts +2", None)
    assert line.kernel == "This kernel: a new kernel"


def test_a_line_that_fails_tells_where_kernels_differ() -> None:
    (line,) = judge([LINE], replace(LEG, got={"bytes": "6"}), "en", {"old": OLD, "new": NEW})
    assert (line.expected, line.holds) == ("OutRsts +2", False)
    assert line.kernel == "Other kernels: a new kernel an old kernel"
    (held,) = judge(
        [Expected.model_validate({"counters": {"OutRsts": 1}, "unless": {"old": []}})],
        replace(LEG, got={}),
        "en",
        {"old": OLD},
    )
    assert (held.holds, held.kernel) == (True, "")


def test_a_kernel_that_does_the_half_of_it_fails() -> None:
    half = Expected.model_validate(
        {"counters": {"OutRsts": 1}, "unless": {"old": {"counters": {"OutRsts": 3}}}}
    )
    assert not holds(judge([half], LEG, "en", {"old": OLD}))


@pytest.mark.parametrize(
    "data",
    [
        {"says": "x"},
        {"says": "x", "has": "a", "when": {"got": {"a": 1}}},
        {"says": "x", "when": {"cause": []}},
        {"says": "x", "when": [{"got": {"a": 1}}, {"not": {"event": "state == CLOSE"}}]},
    ],
    ids=str,
)
def test_a_kernel_is_told_in_one_way_and_without_a_debugger(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"either has|without a debugger"):
        OtherKernel.model_validate(data)
