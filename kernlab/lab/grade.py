"""Verdict, score and comparison, from what runs left: nothing is booted here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernlab.config.text import Language
from kernlab.config.yaml import load as load_yaml
from kernlab.errors import BadInput
from kernlab.lab.model import Lab, Question
from kernlab.lab.runner import LAB_FILE
from kernlab.record.leg import Leg, LegDir, load, read_json, write_json
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
    """A lab of a run, judged again. ``errors`` of a leg: why its program did not end well."""

    name: str
    lab: Lab
    legs: Mapping[str, list[Line]]
    errors: Mapping[str, str]
    quiz: Sequence[Answered]

    @property
    def holds(self) -> bool:
        return not self.errors and all(holds(lines) for lines in self.legs.values())


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
    """The directories of the labs in a run. Raises ``BadInput`` when there is none."""
    found = sorted(path.parent for path in run.glob(f"*/{LAB_FILE}"))
    if not found:
        raise BadInput(f"{run} holds no lab", f"no */{LAB_FILE} in it", "kernlab lab run L03")
    return found


def grade(directory: Path, lab: Lab | None = None, language: Language = "en") -> Grade:
    """Judge a lab's directory again, by the lab file kept there or another one."""
    lab = lab or load_yaml(directory / LAB_FILE, Lab)
    legs: dict[str, list[Line]] = {}
    errors: dict[str, str] = {}
    main = Leg()
    for name, part in lab.legs():
        place = LegDir(directory / name)
        if not place.results.exists():
            errors[name] = "it was not run"
            continue
        leg = load(place)
        if name == "main":
            main = leg
        legs[name] = judge(part.verdict, leg, language, lab.kernels)
        if leg.status:
            errors[name] = f"the program ended with status {leg.status}: {leg.said}"
    given = (read_json(directory / _QUIZ) or {}).get("answers", [])
    quiz = [
        Answered(question, given[number] if number < len(given) else None, truth(question, main))
        for number, question in enumerate(lab.predict)
    ]
    return Grade(directory.name, lab, legs, errors, quiz)


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
                    "the program ends well",
                    tuple(error or "it does" for error in errors),
                    tuple(not error for error in errors),
                )
            )
        for same in zip(*lines, strict=False):
            rows.append(
                Parted(
                    leg,
                    same[0].expected,
                    tuple(line.seen for line in same),
                    tuple(line.holds for line in same),
                )
            )
    return rows
