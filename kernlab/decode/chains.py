"""C's postfix expressions in a text: ``tcp_sk(sk)->snd_cwnd``, ``skb->dev->name``."""

from __future__ import annotations

import re
from typing import Iterator, List, NamedTuple, Optional, Tuple

_NAME = re.compile(r"\$?[A-Za-z_]\w*")
_STEP = re.compile(r"\s*(->|\.)\s*([A-Za-z_]\w*)")
_MASK = re.compile(r"\s*&(?!&)\s*(?:0[xX][0-9a-fA-F]+|\d+|[A-Za-z_]\w*)(?![\w(])")
# Words of the expression language that may stand before a parenthesis.
_WORDS = frozenset(("and", "or", "not", "in", "has"))


class Chain(NamedTuple):
    """``start`` and ``end`` in the text; ``arrows``: where each "->" outside of all brackets
    begins; ``call``: whether it begins with the call of a name."""

    start: int
    end: int
    arrows: Tuple[int, ...]
    call: bool


def closed(text: str, at: int) -> int:
    """The place after the bracket that closes the one at ``at``; -1 where none does."""
    depth = 0
    quote = ""
    for place in range(at, len(text)):
        letter = text[place]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
            if depth == 0:
                return place + 1
    return -1


def chain(text: str, at: int) -> Optional[Chain]:
    """The longest postfix expression that begins at ``at``: a name, a call or a parenthesis,
    and the members, elements behind it."""
    call = False
    name = _NAME.match(text, at)
    if name is not None:
        end = name.end()
        if text[end : end + 1] == "(" and name.group(0) not in _WORDS:
            end, call = closed(text, end), True
    elif text[at : at + 1] == "(":
        end = closed(text, at)
    else:
        return None
    arrows: List[int] = []
    while end > 0:
        step = _STEP.match(text, end)
        if step is not None:
            if step.group(1) == "->":
                arrows.append(step.start(1))
            end = step.end()
        elif text[end : end + 1] == "[":
            end = closed(text, end)
        else:
            return Chain(at, end, tuple(arrows), call)
    return None


def expression(text: str, at: int) -> Optional[int]:
    """The end of the C expression that begins at ``at``, with a mask behind it
    (``sk->sk_flags & 1``); None where what stands there is no C: it needs a "->" or a call."""
    found = chain(text, at)
    if found is None or not (found.arrows or found.call):
        return None
    mask = _MASK.match(text, found.end)
    return mask.end() if mask is not None else found.end


def is_c(name: str) -> bool:
    """Whether a field's name is a C expression."""
    return "->" in name or "(" in name


def chains(text: str) -> Iterator[Chain]:
    """Every chain of a text with a "->" in it, those inside of brackets too."""
    at = 0
    while at < len(text):
        before = text[at - 1 : at]
        found = None
        if not (before.isalnum() or before in ("_", "$")):
            found = chain(text, at)
        if found is not None and found.arrows:
            yield found
            yield from _inner(text, found)
            at = found.end
        elif found is not None and text[at] != "(":
            name = _NAME.match(text, at)
            at = name.end() if name is not None else at + 1
        else:
            at += 1


def _inner(text: str, outer: Chain) -> Iterator[Chain]:
    """What stands in the brackets of a chain."""
    at = outer.start
    while at < outer.end:
        if text[at] in "([":
            end = closed(text, at)
            if end < 0:
                return
            for one in chains(text[at + 1 : end - 1]):
                shift = at + 1
                yield Chain(
                    one.start + shift,
                    one.end + shift,
                    tuple(arrow + shift for arrow in one.arrows),
                    one.call,
                )
            at = end
        else:
            at += 1
