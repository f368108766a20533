"""The values of an expression's tests: numbers, and the words that stand for some."""

from __future__ import annotations

import difflib
import re
from typing import Any, List

from kernlab.decode import fields
from kernlab.decode.names import STATE_NUMBERS
from kernlab.decode.tokens import ExprError, Token

_PREFIX = re.compile(r"^(?:ICMP(?:V6)?|NDISC)_")


def number(text: str, name: str, token: Token) -> int:
    try:
        return int(text, 0)
    except ValueError as error:
        raise ExprError(
            "%s is a number, '%s' is not" % (name, text), token.column, "like 80 or 0x50"
        ) from error


def named(text: str, name: str, ordered: bool, token: Token) -> Any:
    """A number or the name of one, with the kernel's prefix before it (ICMP_, ICMPV6_, NDISC_)
    or without. ``ordered``: it is compared by less or more, which a name is not."""
    try:
        return int(text, 0)
    except ValueError:
        pass
    known = fields.words_of(name)
    word = _PREFIX.sub("", text.upper())
    if word not in known:
        close = difflib.get_close_matches(word, sorted(known), n=2, cutoff=0.6)
        raise ExprError(
            "%s is a number or its name, '%s' is neither" % (name, text),
            token.column,
            "did you mean %s?" % " or ".join(close or sorted(known)),
        )
    if ordered:
        raise ExprError("'%s' is a name, and names have no order" % text, token.column)
    return word


def state(text: str, token: Token) -> str:
    name = text.upper()
    name = name[4:] if name.startswith("TCP_") else name
    if name in STATE_NUMBERS:
        return name
    hint = "did you mean %s?" % " or ".join(_near_states(name, 0.6) or sorted(STATE_NUMBERS))
    raise ExprError("'%s' is not a TCP state" % text, token.column, hint)


def _near_states(name: str, cutoff: float) -> List[str]:
    return difflib.get_close_matches(name, list(STATE_NUMBERS), n=2, cutoff=cutoff)


def no_misspelt_state(text: str, token: Token) -> None:
    """Raises ``ExprError`` for a word that is all but a TCP state. Others may be names of
    another enum."""
    name = text.upper()
    if _near_states(name[4:] if name.startswith("TCP_") else name, 0.85):
        state(text, token)
