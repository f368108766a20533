"""Patterns of strangers: those that would not end are refused, and what is left ends in time."""

from __future__ import annotations

import pytest

from kernlab.decode import expr, regexp
from kernlab.record.leg import Leg
from kernlab.verdict import judge
from kernlab.verdict.model import Check


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(a+)+$", "too long"),
        ("(a|a)*b", "too long"),
        ("(a?){30}a", "too long"),
        ("(?:(x*)y)*", "too long"),
        ("((a{1,9}){1,9})", "too long"),
        ("a.*b.*c.*d.*e", "open"),
        ("(", "bad"),
        ("a{99999999999}", "bad"),
        ("(" * 450 + ")" * 450, "bad|letters"),
        ("x" * 600, "letters"),
    ],
)
def test_a_pattern_without_an_end_is_refused(text: str, said: str) -> None:
    assert any(word in (regexp.problem(text) or "") for word in said.split("|"))
    quoted = text.replace("'", "")
    with pytest.raises(expr.ExprError):
        expr.parse(f"probe ~ '{quoted}'")


@pytest.mark.parametrize(
    "text",
    [
        "tcp_v._send_reset",
        "^tcp|^udp",
        "(?i)a.*b.*c",
        "(?:ab)+",
        "a{3}",
        r"\d+ \S+$",
        "(tcp|udp)_rcv",
        "(?P<n>a)(?P=n)",
    ],
)
def test_a_plain_pattern_is_taken(text: str) -> None:
    assert regexp.problem(text) is None


def test_the_worst_that_is_taken_ends() -> None:
    """Without the limit on the text this test would go on for hours."""
    test = expr.parse("probe ~ 'a.*a.*a.*b'")
    assert test.evaluate({"probe": "a" * regexp.LONGEST}) is False
    assert test.evaluate({"probe": "aaab" * 10}) is True
    assert test.evaluate({"probe": "aaab" * 1000}) is False  # not searched: no name is so long


def test_a_log_is_searched_within_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "_SEARCH", 1.0)
    check = Check.model_validate({"log": "a.*a.*a.*a.*b"})
    (line,) = judge.judge([check], Leg(kmsg="a" * 5000))
    assert (line.holds, "more than 1 s" in line.seen) == (False, True)
    check = Check.model_validate({"log": "or+phaned"})
    (line,) = judge.judge([check], Leg(kmsg="x\n" * 500 + "orphaned"))
    assert (line.holds, line.seen) == (True, "orphaned")
