"""The expression language, by the table that every implementation must pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.decode import expr, fields

TABLE = json.loads((Path(__file__).parents[1] / "data" / "expressions.json").read_text())
WORDS = {True: "true", False: "false", None: "absent"}


@pytest.mark.parametrize(("text", "event", "wanted"), TABLE["rows"])
def test_table(text: str, event: str, wanted: str) -> None:
    assert WORDS[expr.parse(text).evaluate(TABLE["events"][event])] == wanted


@pytest.mark.parametrize(("text", "event", "wanted"), TABLE["rows"])
def test_printed_it_means_the_same(text: str, event: str, wanted: str) -> None:
    again = expr.parse(str(expr.parse(text)))
    assert WORDS[again.evaluate(TABLE["events"][event])] == wanted


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "empty"),
        ("prt == 80", 1, "no field 'prt'"),
        ("port == abc", 9, "a number"),
        ("state == SYNSENT", 10, "not a TCP state"),
        ("sk->sk_state == CLOSED", 17, "not a TCP state"),
        ("args.state in (CLOSE_WAIT, TCP_CLOSE_WAITT)", 28, "not a TCP state"),
        ("flags == XY", 10, "not a TCP flag"),
        ("flags < S", 7, "cannot be used"),
        ("port ==", 8, "ends here"),
        ("(port == 80", 12, "ends here"),
        ("port == 80 dport == 1", 12, "expected 'and'"),
        ("comm ~ '['", 8, "regular expression"),
        ("addr == 1.2.3.400", 9, "not an address"),
        ("port == (80)", 9, "'in'"),
        ("port == 80 and", 15, "ends here"),
        ("port == 'unclosed", 9, "cannot read"),
        ("and", 1, "no field"),
    ],
)
def test_a_bad_expression_is_refused_where_it_is_wrong(text: str, column: int, said: str) -> None:
    with pytest.raises(expr.ExprError) as caught:
        expr.parse(text)
    assert caught.value.column == column
    assert said in caught.value.message


@pytest.mark.parametrize("text", ["args.state == TCP_CA_Open", "show.ca_state == Loss"])
def test_a_name_of_another_enum_is_left_alone(text: str) -> None:
    assert expr.parse(text).tests()[0].value == text.split(" == ")[1]


def test_a_misspelt_field_gets_near_names() -> None:
    with pytest.raises(expr.ExprError) as caught:
        expr.parse("packet.dprt == 80")
    assert "packet.dport" in caught.value.hint


def test_fields_are_those_read() -> None:
    found = expr.parse("port == 80 and stack has tcp_ack").fields()
    assert found == {"packet.sport", "packet.dport", "sock.sport", "sock.dport", "stack"}


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    column, value = 1, None
    try:
        value = expr.parse(text).evaluate({})
    except expr.ExprError as error:
        column = error.column
    assert 1 <= column <= len(text) + 1
    assert value in (True, False, None)


_LEAVES = st.sampled_from(["port == 80", "port == 81", "state == LISTEN", "dev", "not dev"])
_EXPRESSIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=12,
)


@given(_EXPRESSIONS, _EXPRESSIONS)
def test_de_morgan_holds_with_absent_values(a: str, b: str) -> None:
    event = TABLE["events"]["syn"]
    left = expr.parse(f"not ({a} and {b})").evaluate(event)
    right = expr.parse(f"(not {a}) or (not {b})").evaluate(event)
    assert left == right


def test_every_short_name_stands_for_known_fields() -> None:
    for name in fields.SHORT:
        assert all(path in fields.TYPES for group in fields.paths(name) for path in group)
