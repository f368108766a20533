"""Regular expressions that a file or a command line brings: which of them end in time.

Python's matcher goes back and tries again. A repetition of something that may itself be read in
more than one way takes time that doubles with each letter, as ``(a+)+$`` does; several open
repetitions in a row take a power of the text's length. The first are refused, of the second
three are allowed, and no text of more than ``LONGEST`` letters is searched.
"""

from __future__ import annotations

import re
from typing import Any, Optional

try:
    from re import _parser as parser  # type: ignore[attr-defined]  # Python 3.11
except ImportError:
    import sre_parse as parser

LONGEST = 256  # letters of a text that is searched: names, states, values
_PATTERN = 500  # letters of a pattern
_OPEN = 3  # repetitions without a near end
_FAR = 16  # repetitions that count as such


def problem(text: str, limited: bool = False) -> Optional[str]:
    """What is wrong with a pattern, in words; None where it is a good one. ``limited``: the
    search has a limit of its own, so that any number of open repetitions may stand in a row."""
    if len(text) > _PATTERN:
        return "a pattern of more than %d letters" % _PATTERN
    try:
        re.compile(text)
        tree = parser.parse(text)
        again, count = _walk(tree, False)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        return "bad regular expression: %s" % error
    if again:
        return "a repetition that can match in more than one way takes too long"
    return "more than %d open repetitions" % _OPEN if count > _OPEN and not limited else None


def _walk(tree: Any, repeated: bool) -> "tuple[bool, int]":
    """Whether a repetition has another one, or a choice, in it; how many are open."""
    again, count = False, 0
    for kind, value in tree:
        name = str(kind)
        if name.endswith("_REPEAT"):
            least, most, body = value
            most = int(most)
            again = again or (repeated and least != most)
            inner = _walk(body, repeated or most > 1)
            again, count = again or inner[0], count + inner[1] + (most > _FAR)
            continue
        if name == "BRANCH" and repeated:
            again = True
        for part in _trees(value):
            inner = _walk(part, repeated)
            again, count = again or inner[0], count + inner[1]
    return again, count


def _trees(value: Any) -> "list[Any]":
    """The patterns inside a piece of a pattern."""
    if isinstance(value, parser.SubPattern):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tree for one in value for tree in _trees(one)]
    return []
