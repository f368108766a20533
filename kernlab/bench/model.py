"""What a measurement gives."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """One way to do it: the median of its rounds."""

    name: str
    median: float
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """Several ways to do one thing. The first is what the others are measured by."""

    what: str
    unit: str
    contenders: tuple[Contender, ...]

    def ratio(self, contender: Contender) -> float:
        """Its figure over the first one's."""
        return contender.median / self.contenders[0].median


def contender(name: str, rounds: Sequence[float]) -> Contender:
    """The rounds of one way, with their median."""
    return Contender(name, statistics.median(rounds), tuple(round(r, 3) for r in rounds))
