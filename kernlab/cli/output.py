"""Where commands write: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kernlab.progress import Advanced, Finished, Report, Reporter, Said, Started, Stopped

_FILE_WIDTH = 160  # columns where there is no terminal and COLUMNS says nothing


def stdout() -> Console:
    """For results; no colour when it is not a terminal, and lines as wide as they need."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    return console


def print_json(value: Any) -> None:
    """One object on one line."""
    sys.stdout.write(json.dumps(value, separators=(",", ":"), default=str) + "\n")
    sys.stdout.flush()


@contextmanager
def reporter() -> Iterator[Reporter]:
    """A reporter that draws on stderr: bars on a terminal, plain lines elsewhere."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with _Bars(console) as bars:
            yield bars
    else:
        yield _Lines(console)


class _Bars:
    """Bars that go away when a stage ends, leaving one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30),
            MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}", markup=True),
            console=console, transient=True,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._units: dict[str, str] = {}

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *about: object) -> None:
        self._progress.stop()

    def __call__(self, report: Report) -> None:
        if isinstance(report, Started):
            self._progress.start()
            scale = _scale(report.unit)
            self._units[report.stage] = report.unit
            total = report.total // scale if report.total else None
            self._tasks[report.stage] = self._progress.add_task(report.stage, total=total, note="")
        elif isinstance(report, Advanced):
            task = self._tasks.get(report.stage)
            if task is not None:
                scale = _scale(self._units.get(report.stage, ""))
                self._progress.update(
                    task, completed=report.done // scale, note=report.note[-40:],
                    total=report.total // scale if report.total else None,
                )  # fmt: skip
        elif isinstance(report, (Finished, Stopped)):
            task = self._tasks.pop(report.stage, None)
            if task is not None:
                self._progress.remove_task(task)
            self._console.print(_done(report), style="dim")
            if not self._tasks:
                self._progress.stop()
        elif isinstance(report, Said):
            self._console.print(report.text)


def _scale(unit: str) -> int:
    """Bytes are counted in MB."""
    return 1_000_000 if unit == "B" else 1


def _done(report: Finished | Stopped) -> str:
    if isinstance(report, Stopped):
        return f"✗ {report.stage}: {report.why}"
    return f"✓ {report.stage}" + (f": {report.note}" if report.note else "")


class _Lines:
    """A line when a stage begins and ends, and one for each tenth of it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, int] = {}

    def __call__(self, report: Report) -> None:
        if isinstance(report, Started):
            self._shown[report.stage] = 0
            self._console.print(f"{report.stage} ...", soft_wrap=True)
        elif isinstance(report, Advanced):
            if report.total:
                tenth = 10 * report.done // report.total
                if tenth > self._shown.get(report.stage, 0):
                    self._shown[report.stage] = tenth
                    self._console.print(f"{report.stage}: {10 * tenth} %", soft_wrap=True)
        elif isinstance(report, Finished):
            note = f" ({report.note})" if report.note else ""
            self._console.print(f"{report.stage}: done{note}", soft_wrap=True)
        elif isinstance(report, Stopped):
            self._console.print(f"{report.stage}: stopped ({report.why})", soft_wrap=True)
        elif isinstance(report, Said):
            self._console.print(report.text, soft_wrap=True)
