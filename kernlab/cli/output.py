"""Where commands write: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from kernlab.progress import Advanced, Finished, Report, Reporter, Said, Started, Stopped
from kernlab.sinks.console import Console

if TYPE_CHECKING:
    from kernlab.sinks.words import WordsView

_FILE_WIDTH = 160  # columns where there is no terminal and COLUMNS says nothing


def stdout() -> Console:
    """For results; no colour when it is not a terminal, and lines as wide as they need."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    return console


def stderr() -> Console:
    """For what is beside the results."""
    return Console(stderr=True, highlight=False)


def words_view(json: bool) -> WordsView:
    """For what a guest's program prints; with ``json`` stdout is the results' alone."""
    from kernlab.sinks.words import WordsView

    return WordsView(stderr() if json else stdout(), stderr())


def print_json(value: Any) -> None:
    """One object on one line."""
    sys.stdout.write(json.dumps(value, separators=(",", ":"), default=str) + "\n")
    sys.stdout.flush()


@contextmanager
def reporter() -> Iterator[Reporter]:
    """A reporter that draws on stderr: bars on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    with _Bars(console) if console.is_terminal else _Lines(console) as drawing:
        yield drawing


class _Count(ProgressColumn):
    """How much of how much, where a stage knows it."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


class _Time(ProgressColumn):
    """How long it has taken, and what is left by the pace of the last seconds."""

    def render(self, task: Task) -> Text:
        text = _minutes(task.finished_time if task.finished else task.elapsed)
        left = task.time_remaining
        return Text(text if not left else f"{text}, {_minutes(left)} left")


class _Note(ProgressColumn):
    """What a stage is at. It gives way where the terminal is narrow."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["note"], "dim", no_wrap=True, overflow="ellipsis")

    def get_table_column(self) -> Column:
        return Column()


def _minutes(seconds: float | None) -> str:
    whole = int(seconds or 0)
    return f"{whole // 60}:{whole % 60:02}"


class _Bars:
    """Bars that go away when a stage ends, leaving one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        fixed = Column(no_wrap=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=fixed, markup=False),
            BarColumn(bar_width=20, table_column=fixed),
            _Count(fixed),
            _Time(fixed),
            _Note(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._units: dict[str, str] = {}

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        _name_interrupted(kind, self._tasks, self)
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
                    task,
                    completed=report.done // scale,
                    note=report.note[-40:],
                    total=report.total // scale if report.total else None,
                )
        elif isinstance(report, (Finished, Stopped)):
            task = self._tasks.pop(report.stage, None)
            if task is not None:
                self._progress.remove_task(task)
            self._console.print(_done(report), style="dim")
            if not self._tasks:
                self._progress.stop()
        elif isinstance(report, Said):
            self._console.print(report.text)


def _name_interrupted(
    kind: type[BaseException] | None, open_stages: Iterable[str], report: Reporter
) -> None:
    """Say of the stages under way that a Ctrl-C (or a SIGTERM) ended them."""
    if kind is not None and issubclass(kind, KeyboardInterrupt):
        for stage in list(open_stages):
            report(Stopped(stage, "interrupted"))


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

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        _name_interrupted(kind, self._shown, self)

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
            self._shown.pop(report.stage, None)
            note = f" ({report.note})" if report.note else ""
            self._console.print(f"{report.stage}: done{note}", soft_wrap=True)
        elif isinstance(report, Stopped):
            self._shown.pop(report.stage, None)
            self._console.print(f"{report.stage}: stopped ({report.why})", soft_wrap=True)
        elif isinstance(report, Said):
            self._console.print(report.text, soft_wrap=True)
