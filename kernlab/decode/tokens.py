"""The words of the expression language (``kernlab.decode.expr``)."""

from __future__ import annotations

import re
from typing import List, NamedTuple

from kernlab.decode.chains import expression

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'[^']*'|\"[^\"]*\")|(?P<op>==|!=|<=|>=|&&|\|\||[=<>~!(),])"
    r"|(?P<word>[^\s()'\",=!<>~&|]+))"
)


class ExprError(ValueError):
    """An expression that is refused. ``column`` counts from 1."""

    def __init__(self, message: str, column: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.hint = hint


class Token(NamedTuple):
    kind: str
    text: str
    column: int


def tokens(text: str) -> List[Token]:
    found, at = [], 0
    while text[at:].strip():
        begin = at + len(text[at:]) - len(text[at:].lstrip())
        end = expression(text, begin)
        if end is not None:
            found.append(Token("c", " ".join(text[begin:end].split()), begin + 1))
            at = end
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            column = at + len(text[at:]) - len(text[at:].lstrip()) + 1
            raise ExprError("cannot read '%s'" % text[column - 1 : column + 10], column)
        kind = match.lastgroup or ""
        found.append(Token(kind, match.group(kind), match.start(kind) + 1))
        at = match.end()
    return found
