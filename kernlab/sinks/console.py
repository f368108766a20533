"""The one way of text to a terminal: nothing in it that a terminal would act on.

Names, titles, messages and values come from guests, captures, records and files of strangers.
A control character in them could move the cursor, set the clipboard or draw over what we say;
a bidirectional override shows words in another order than they are in (Unicode TR36, 3.2).
Rich's own markup is off: what we style is a ``Text``, made of parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from kernlab.errors import as_called

# C0 and C1 controls, what has no width or turns the direction (U+061C, U+200B–200F, U+2028–202E,
# U+2060–206F, U+FEFF, U+FFF9–FFFB, tags), and surrogates, which no encoding writes.
_HARM = (
    r"\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f"
)
_LINE = re.compile(rf"[\x00-\x1f{_HARM}]")
_TEXT = re.compile(rf"[\x00-\x08\x0b-\x1f{_HARM}]")


def safe(text: object) -> str:
    """A text of others on one line, with nothing in it that a terminal would act on."""
    return _LINE.sub("?", str(text))


def safe_lines(text: object) -> str:
    """The same for a text of several lines: their ends and tabs stay."""
    return _TEXT.sub("?", str(text))


def words(*parts: str | tuple[str, str]) -> Text:
    """A text to print, of parts that are plain or have a style: (text, style). Commands in it
    begin as the user types them."""
    text = Text()
    for part in parts:
        said, style = (part, "") if isinstance(part, str) else part
        text.append(as_called(safe_lines(said)), style)
    return text


class Console(rich.console.Console):
    """Rich's console without markup, emoji codes and highlights, and the last barrier: a
    control character in any text that is drawn, by whomever, is shown as ``?``. Commands in
    plain texts begin as the user types them."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **how})

    def print(self, *objects: Any, **how: Any) -> None:
        """Rich's ``print``."""
        called = (as_called(one) if isinstance(one, str) else one for one in objects)
        super().print(*called, **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What rich draws, piece by piece."""
        for piece in super().render(renderable, options):
            if piece.control is None and _TEXT.search(piece.text):
                yield Segment(_TEXT.sub("?", piece.text), piece.style)
            else:
                yield piece
