"""What is wrong in the file of a lab or a race: told all at once, with lines."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kernlab.config.yaml import WrongFile
from kernlab.errors import BadInput


@dataclass(frozen=True)
class Problem:
    """``line`` is None for a file that cannot be read. ``sure``: it cannot work; else it is only
    likely not to."""

    path: Path
    line: int | None
    text: str
    sure: bool = True

    def __str__(self) -> str:
        where = "" if self.line is None else f"{self.path}:{self.line}: "
        return f"{where}{'' if self.sure else 'warning: '}{self.text}"


def of_file(path: Path, error: BadInput) -> list[Problem]:
    """The problems for which a file was not taken (``kernlab.config.yaml.load``)."""
    if not isinstance(error, WrongFile):
        return [Problem(path, None, _whole(error.what, error.why))]
    why = error.why if len(error.problems) == 1 and not error.more else ""
    found = [Problem(path, one.line, _whole(one.text, why)) for one in error.problems]
    return [*found, Problem(path, 1, f"and {error.more} more")] if error.more else found


def _whole(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


def refuse(found: Iterable[Problem], kind: Literal["lab", "race"]) -> None:
    """Raises ``BadInput`` for problems that are sure; nothing when there is none."""
    sure = [one for one in found if one.sure]
    if not sure:
        return
    wrong = [str(one) for one in sure]
    first = sure[0]
    again = f"edit the file, then kernlab {kind} validate {shlex.quote(str(first.path))}"
    raise BadInput(
        f"{len(wrong)} problems" if len(wrong) > 1 else wrong[0],
        "\n".join(wrong) if len(wrong) > 1 else "",
        f"kernlab {kind} list" if first.line is None else again,
    )
