"""Verdict, score and comparison, from what runs left: nothing is booted here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from kernlab.config.text import Language
from kernlab.config.yaml import load as load_yaml
from kernlab.errors import BadInput
from kernlab.lessons.lab import LAB_FILE, Lab, Question, is_id, shipped_as
from kernlab.record.left import Left
from kernlab.record.leg import Leg, LegDir, load, write_json
from kernlab.record.rundir import RunDir, parts
from kernlab.record.shapes import Quiz, read
from kernlab.verdict.judge import Line, holds, judge

_QUIZ = "quiz.json"


@dataclass(frozen=True)
class Answered:
    """A question with what was predicted and what is true; indices from 0, None for none."""

    question: Question
    given: int | None
    truth: int | None

    @property
    def right(self) -> bool:
        return self.given is not None and self.given == self.truth


@dataclass(frozen=True)
class Grade:
    """A lab of a run, judged again. ``errors`` of a leg: why its program did not end well, or
    what is not as the run left it; ``said``: what a reader should know of how it was judged."""

    name: str
    lab: Lab
    legs: Mapping[str, list[Line]]
    errors: Mapping[str, str]
    quiz: Sequence[Answered]
    said: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        return bool(self.legs) and not self.errors and all(map(holds, self.legs.values()))


def truth(question: Question, leg: Leg) -> int | None:
    """The choice whose predicate holds; None when it is not exactly one."""
    right = [
        number
        for number, choice in enumerate(question.choices)
        if all(line.holds for line in judge([choice.when], leg))
    ]
    return right[0] if len(right) == 1 else None


def keep_answers(directory: Path, answers: Sequence[int | None]) -> None:
    """Note predictions (indices from 0) in a lab's directory, made before the run."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / _QUIZ, {"answers": list(answers)})


def labs_of(run: Path) -> list[Path]:
    """The directories of the labs in a run, those that are gone too. Raises ``BadInput`` when
    there is none."""
    found = set(parts(run, LAB_FILE))
    told = RunDir(run).read().get("result")
    labs = told.get("labs") if isinstance(told, Mapping) else None
    for name in labs if isinstance(labs, Mapping) else ():
        if is_id(str(name)):
            found.add(run / str(name))
    if not found:
        raise BadInput(f"{run} contains no lab", f"no */{LAB_FILE} in it", "kernlab lab run L03")
    return sorted(found)


def grade(directory: Path, lab: Lab | None = None, language: Language = "en") -> Grade:
    """Judge a lab's directory again: by ``lab``, or else by the shipped lab of this name, or
    else, for a lab of one's own, by the file kept there. A file that is missing, or that is not
    the one that the run left, fails what needs it. Raises ``BadInput`` without a lab's file."""
    left = Left(directory.parent)
    said: list[str] = []
    if lab is None:
        lab, said = _lab_of(directory, left)
    legs: dict[str, list[Line]] = {}
    errors: dict[str, str] = {}
    main = Leg()
    for name, part in lab.legs():
        place = LegDir(directory / name)
        leg = load(place, left, left.debugger and lab.debugger)
        if name == "main":
            main = leg
        legs[name] = judge(part.verdict, leg, language, lab.kernels)
        if not place.results.exists():
            errors[name] = (
                "it did not run"
                if not left.wrong(place.results)
                else (f"its record is missing: {leg.missing['results']}")
            )
        elif "results" in leg.missing:
            errors[name] = leg.missing["results"]
        elif leg.status:
            errors[name] = f"the program ended with status {leg.status}: {leg.said}"
    quiz = directory / _QUIZ
    given = (read(quiz, Quiz, directory) or {}).get("answers", [])
    if left.wrong(quiz):
        said.append(f"{left.wrong(quiz)}: no prediction is counted")
        given = [None] * len(lab.predict)
    answers = [
        Answered(question, given[number] if number < len(given) else None, truth(question, main))
        for number, question in enumerate(lab.predict)
    ]
    return Grade(directory.name, lab, legs, errors, answers, said)


def _lab_of(directory: Path, left: Left) -> tuple[Lab, list[str]]:
    """By which lab a directory is judged, and what is to be said of that."""
    kept = directory / LAB_FILE
    wrong = left.wrong(kept) or ("" if kept.is_file() else f"{LAB_FILE} is missing")
    told = shipped_as(directory.name)
    if told is None:
        if not kept.is_file():
            raise BadInput(
                f"{directory}: the lab's file is missing",
                wrong,
                f"kernlab lab grade {shlex.quote(str(directory.parent))} --lab FILE",
            )
        return load_yaml(kept, Lab), [wrong] if wrong else []
    path, lab = told
    try:
        same = load_yaml(kept, Lab) == lab
    except BadInput:
        same = False
    if same:
        return lab, [wrong] if wrong else []
    wrong = wrong or f"{LAB_FILE} is not the shipped {path.name}"
    return lab, [f"{wrong}: judged by the shipped {path.name}; --lab FILE takes another"]


@dataclass(frozen=True)
class Parted:
    """A verdict's line on several kernels: what each saw, and whether they differ."""

    leg: str
    expected: str
    seen: tuple[str, ...]
    holds: tuple[bool | None, ...]

    @property
    def parts(self) -> bool:
        return len(set(self.holds)) > 1


def compare(grades: Sequence[Grade]) -> list[Parted]:
    """The same lab on several kernels, line by line. A leg that did not end well on one of
    them has that as what was seen."""
    rows = []
    for leg in dict.fromkeys(name for one in grades for name in one.legs):
        lines = [one.legs.get(leg, []) for one in grades]
        errors = tuple(one.errors.get(leg, "") for one in grades)
        if any(errors):
            rows.append(
                Parted(
                    leg,
                    "the program ends without an error",
                    tuple(error or "it does" for error in errors),
                    tuple(not error for error in errors),
                )
            )
        for same in zip_longest(*lines):
            told = next(line for line in same if line is not None)
            rows.append(
                Parted(
                    leg,
                    told.expected,
                    tuple(line.seen if line else "not judged on that kernel" for line in same),
                    tuple(line.holds if line else False for line in same),
                )
            )
    return rows
