"""Rounds of a race on one booted machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kernlab.lessons.race import Race
from kernlab.race.floor import RoundResult, Scene, floor

# A round that did not go as written says nothing of the kernel: it is done again, but not
# for ever.
AGAIN = ("wrong actor", "gdb died", "not begun", "stop_machine")


@dataclass
class RaceResult:
    """All rounds, those done again, and whether the guest lives on afterwards."""

    id: str
    race: Race
    rounds: list[RoundResult] = field(default_factory=list)
    again: list[RoundResult] = field(default_factory=list)
    health: str | None = None  # what is wrong with the guest; None: not looked at yet

    @property
    def counts(self) -> dict[str, int]:
        """Endings and how often each came, troubles among them."""
        found: dict[str, int] = {}
        for one in self.rounds:
            key = one.ending.id if one.ending else one.trouble or "unknown"
            found[key] = found.get(key, 0) + 1
        return found

    @property
    def healthy(self) -> bool:
        return self.health == ""

    @property
    def fired(self) -> int:
        return sum(one.ending is not None and one.ending.fired for one in self.rounds)

    @property
    def definite(self) -> bool:
        """Whether every round came to one of the race's endings, and the guest lives."""
        return self.healthy and all(one.ending is not None for one in self.rounds)


OnRound = Callable[[RoundResult, bool], None]  # the round, whether it is done again


def run_race(scene: Scene, on_round: OnRound, times: int = 1) -> RaceResult:
    """Force it ``times`` times. Raises ``BadInput`` before anything boots for a place that
    the kernel does not have."""
    result = RaceResult(scene.id, scene.race)
    with floor(scene) as opened:
        while len(result.rounds) < times:
            number = len(result.rounds) + len(result.again) + 1
            one = opened.round(number)
            repeat = one.trouble in AGAIN and len(result.again) < times + 5
            (result.again if repeat else result.rounds).append(one)
            one.keep(repeat)
            on_round(one, repeat)
        result.health = opened.health()
    return result
