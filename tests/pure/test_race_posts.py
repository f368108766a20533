"""What is planted for a step: whom each post waits for, and where."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from kernlab.config.yaml import parse
from kernlab.decode.plans import PostSpec
from kernlab.lessons.locks import WaitRow
from kernlab.lessons.race import Race
from kernlab.race import posts
from kernlab.race.stage import END, MARK, Spot, Stage

RACE = parse(
    """
title: t
idea: i
source: [s]
program: mine.c
actors: {A: {vcpu: 1}, T: {vcpu: 0, task: false}}
steps:
  - hold: A
    at: one
    when: "x != 0"
  - hold: A
    at: {word: "x->y", becomes: 0}
  - hold: T
    at: one
    when: "x != 0"
  - run: A
    until: [{returns: three}, blocked, done]
  - release: all
endings:
  - {id: first, title: f, fired: true, when: [{counters: {OutRsts: 1}}]}
""",
    Race,
    "my.yaml",
)
MUTEX = WaitRow(kind="lock", at="mutex", sleeps=True, owner="owner()")
STAGE = Stage(
    cast(Any, SimpleNamespace()),
    {
        MARK: Spot(MARK, MARK, (1,)),
        END: Spot(END, END, (2,)),
        "one": Spot("one", "one", (3, 4)),
    },
    [
        Spot("spins", "spins", (5,), wait=WaitRow(kind="lock", at="spins")),
        Spot("mutex", "mutex", (6,), wait=MUTEX),
        Spot("asks", "asks", (7,), wait=WaitRow(kind="ipi", at="asks", when=["wait", "x & 1"])),
    ],
)


def rows(step: int) -> list[dict[str, Any]]:
    return [
        {
            name: value
            for name, value in post.spec.items()
            if value is not False and value not in (None, [])
        }
        for post in posts.targets(RACE.steps[step], RACE, STAGE)
    ]


def test_marks_are_of_those_who_do_not_stand_there() -> None:
    found = posts.marks(RACE, STAGE, set())
    assert [(post.kind, post.actor, post.spot.name) for post in found] == [("mark", "A", MARK)]
    assert found[0].spec.keys() == PostSpec.__annotations__.keys()
    assert posts.marks(RACE, STAGE, {"A"}) == []
    assert (found[0].spec["cpu"], found[0].spec["task"], found[0].spec["address"]) == (1, "A", 1)


def test_a_step_may_end_at_each_of_its_targets() -> None:
    mine = {"cpu": 1, "task": "A", "or_task": "ksoftirqd/1"}
    assert rows(0) == [{**mine, "when": ["x != 0"], "address": at} for at in (3, 4)]
    word = posts.targets(RACE.steps[1], RACE, STAGE)
    assert [(p.spec["address"], p.spec["word"], p.spec["becomes"]) for p in word] == [
        (None, "x->y", 0)
    ]
    timer = {"cpu": 0, "or_task": "ksoftirqd/0", "anywhere": True, "when": ["x != 0"]}
    assert rows(2) == [{**timer, "address": at} for at in (3, 4)]
    back, done = posts.targets(RACE.steps[3], RACE, STAGE)
    assert (back.reached, back.spec["address"], back.spec["word"]) == (
        "return of three",
        None,
        None,
    )
    assert (done.reached, done.spec["address"], done.spec["or_task"]) == ("done", 2, None)


def test_only_who_sleeps_must_be_the_actor_itself() -> None:
    found = list(posts.waits("A", RACE.actors["A"], STAGE, [61]))
    assert [(post.spot.name, post.spec["task"]) for post in found] == [
        ("spins", None),
        ("mutex", "A"),
        ("asks", None),
    ]
    assert {(post.kind, post.reached) for post in found} == {("wait", "blocked")}
    assert [post.spec["when"] for post in found] == [[], ["owner() == 61"], ["wait", "x & 1"]]
