"""Long texts into lines of a width: in a terminal's cells, or in an estimate of pixels."""

from __future__ import annotations

import re
from collections.abc import Callable
from unicodedata import east_asian_width

from rich.cells import cell_len

# Where a line may end: after a space, and inside what has none (code, paths) after these.
_PIECES = re.compile(r"\s+|->|\w+(?:\.\w\b)?|.")
_NEVER_FIRST = ",.;:!?)]}'\"，。；：！？、）》」”"  # at the beginning of a line
_NEVER_LAST = "([{（《「“"

_LONGEST = 4000  # letters of a text: a picture is no place for more

Measure = Callable[[str], float]


def wide(letter: str) -> bool:
    """Whether a letter takes two cells, as Chinese ones do."""
    return east_asian_width(letter) in "WF"


def cells(text: str) -> float:
    """Columns of a terminal."""
    return cell_len(text)


def mono(size: float) -> Measure:
    """Pixels in a monospaced font of ``size`` pixels: no font in use is wider."""
    return lambda text: sum(1.04 if wide(one) else 0.605 for one in text) * size


def sans(size: float) -> Measure:
    """Pixels in a sans-serif font of ``size`` pixels, on the safe side (DejaVu Sans)."""
    return lambda text: sum(map(_em, text)) * size


def _em(letter: str) -> float:
    if wide(letter):
        return 1.02
    if letter in "iljI.,:;'|!()[] ftr/-":
        return 0.4
    if letter in "mwMW@%→←":
        return 0.95
    return 0.7 if letter.isupper() else 0.61


def wrap(text: str, width: float, measure: Measure) -> list[str]:
    """The text in lines no wider than ``width``; a piece that is wider by itself is cut."""
    lines: list[str] = []
    line = ""
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    for piece in _pieces(text):
        if measure((line + piece).rstrip()) <= width:
            line += piece
            continue
        if line.strip():
            lines.append(line.rstrip())
        line = piece.lstrip()
        while measure(line.rstrip()) > width and len(line) > 1:
            cut = _fitting(line, width, measure)
            lines.append(line[:cut])
            line = line[cut:]
    if line.strip() or not lines:
        lines.append(line.rstrip())
    return lines


def _fitting(line: str, width: float, measure: Measure) -> int:
    """How many letters of a line are no wider than that; at least one."""
    least, most = 1, len(line)
    while least < most:
        middle = (least + most + 1) // 2
        if measure(line[:middle]) <= width:
            least = middle
        else:
            most = middle - 1
    return least


def _pieces(text: str) -> list[str]:
    """What is not torn apart: words with the punctuation that belongs to them."""
    pieces: list[str] = []
    for one in _letters(text):
        glued = pieces and (one in _NEVER_FIRST or pieces[-1][-1] in _NEVER_LAST or one == "->")
        if glued:
            pieces[-1] += one
        else:
            pieces.append(one)
    return pieces


def _letters(text: str) -> list[str]:
    found: list[str] = []
    for piece in _PIECES.findall(text):
        if any(map(wide, piece)):
            found.extend(piece)  # Chinese may be broken between any two letters
        else:
            found.append(piece)
    return found
