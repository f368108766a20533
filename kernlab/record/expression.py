"""The expression language as it comes from outside: a type of the models that are read from
files, an option of a command."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from kernlab.decode import expr
from kernlab.decode.chains import is_c
from kernlab.decode.fields import CAPTURED, OPEN_PREFIXES
from kernlab.errors import BadInput


def _checked(text: str) -> str:
    try:
        expr.parse(text)
    except expr.ExprError as error:
        hint = f"; {error.hint}" if error.hint else ""
        raise ValueError(f"column {error.column}: {error.message}{hint}") from error
    return text


Expression = Annotated[str, AfterValidator(_checked)]


@dataclass(frozen=True)
class Where:
    """A filter as it was written, and what that says; without one ``expr`` is None."""

    text: str = ""
    expr: expr.Expr | None = None


EVERYTHING = Where()


def parse_where(text: str) -> Where:
    """The filter. Raises ``BadInput`` that points at the place that is wrong."""
    if not text:
        return EVERYTHING
    try:
        where = expr.parse(text)
    except expr.ExprError as error:
        marker = " " * (error.column - 1) + "^"
        why = f"  {text}\n  {marker}"
        raise BadInput(
            "--where: " + error.message,
            f"{why}\n{error.hint}".rstrip(),
            _repaired(text, error),
        ) from error

    for name in CAPTURED:
        if name in where.fields():
            raise BadInput(
                f"--where: only the segments of a capture have {name}",
                "a lab's verdict and the report page's filter box can ask for it; an event has the "
                "numbers of the wire: packet.seq, packet.ack, packet.win",
                "kernlab report latest",
            )
    return Where(text, where)


def _repaired(text: str, error: expr.ExprError) -> str:
    """The filter with the word that may have been meant, where that makes one; otherwise the
    command that shows the language."""
    meant = re.match(r"did you mean ([^\s?]+)", error.hint)
    word = re.compile(r"[^\s()'\",=!<>~&|]+").match(text, error.column - 1)
    if meant is not None and word is not None:
        better = text[: word.start()] + meant[1] + text[word.end() :]
        with suppress(expr.ExprError):
            expr.parse(better)
            return f"--where {shlex.quote(better)}"
    return "kernlab config expressions"


def c_expressions(where: expr.Expr | None) -> list[str]:
    """The C expressions of a filter, which are read at each hit as those of ``--show``."""
    names = [name for test in where.tests() for name in test.names()] if where is not None else []
    return list(dict.fromkeys(n for n in names if is_c(n) and not n.startswith(OPEN_PREFIXES)))
