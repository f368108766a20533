"""``kernlab lab``: lessons with a verdict that a program checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kernlab.cli import common, complete, lessons
from kernlab.cli.bootoptions import BootOptions, boot_options

if TYPE_CHECKING:
    from kernlab.config.text import Language
    from kernlab.lessons.grade import Grade
    from kernlab.lessons.results import LabRequest, LabResult
    from kernlab.record.rundir import RunDir

app = typer.Typer(add_completion=False, no_args_is_help=True)

app.registered_commands += lessons.app.registered_commands
LANG, language_of = lessons.LANG, lessons.language_of


@app.callback()
def group() -> None:
    """Run lessons: each way that TCP sends a RST, and more, with a checked verdict."""


@app.command("run")
@boot_options("share", "kernel", "cpus", "memory")
def run(
    labs: list[str] = typer.Argument(
        None, metavar="[ID]...", autocompletion=complete.labs, help="Labs by id, or lab files."
    ),
    every: bool = typer.Option(False, "--all", help="All labs, one after the other."),
    no_gdb: bool = typer.Option(
        False, "--no-gdb", help="Run without a debugger: only counters, capture and results."
    ),
    times: int = typer.Option(
        1, "--times", metavar="N", min=1, max=1000, help="How often to run each lab, in one boot."
    ),
    quiz: bool = typer.Option(
        False, "--quiz", help="Ask for a prediction first, and give a score."
    ),
    answer: list[int] = typer.Option(
        [],
        "--answer",
        metavar="N",
        help="With --quiz: the number of a choice, so that nothing is asked.",
    ),
    lang: str = LANG,
    out: common.OutOption = None,
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> int:
    """Run labs: show the story, the stops, the verdict line by line, then the variants.

    Exits with 0 only if every verdict holds.
    """
    from kernlab.cli.output import stdout
    from kernlab.errors import BadInput
    from kernlab.lessons.results import every_lab, requested
    from kernlab.reasons.model import senders, table
    from kernlab.sinks.labs import LabView

    if quiz and times > 1:
        raise BadInput(
            "--quiz cannot be used with --times",
            "the quiz asks once, and --times repeats the lab",
            "without --times",
        )
    requests = requested(every_lab() if every else labs or [], times)
    language = language_of(lang)
    answers = _ask(requests, answer, language) if quiz else {}
    quiet = json or len(requests) > 3
    view = LabView(stdout(), language, quiet, () if quiet or no_gdb else senders(table()))
    results, directory = _run(
        requests,
        boot,
        out,
        gdb=not no_gdb,
        answers=answers,
        language=language,
        tell=(lambda told: None) if json else view.told,
    )
    rows = [_row(result) for result in results]
    directory.result(labs={result.request.name: result.holds for result in results})
    for row in rows if json else ():
        _print(row)
    if not json:
        view.summary(rows, str(directory.path), common.report_of(directory))
    for name in answers:
        _score(directory.path / name, json, language)
    return 0 if all(result.holds for result in results) else 1


def _run(
    requests: list[LabRequest],
    boot: BootOptions,
    out: str | None,
    gdb: bool,
    tell: Any,
    answers: dict[str, list[int | None]] | None = None,
    language: Language = "en",
) -> tuple[list[LabResult], RunDir]:
    from kernlab.cli.output import reporter
    from kernlab.lab import runner
    from kernlab.lessons import grade

    with reporter() as report:
        setting = boot.setting(report, out, named={one.path for one in requests})
        directory = setting.run
        for name, given in (answers or {}).items():
            grade.keep_answers(directory.path / name, given)
        results = runner.run_labs(requests, setting, tell, gdb=gdb, language=language)
    common.conclude(directory, language)
    return results, directory


@app.command("grade")
def grade_run(
    run: str = typer.Argument("latest", metavar="RUN", help="A lab's run directory, or latest."),
    lab: Path | None = typer.Option(
        None, "--lab", metavar="FILE", help="Judge by this lab file instead."
    ),
    lang: str = LANG,
    json: common.JsonOption = False,
) -> int:
    """Judge a run again from its directory alone, with verdict and score.

    A line fails if a file that it needs is missing or was changed. A shipped lab is judged by the
    shipped file.
    """
    from kernlab.cli.output import stdout
    from kernlab.config.yaml import load
    from kernlab.lessons.grade import grade, labs_of
    from kernlab.lessons.lab import Lab
    from kernlab.record.rundir import find
    from kernlab.sinks.labs import LabView

    other = load(lab, Lab) if lab is not None else None
    language = language_of(lang)
    found = labs_of(find(run, latest_with=("*/lab.yaml",)).path)
    grades = [grade(path, other, language) for path in found]
    view = LabView(stdout(), language)
    for one in grades:
        if json:
            _print(
                {
                    "lab": one.name,
                    "holds": one.holds,
                    "errors": dict(one.errors),
                    **({"said": list(one.said)} if one.said else {}),
                    "legs": {
                        name: [line.as_data() for line in lines] for name, lines in one.legs.items()
                    },
                    **_quiz_data(one),
                }
            )
        else:
            view.grade(one)
    return 0 if all(one.holds for one in grades) else 1


@app.command("compare")
@boot_options("cpus", "memory")
def compare(
    lab: lessons.IdArgument,
    kernel: common.KernelsOption,
    no_gdb: bool = typer.Option(False, "--no-gdb", help="Without a debugger."),
    lang: str = LANG,
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> int:
    """Run a lab on several kernels and show where they differ."""
    from kernlab.cli.output import stdout
    from kernlab.errors import BadInput
    from kernlab.lessons.grade import compare as compared
    from kernlab.lessons.grade import grade
    from kernlab.lessons.results import requested
    from kernlab.sinks.labs import LabView

    if len(kernel) < 2:
        raise BadInput(
            "a comparison needs two kernels or more", "", f"--kernel {kernel[0]} --kernel 6.12"
        )
    requests = requested([lab])
    view = LabView(stdout(), language_of(lang))
    grades: dict[str, list[Grade]] = {}
    for version in kernel:
        there = replace(boot, kernel=version)
        _, directory = _run(requests, there, None, gdb=not no_gdb, tell=lambda told: None)
        release = str(directory.read().get("resolved", {}).get("release", version))
        grades[release] = [grade(directory.path / one.name) for one in requests]
    for number, one in enumerate(requests):
        same = [rows[number] for rows in grades.values()]
        rows = compared(same)
        if json:
            for row in rows:
                _print(
                    {
                        "lab": one.name,
                        "leg": row.leg,
                        "expected": row.expected,
                        "parts": row.parts,
                        "seen": dict(zip(grades, row.seen, strict=True)),
                        "holds": dict(zip(grades, row.holds, strict=True)),
                    }
                )
        else:
            view.compared(one.name, one.lab, list(grades), rows)
    return 0


def _print(value: Any) -> None:
    from kernlab.cli.output import print_json

    print_json(value)


def _row(result: LabResult) -> dict[str, Any]:
    return {
        "lab": result.request.title,
        "round": result.request.round,
        "holds": result.holds,
        "seconds": round(result.seconds, 2),
        "legs": [
            {
                "leg": leg.name,
                "holds": leg.holds,
                **({"error": leg.error} if leg.error else {}),
                "verdict": [line.as_data() for line in leg.lines],
                "rst": leg.rst,
            }
            for leg in result.legs
        ],
    }


def _ask(
    requests: list[LabRequest], given: list[int], language: Language
) -> dict[str, list[int | None]]:
    """Predictions for each lab, before anything runs. Raises ``BadInput``."""
    from kernlab.cli.output import stdout
    from kernlab.errors import BadInput
    from kernlab.sinks.lessons import question

    one = requests[0]
    if any(other.id != one.id for other in requests):
        raise BadInput(
            "--quiz works with one lab at a time", "", f"kernlab lab run {one.id} --quiz"
        )
    if not one.lab.predict:
        raise BadInput(f"{one.id} has no quiz", "its file has no 'predict'", "kernlab lab list")
    answers: list[int | None] = []
    for number, asked in enumerate(one.lab.predict):
        count = len(asked.choices)
        if number < len(given):
            picked = given[number]
        else:
            question(stdout(), number + 1, asked, language)
            text = typer.prompt(
                "  1" + (f"-{count}" if count > 1 else ""), default="", err=True, show_default=False
            )
            picked = int(text) if text.isdigit() else 0
        if picked > count or picked < 0:
            raise BadInput(
                f"--answer {picked}: question {number + 1} has {count} choices",
                "",
                f"--answer {count}",
            )
        answers.append(picked - 1 if picked else None)
    return {request.name: answers for request in requests[:1]}


def _score(directory: Path, json: bool, language: Language) -> None:
    from kernlab.cli.output import stdout
    from kernlab.lessons.grade import grade
    from kernlab.sinks.labs import LabView

    found = grade(directory)
    if json:
        _print({"lab": found.name, **_quiz_data(found)})
    else:
        LabView(stdout(), language).score(found)


def _quiz_data(found: Grade) -> dict[str, Any]:
    if not any(one.given is not None for one in found.quiz):
        return {}
    return {
        "score": sum(one.right for one in found.quiz),
        "questions": len(found.quiz),
        "answers": [None if one.given is None else one.given + 1 for one in found.quiz],
        "truth": [None if one.truth is None else one.truth + 1 for one in found.quiz],
    }
