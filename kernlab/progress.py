"""Progress as values: rooms report what they do, ``kernlab.cli`` draws it.

A room takes a ``Reporter`` and calls it; it never prints. ``quiet`` is the
reporter that draws nothing, for tests and for callers without a user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Started:
    """A stage began. ``total`` in ``unit`` where it is known beforehand."""

    stage: str
    total: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class Advanced:
    """A stage is at ``done`` of ``total``; ``note`` names what it is at (an object file)."""

    stage: str
    done: int
    total: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Finished:
    """A stage ended well. ``note`` is what to remember of it ("5.10.223, 166 MB")."""

    stage: str
    note: str = ""


@dataclass(frozen=True)
class Stopped:
    """A stage ended without its result, and the work goes on another way."""

    stage: str
    why: str = ""


@dataclass(frozen=True)
class Said:
    """One line a user should read now ("no usable KVM, using TCG")."""

    text: str


Report = Union[Started, Advanced, Finished, Stopped, Said]
Reporter = Callable[[Report], None]


def quiet(report: Report) -> None:
    """Draw nothing."""
