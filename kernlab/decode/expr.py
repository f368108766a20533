"""The one expression language: ``--where``, reasons, verdicts, the report's filter box.

    expression = term { ("or" | "||") term }
    term       = factor { ("and" | "&&") factor }
    factor     = ("not" | "!") factor | "(" expression ")" | test
    test       = field [ operator value ]
    operator   = "==" | "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "in" | "has"
    value      = word | number | 'quoted' | "quoted" | "(" value { "," value } ")"

A field is a path into the event (``packet.dport``, ``sock.state``) or a short name
(``port``, ``addr``, ``flags``, ``state`` …; kernlab.decode.fields). A field alone asks
whether it is there. A C expression (``tcp_sk(sk)->snd_cwnd``, ``skb->len``, with a mask
``sk->sk_flags & 1``) is a field, too, and read like one of ``--show``; alone it asks, as in
C, whether it is not 0, and it may be compared with another one. A number can be compared
with the name of a TCP state or with flags: ``sk->sk_state == CLOSE_WAIT``.

``~`` searches a regular expression; ``in`` takes a list or, for
addresses, a prefix; ``flags has SYN`` is true when this flag is set, whatever else is;
``flags == SYN-ACK`` when exactly these are. A flag is written by its name or its letter
(``flags == SA``). ``stack has f`` and ``stack ~ re`` look at
the functions of all frames.

Three values: a comparison with a field that is absent is neither true nor false but
absent (None); and, or, not follow Kleene. A filter lets pass what is true.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from kernlab.decode import fields, regexp, values
from kernlab.decode.chains import is_c
from kernlab.decode.compare import has, inside, network_of, number_for, number_in, same
from kernlab.decode.names import FLAG_NAMES, flags_text, flags_value, flags_words
from kernlab.decode.tokens import ExprError as ExprError
from kernlab.decode.tokens import Token, tokens

_WORDS = {"and": "and", "&&": "and", "or": "or", "||": "or", "not": "not", "!": "not"}
# htons(8080): a number in network order is told as it is in memory.
_SWAPPED = re.compile(r"(?:hton|ntoh)([sl])\((\w+)\)")
_COMPARE: Dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}
_OPERATORS = {"==", "=", "!=", "<", "<=", ">", ">=", "~", "in", "has"}
# Type of a field → the operators that it takes.
ALLOWED = {
    fields.NUMBER: {"==", "!=", "<", "<=", ">", ">=", "in"},
    fields.NAMED: {"==", "!=", "<", "<=", ">", ">=", "in"},
    fields.TEXT: {"==", "!=", "~", "in"},
    fields.FLAGS: {"==", "!=", "has", "in"},
    fields.STATE: {"==", "!=", "in", "~"},
    fields.ADDRESS: {"==", "!=", "in"},
    fields.STACK: {"has", "~"},
    fields.OPEN: _OPERATORS - {"="},
}


class Expr(ABC):
    """A parsed expression."""

    @abstractmethod
    def evaluate(self, event: Mapping[str, Any]) -> Optional[bool]:
        """True, False, or None where a field it needs is absent."""

    @abstractmethod
    def tests(self) -> "List[Test]":
        """Its tests, from left to right."""

    def fields(self) -> Set[str]:
        """The paths it may read, short names resolved."""
        names = [name for test in self.tests() for name in test.names()]
        return {path for name in names for group in fields.paths(name) for path in group}


class Not(Expr):
    def __init__(self, inner: Expr) -> None:
        self.inner = inner

    def evaluate(self, event: Mapping[str, Any]) -> Optional[bool]:
        value = self.inner.evaluate(event)
        return None if value is None else not value

    def tests(self) -> "List[Test]":
        return self.inner.tests()

    def __str__(self) -> str:
        return "not %s" % self.inner if isinstance(self.inner, Test) else "not (%s)" % self.inner


class Joined(Expr):
    """``and`` or ``or`` over two or more parts."""

    def __init__(self, word: str, parts: List[Expr]) -> None:
        self.word = word
        self.parts = parts

    def evaluate(self, event: Mapping[str, Any]) -> Optional[bool]:
        decisive = self.word == "or"
        result: Optional[bool] = not decisive
        for part in self.parts:
            value = part.evaluate(event)
            if value is decisive:
                return decisive
            if value is None:
                result = None
        return result

    def tests(self) -> "List[Test]":
        return [test for part in self.parts for test in part.tests()]

    def __str__(self) -> str:
        return (" %s " % self.word).join(
            "(%s)" % part if isinstance(part, Joined) else str(part) for part in self.parts
        )


class Other(NamedTuple):
    """Another field, as a test's value."""

    name: str


