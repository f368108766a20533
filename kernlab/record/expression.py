"""The expression language as it comes from outside: a type of the models that are read from
files, an option of a command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from kernlab.decode import expr
from kernlab.decode.chains import is_c
from kernlab.decode.fields import OPEN_PREFIXES
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
        return Where(text, expr.parse(text))
    except expr.ExprError as error:
        marker = " " * (error.column - 1) + "^"
        why = f"  {text}\n  {marker} {error.message}"
        raise BadInput(
            "--where: " + error.message,
            f"{why}\n{error.hint}".rstrip(),
            "--where 'port == 80 and flags has S'",
        ) from error


def c_expressions(where: expr.Expr | None) -> list[str]:
    """The C expressions of a filter, which are read at each hit as those of ``--show``."""
    names = [name for test in where.tests() for name in test.names()] if where is not None else []
    return list(dict.fromkeys(n for n in names if is_c(n) and not n.startswith(OPEN_PREFIXES)))
