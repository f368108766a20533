"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "note"]


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``missing`` stops some command, a ``note`` is good to know.

    ``found`` is a version, a path or an amount; ``packages`` would bring it, as this host's
    package manager calls them; ``remedy`` is a command or an action where no package does.
    """

    name: str
    state: State
    found: str
    why: str
    rooms: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    remedy: str = ""