class Test(Expr):
    """One field against one value; without an operator: whether it is there, or for a C
    expression whether it is not 0. ``value`` may be another field (``Other``)."""

    __test__ = False  # not a test class

    def __init__(self, name: str, operator: str, value: Any, text: str) -> None:
        self.name = name
        self.operator = operator
        self.value = value
        self.text = text
        self._kind = fields.type_of(name) or fields.OPEN
        self._check = _checker(self._kind, operator, value)

    def names(self) -> List[str]:
        """The fields that it reads."""
        return [self.name, *([self.value.name] if isinstance(self.value, Other) else ())]

    def tests(self) -> "List[Test]":
        return [self]

    def evaluate(self, event: Mapping[str, Any]) -> Optional[bool]:
        found = fields.values(event, self.name)
        if not self.operator:
            if is_c(self.name):
                return bool(number_in(found[0], found[0])) if found else None
            return bool(found)
        if not found:
            return None
        check = self._check
        if isinstance(self.value, Other):
            others = fields.values(event, self.value.name)
            if not others:
                return None
            check = _checker(self._kind, self.operator, others[0])
        try:
            hit = any(check(value) for value in found)
        except (TypeError, ValueError):
            return None  # the event holds another type there: not comparable, not false
        return not hit if self.operator == "!=" else hit

    def __str__(self) -> str:
        return "%s %s %s" % (self.name, self.operator, self.text) if self.operator else self.name


