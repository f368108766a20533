"""What is said of a schedule before it runs, of its file alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernlab.lessons.race_check import problems

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / "configs" / "races").glob("*.yaml")), ROOT / "docs/examples/late.yaml"]
RACE = """\
title: t
idea: i
source: [s]
program: mine.c
actors:
  A: {vcpu: 1}
  B: {vcpu: 0}
steps:
  - {hold: A, at: [one, other]}
  - {run: B, until: [three, blocked, done]}
  - release: all
endings:
  - {id: first, title: f, fired: true, when: [{event: "race.reached == three"}]}
"""
PROGRAM = 'racing("A"); racing("B"); actor("B", 0, b_part); actor("A", 1, a_part);'


def said(tmp_path: Path, text: str, program: str = PROGRAM) -> list[str]:
    (tmp_path / "mine.c").write_text(program)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return [str(one).removeprefix(f"{path}:") for one in problems(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_race_has_no_problem(path: Path) -> None:
    assert problems(path) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("hold: A", "hold: B", 6, "actors: A has no step"),
        (
            "  - release: all",
            "  - release: all\n  - {run: B, until: done}",
            12,
            "step 4 is never taken: step 3 has released all",
        ),
        (
            "  - {hold: A, at: [one, other]}\n",
            "  - release: all\n  - {run: A, until: done}\n",
            9,
            "step 1 releases before any actor",
        ),
        ("[three, blocked, done]}", "done}\n  - {run: B, until: done}", 11, "step 3: B has ended"),
        (
            "until: [three,",
            "until: [{returns: three},",
            10,
            "step 2: B does not stand at the entry of three",
        ),
        ("[one, other]", "{word: 'x->y'}", 9, "warning: step 1: 'x->y' has the names"),
        ("reached == three", "reached == thre", 13, "never 'thre', did you mean three?"),
        ("reached == three", "actor == C", 13, "race.actor is never 'C'"),
        ("reached == three", "waits.kind == rcv", 13, "never 'rcv', did you mean rcu?"),
        ("fired: true", "fired: false", 12, "warning: endings: none has"),
        (
            "endings:\n",
            "endings:\n  - {id: first, title: f, when: [{log: x}]}\n",
            14,
            "there are two",
        ),
        ("mine.c", "r11", 4, "no guest program 'r11', did you mean 'r1'?"),
        ("hold: A", "hold: A, limti: 3", 9, "unknown key 'limti', did you mean 'limit'?"),
        ("hold: A", "hold: C", 1, "there is no actor 'C'"),
    ],
)
def test_a_problem_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in RACE
    found = said(tmp_path, RACE.replace(old, new))
    assert any(one.startswith(f"{line}: ") and words in one for one in found), found


def test_blocked_needs_somebody_who_stands(tmp_path: Path) -> None:
    free = RACE.replace("A: {vcpu: 1}", "A: {vcpu: 1, mark: false}").replace("hold: A", "hold: B")
    found = said(tmp_path, free.replace("[three, blocked, done]", "[blocked, done]"))
    assert any("no other actor is stopped, so B cannot be blocked" in one for one in found), found


def test_the_program_and_the_file_mean_the_same_actors(tmp_path: Path) -> None:
    (wrong,) = said(tmp_path, RACE, PROGRAM.replace('"B", 0', '"B", 1'))
    assert wrong == "7: actors: B is on vCPU 0 here and on 1 in mine.c"
    (mark,) = said(tmp_path, RACE, PROGRAM.replace('racing("B")', ""))
    assert mark.startswith('7: warning: actors: no racing("B")')
    assert said(tmp_path, RACE, "static void ask(const char *n) { racing(n); }") == []
