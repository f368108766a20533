"""What can be said of a lab's file without running it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kernlab.config.programs import names as programs
from kernlab.config.programs import text_of
from kernlab.config.yaml import listed, load, near
from kernlab.decode import expr
from kernlab.errors import BadInput
from kernlab.lessons.lab import Lab
from kernlab.lessons.problems import Problem, of_file, refuse
from kernlab.reasons.model import table
from kernlab.record.expression import c_expressions
from kernlab.verdict.model import Check

_STEP = re.compile(r'\bstep\("([^"]+)"\)')


def problems(path: Path) -> list[Problem]:
    """Everything that is wrong with a lab's file."""
    try:
        lab = load(path, Lab)
    except BadInput as error:
        return of_file(path, error)
    text = path.read_text("utf-8")
    found = [*_programs(path, lab), *_steps(path, lab), *_causes(lab), *_kernels(lab)]
    return [Problem(path, _line(text, word), what) for word, what in found]


def c_read(lab: Lab) -> list[str]:
    """The C expressions that a lab's predicates on events name: to be read at its probes."""
    texts = []
    for check in checks(lab):
        for one in (check.event, *(check.events or ()), check.no_event):
            texts += c_expressions(expr.parse(one)) if one else []
    return list(dict.fromkeys(texts))


def require(paths: Iterable[Path]) -> None:
    """Raises ``BadInput`` with every problem of these files, before anything is run."""
    refuse([one for path in dict.fromkeys(paths) for one in problems(path)], "lab")


def _line(text: str, word: str) -> int:
    """The first line that has this word (1 when none has)."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", line):
            return number
    return 1


def _programs(path: Path, lab: Lab) -> Iterator[tuple[str, str]]:
    known = [name.removeprefix("labs/") for name in programs() if name.startswith("labs/")]
    for name in dict.fromkeys(part.program for _, part in lab.legs() if part.program):
        if text_of(name, path.parent) is None:
            close = near(name, known)
            hint = f", did you mean '{close[0]}'?" if close else ""
            yield name, f"program: there is no guest program '{name}'{hint}"


def _steps(path: Path, lab: Lab) -> Iterator[tuple[str, str]]:
    """The steps that the programs tell and those that the file has words for."""
    told: set[str] = set()
    for name in {part.program for _, part in lab.legs() if part.program}:
        told |= set(_STEP.findall(text_of(name, path.parent) or ""))
    for name in sorted(told - set(lab.steps)):
        yield "steps", f"steps: the program tells '{name}', the file has no words for it"
    for name in sorted(set(lab.steps) - told):
        close = near(name, told)
        hint = f", did you mean '{close[0]}'?" if close else ""
        yield name, f"steps: no program tells '{name}'{hint}"


def _causes(lab: Lab) -> Iterator[tuple[str, str]]:
    known = table()
    for check in checks(lab):
        for cause in check.cause or ():
            if cause not in known:
                close = near(cause, known)
                hint = f", did you mean {close[0]}?" if close else ""
                yield cause, f"cause: there is no '{cause}' in configs/reasons{hint}"


def _kernels(lab: Lab) -> Iterator[tuple[str, str]]:
    """The kernels that lines name and those that the file knows."""
    named = {name for _, part in lab.legs() for line in part.verdict for name in line.unless}
    for name in sorted(named - set(lab.kernels)):
        close = near(name, lab.kernels)
        hint = f", did you mean '{close[0]}'?" if close else ""
        yield name, f"unless: the file has no '{name}' among its kernels{hint}"
    for name in sorted(set(lab.kernels) - named):
        yield name, f"kernels: no line says what holds on '{name}' (unless: {{{name}: ...}})"


def checks(lab: Lab) -> Iterator[Check]:
    """Each predicate of a lab's legs and questions, without its negation."""
    for _, part in lab.legs():
        for line in part.verdict:
            for check in (line, *(one for rows in line.unless.values() for one in listed(rows))):
                while check.negated is not None:
                    check = check.negated
                yield check
    for question in lab.predict:
        for choice in question.choices:
            yield choice.when