def _checker(kind: str, operator: str, value: Any) -> Callable[[Any], bool]:
    if operator in _COMPARE:
        compare = _COMPARE[operator]
        if kind == fields.OPEN:
            return lambda found: compare(number_in(found, value), number_for(value, found))
        if kind == fields.NAMED:  # the name that lies beside it is not less than anything
            return lambda found: isinstance(found, int) and compare(found, value)
        return lambda found: compare(found, value)
    if operator == "~":
        matches = re.compile(value).search

        def search(text: str) -> bool:
            return len(text) <= regexp.LONGEST and matches(text) is not None

        if kind == fields.STACK:
            return lambda found: any(search(frame.get("func", "")) for frame in found)
        return lambda found: search(str(found))
    if operator == "has":
        if kind == fields.FLAGS:
            return lambda found: flags_value(found) & value == value
        if kind == fields.STACK:
            return lambda found: any(frame.get("func") == value for frame in found)
        return lambda found: has(found, value)
    wanted = list(value) if isinstance(value, tuple) else [value]
    if kind == fields.FLAGS:
        return lambda found: flags_value(found) in wanted
    if kind == fields.ADDRESS:
        return lambda found: any(inside(found, network) for network in wanted)
    if kind == fields.OPEN:
        return lambda found: any(same(found, one) for one in wanted)
    return lambda found: found in wanted


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._at = 0
        self._end = len(text) + 1
        self._depth = 0

    def _peek(self) -> Optional[Token]:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self, wanted: str) -> Token:
        token = self._peek()
        if token is None:
            raise ExprError("expected %s, but the expression ends here" % wanted, self._end)
        self._at += 1
        return token

    def _joiner(self) -> str:
        token = self._peek()
        return _WORDS.get(token.text, "") if token and token.kind != "string" else ""

    def whole(self) -> Expr:
        result = self._joined("or")
        token = self._peek()
        if token is not None:
            raise ExprError("expected 'and' or 'or' before '%s'" % token.text, token.column)
        return result

    def _joined(self, word: str) -> Expr:
        parts = [self._joined("and") if word == "or" else self._factor()]
        while self._joiner() == word:
            self._at += 1
            parts.append(self._joined("and") if word == "or" else self._factor())
        return parts[0] if len(parts) == 1 else Joined(word, parts)

    def _factor(self) -> Expr:
        token = self._next("a field")
        self._depth += 1
        if self._depth > 50:
            raise ExprError("the expression is nested too deeply", token.column)
        try:
            if token.kind != "string" and _WORDS.get(token.text) == "not":
                return Not(self._factor())
            if token.text == "(":
                inner = self._joined("or")
                closing = self._next("')'")
                if closing.text != ")":
                    raise ExprError("expected ')' before '%s'" % closing.text, closing.column)
                return inner
            return self._test(token)
        finally:
            self._depth -= 1

    def _test(self, token: Token) -> Expr:
        name = token.text
        kind = fields.type_of(name) if token.kind in ("word", "c") else None
        if kind is None:
            close = fields.near(name)
            others = "fields: " + ", ".join(sorted(fields.SHORT))
            hint = "did you mean %s?" % " or ".join(close) if close else others
            raise ExprError("there is no field '%s'" % name, token.column, hint)
        following = self._peek()
        if following is None or following.kind == "string" or following.text not in _OPERATORS:
            return Test(name, "", None, "")
        self._at += 1
        operator = "==" if following.text == "=" else following.text
        if operator not in ALLOWED[kind]:
            raise ExprError(
                "'%s' cannot be used with %s" % (operator, name),
                following.column,
                "%s is a %s: use %s" % (name, kind, " ".join(sorted(ALLOWED[kind]))),
            )
        value, text = self._value(name, kind, operator)
        return Test(name, operator, value, text)

    def _value(self, name: str, kind: str, operator: str) -> Tuple[Any, str]:
        token = self._next("a value")
        if token.text == "(" and token.kind == "op":
            if operator != "in":
                raise ExprError("a list needs the operator 'in'", token.column)
            found = []
            while True:
                found.append(self._one(self._next("a value"), name, kind, operator))
                mark = self._next("',' or ')'")
                if mark.text == ")":
                    break
                if mark.text != ",":
                    raise ExprError("expected ',' or ')' before '%s'" % mark.text, mark.column)
            return tuple(v for v, _ in found), "(%s)" % ", ".join(text for _, text in found)
        value, text = self._one(token, name, kind, operator)
        return ((value,), "(%s)" % text) if operator == "in" else (value, text)

    def _c_value(self, token: Token, name: str, kind: str, operator: str) -> Tuple[Any, str]:
        swapped = _SWAPPED.fullmatch(token.text)
        if swapped is not None:
            number = values.number(swapped.group(2), swapped.group(2), token)
            size = 2 if swapped.group(1) == "s" else 4
            raw = (number & ((1 << 8 * size) - 1)).to_bytes(size, "big")
            return int.from_bytes(raw, "little"), token.text
        if kind != fields.OPEN or operator in ("in", "~", "has"):
            raise ExprError(
                "a C expression is not allowed here",
                token.column,
                "compare two with == != < <= > >=: tcp_sk(sk)->snd_una == tcp_sk(sk)->snd_nxt",
            )
        return Other(token.text), token.text

    def _one(self, token: Token, name: str, kind: str, operator: str) -> Tuple[Any, str]:
        if token.kind == "c":
            return self._c_value(token, name, kind, operator)
        if token.kind == "op":
            raise ExprError("expected a value, not '%s'" % token.text, token.column)
        text = token.text[1:-1] if token.kind == "string" else token.text
        shown = token.text
        if operator == "~":
            wrong = regexp.problem(text)
            if wrong:
                raise ExprError(wrong, token.column)
            return text, shown
        if kind == fields.NUMBER:
            return values.number(text, name, token), shown
        if kind == fields.NAMED:
            return values.named(text, name, operator in _COMPARE, token), shown
        if kind == fields.FLAGS:
            try:
                value = flags_value(text)
            except ValueError as error:
                raise ExprError(
                    str(error), token.column, "flags: " + ", ".join(FLAG_NAMES)
                ) from error
            return value, flags_words(flags_text(value)) or "''"
        if kind == fields.STATE:
            return values.state(text, token), values.state(text, token)
        if kind == fields.ADDRESS:
            try:
                return network_of(text), shown
            except ValueError as error:
                raise ExprError(
                    "'%s' is not an address" % text, token.column, "like 127.0.0.1, 10.0.0.0/8, ::1"
                ) from error
        if kind == fields.OPEN and token.kind == "word":
            try:
                return int(text, 0), shown
            except ValueError:
                if name.endswith("state"):
                    values.no_misspelt_state(text, token)
                return text, shown
        return text, shown


def passes(filter: Optional[Expr], event: Mapping[str, Any]) -> bool:
    """Whether a filter lets an event pass: no filter does, and what is true; not what is
    absent."""
    return filter is None or filter.evaluate(event) is True


def parse(text: str) -> Expr:
    """The expression in ``text``. Raises ``ExprError`` with the column that is wrong."""
    if not text.strip():
        raise ExprError("the expression is empty", 1, "like: port == 80 and flags has SYN")
    return _Parser(text).whole()
