"""Schedules: what a file may say, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernlab.config.yaml import load, parse
from kernlab.errors import BadInput
from kernlab.lessons.race import Place, Race, find
from kernlab.race.floor import ending
from kernlab.record.leg import Leg

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "configs" / "races").glob("*.yaml"))
RACE = """
title: t
idea: i
source: [s]
program: mine.c
actors: {A: {vcpu: 1}, B: {vcpu: 0}}
steps:
  - hold: A
    at: [one, other]
    when: "x != 0"
  - hold: A
    at: {word: "x->y", becomes: 0}
  - run: B
    until: [three, blocked, done]
  - release: all
endings:
  - {id: first, title: f, fired: true, when: [{counters: {OutRsts: 1}}]}
  - {id: second, title: s, when: [{counters: {OutRsts: ">= 0"}}]}
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_race_is_in_order(path: Path) -> None:
    race = load(path, Race)
    assert (ROOT / "rootfs" / "guest" / "races" / f"{race.program}.c").is_file()
    assert any(one.fired for one in race.endings)
    assert race.ends is not None, "what does the default kernel come to?"
    assert race.steps[-1].release == "all"


def test_the_targets_of_a_step() -> None:
    steps = parse(RACE, Race, "my.yaml").steps
    assert steps[0].targets == [Place(entry=["one", "other"])]
    assert steps[1].targets == [Place(word="x->y", becomes=0)]
    assert steps[2].targets == [Place(entry="three"), "blocked", "done"]
    assert [step.actor for step in steps] == ["A", "A", "B", None]


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("run: B", "run: C"), 2, "there is no actor 'C'"),
        (("run: B\n    until", "run: B\n    at"), 13, "hold: ACTOR needs at"),
        (("release: all", "release: A"), 15, "'all'"),
        (("vcpu: 0}", "vcpu: 1}"), 2, "on vCPU 0 and vCPU 1"),
        (('{word: "x->y", becomes: 0}', "{inlined: f}"), 12, "inside"),
        (('{word: "x->y", becomes: 0}', "{entry: f, becomes: 0}"), 12, "becomes needs word"),
        (("OutRsts: 1", "OutRsts: many"), 17, ">= 1"),
    ],
)
def test_a_wrong_schedule_is_told_with_its_line(
    change: tuple[str, str], line: int, words: str
) -> None:
    assert change[0] in RACE
    with pytest.raises(BadInput) as caught:
        parse(RACE.replace(*change), Race, "my.yaml")
    assert f"my.yaml:{line}:" in str(caught.value)
    assert words in str(caught.value)


def test_the_first_ending_that_holds_is_meant() -> None:
    race = parse(RACE, Race, "my.yaml")
    names = []
    for count in (1, 0, -1):
        found = ending(race, Leg(counters={"Tcp.OutRsts": count}))
        names.append(found.id if found else None)
    assert names == ["first", "second", None]


def test_a_race_is_found_by_any_case() -> None:
    assert find("r-tw")[0].stem == "R-TW"
    with pytest.raises(BadInput, match="no race 'R9'"):
        find("R9")
