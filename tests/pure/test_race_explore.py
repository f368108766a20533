"""Orders of hold places: all of them, each once, and those that need not be run."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.config.yaml import parse
from kernlab.lessons.race import Place, Race
from kernlab.race.explore import Order, Piece, decided, orders, pieces, sleeper, steps
from kernlab.race.floor import RoundResult
from kernlab.record.leg import LegDir

RACE = """
title: t
idea: i
source: [s]
program: mine.c
actors: {A: {vcpu: 1}, B: {vcpu: 0}}
steps:
  - {hold: A, at: one, when: "x != 0", limit: 30}
  - {hold: A, at: {word: "x->y", becomes: 0}}
  - {run: B, until: [three, blocked, done]}
  - release: all
endings:
  - {id: first, title: f, when: [{counters: {OutRsts: 1}}]}
"""


@pytest.fixture
def race() -> Race:
    return parse(RACE, Race, "my.yaml")


def test_a_way_is_cut_where_the_actor_is_held(race: Race) -> None:
    ways = pieces(race)
    assert [piece.text() for piece in ways["A"]] == [
        "A to one",
        "A to x->y becomes 0",
        "A to its end",
    ]
    assert ways["B"] == [Piece("B", 1)]
    assert ways["A"][0].when == "x != 0"


@given(st.integers(1, 4), st.integers(1, 4))
def test_every_order_comes_once_and_keeps_each_way(first: int, second: int) -> None:
    ways = {
        name: [Piece(name, n, Place(entry=[f"f{n}", "g"])) for n in range(size)]
        for name, size in (("A", first), ("B", second))
    }
    found = list(orders(ways))
    assert len(found) == len(set(found)) == comb(first + second, first)
    for order in found:
        for name, way in ways.items():
            assert [piece for piece in order if piece.actor == name] == way


def test_an_order_as_steps(race: Race) -> None:
    ways = pieces(race)
    made = steps((ways["A"][0], ways["B"][0], *ways["A"][1:]), race)
    assert [step.actor for step in made] == ["A", "B", "A", "A", None]
    assert made[0].targets[0] == Place(entry="one")
    assert made[0].when == "x != 0"
    assert made[0].limit == 30
    # What the race's own steps wait for is a stop on the way, of that actor alone.
    assert made[1].targets == ["done", "blocked", Place(entry="three")]
    assert made[2].targets == [Place(word="x->y", becomes=0), "done", "blocked"]
    assert made[-1].release == "all"


@pytest.mark.parametrize(
    ("came", "beginning", "why"),
    [
        (["one", "done", "x->y becomes 0", "done"], None, ""),
        (["done", "done", "", ""], 1, "A had ended before one"),
        (["one", "blocked", "", ""], 2, "B waited for A there"),
        (["one", "done", "done", ""], 3, "A had ended before x->y becomes 0"),
    ],
)
def test_what_another_order_need_not_show_again(
    race: Race, tmp_path: Path, came: list[str], beginning: int | None, why: str
) -> None:
    ways = pieces(race)
    order: Order = (ways["A"][0], ways["B"][0], *ways["A"][1:])
    (tmp_path / "events.jsonl").write_text(
        "".join(
            json.dumps({"v": 1, "race": {"step": at, "reached": what}}) + "\n"
            for at, what in enumerate(came, 1)
            if what
        )
    )
    said = decided(order, RoundResult(1, LegDir(tmp_path)), race)
    assert said == (None if beginning is None else (order[:beginning], why))


@pytest.mark.parametrize(("pid", "trouble"), [(0, "timeout"), (7, "timeout"), (0, "")])
def test_an_order_in_which_somebody_would_have_to_sleep(
    race: Race, tmp_path: Path, pid: int, trouble: str
) -> None:
    ways = pieces(race)
    order: Order = (*ways["B"], *ways["A"])
    event = {"v": 1, "task": {"pid": pid}, "race": {"step": 1, "reached": "timeout"}}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    said = sleeper(order, RoundResult(1, LegDir(tmp_path), trouble=trouble), race)
    possible = pid != 0 or not trouble
    assert said == (None if possible else (order[:1], "cannot be: B sleeps until A goes on"))
