"""The expression language as a type of the models that are read from files."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from kernlab.decode import expr


def _checked(text: str) -> str:
    try:
        expr.parse(text)
    except expr.ExprError as error:
        hint = f"; {error.hint}" if error.hint else ""
        raise ValueError(f"column {error.column}: {error.message}{hint}") from error
    return text


Expression = Annotated[str, AfterValidator(_checked)]
