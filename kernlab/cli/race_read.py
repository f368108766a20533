"""The commands of ``kernlab race`` that boot nothing: list, show, validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kernlab.cli import common, complete
from kernlab.cli.lessons import LANG, language_of

if TYPE_CHECKING:
    from kernlab.config.text import Language
    from kernlab.kernel.model import Kernel
    from kernlab.race.stage import Stage

app = typer.Typer(add_completion=False)


@app.command("list")
def list_races(lang: str = LANG, json: common.JsonOption = False) -> None:
    """List the races."""
    from kernlab.cli.output import print_json, stdout
    from kernlab.config.text import say
    from kernlab.lessons.race import find, ids

    for name in ids():
        race = find(name)[1]
        title = say(race.title, language_of(lang))
        if json:
            print_json({"id": name, "title": title, "endings": [one.id for one in race.endings]})
        else:
            stdout().print(f"  {name:<6} {title}")


@app.command("show")
def show(
    name: str = typer.Argument(
        "latest",
        metavar="ID|RUN",
        autocompletion=complete.races_and_runs,
        help="A race (its lesson), or a run's id or directory, or latest (its picture).",
    ),
    number: int | None = typer.Option(
        None, "--round", metavar="N", help="With a run: show this round, not the first that fired."
    ),
    lang: str = LANG,
    kernel: common.KernelOption = None,
) -> None:
    """Show a race, with the places of its steps on a kernel that is built, or the picture of a run.

    Boots nothing.
    """
    from kernlab.errors import BadInput
    from kernlab.record.rundir import find as find_run

    language = language_of(lang)
    if _is_race(name):
        if number is not None:
            raise BadInput(
                f"--round {number} goes with a run", f"{name} is a race", "kernlab race show latest"
            )
        _lesson(name, kernel, language)
        return
    if name != "latest":
        find_run(name)  # says which names are near
    _picture(name, number, language)


def _is_race(name: str) -> bool:
    from kernlab.lessons.race import ids

    if name.endswith((".yaml", ".yml")):
        return True
    return name.lower() in {one.lower() for one in ids()}


def _lesson(name: str, kernel: str | None, language: Language) -> None:
    from kernlab.cli.output import stdout
    from kernlab.lessons.race import find
    from kernlab.race.compare import located
    from kernlab.sinks.races import lesson

    path, race = find(name)
    stage, release = _stage(path, kernel)
    places: dict[str, tuple[str, str]] = {}
    if stage is not None:
        places = located(race, stage)
    lesson(stdout(), path.stem, race, language, places, release)


def _stage(path: Path, kernel: str | None) -> tuple[Stage | None, str]:
    """The race's places on a kernel. Raises ``BadInput`` for one that it does not have."""
    from kernlab.lessons.race import find
    from kernlab.pipeline import symbols_for
    from kernlab.race.stage import stage

    built = _built(kernel)
    if built is None:
        return None, ""
    return stage(find(str(path))[1], symbols_for(built)), built.release


def _built(kernel: str | None) -> Kernel | None:
    """A kernel that was named, built if it has to be; the default one only where it is here."""
    from kernlab.cli.output import reporter
    from kernlab.kernel.model import BuildRequest
    from kernlab.pipeline import built_kernel, kernel_for

    built = built_kernel(kernel)
    if built is None and kernel is not None:
        with reporter() as report:
            built = kernel_for(BuildRequest(version=kernel), report)
    return built


def _picture(name: str, number: int | None, language: Language) -> None:
    from kernlab.cli.output import stdout
    from kernlab.errors import BadInput
    from kernlab.lessons.rounds import recorded, rounds, shown
    from kernlab.sinks.picture import picture
    from kernlab.sinks.races import rounds_table
    from kernlab.sinks.timeline_text import draw

    run, directory, race = recorded(name)
    told = rounds(directory)
    chosen = shown(race, told)
    if number is not None:
        chosen = next((one for one, note in told if note.get("round") == number), None)
    if chosen is None:
        numbers = ", ".join(str(note.get("round")) for _, note in told) or "none"
        raise BadInput(
            f"{run.id} has no round {number}", f"there are: {numbers}", "kernlab race show latest"
        )
    console = stdout()
    rounds_table(console, race, [note for _, note in told], language)
    draw(console, picture(race, run, chosen, language))
    console.print(f"\nrun   {run.path}", soft_wrap=True)


@app.command("validate")
def validate(
    files: list[Path] = typer.Argument(..., metavar="FILE...", help="Race files."),
    kernel: common.KernelOption = None,
) -> None:
    """Check race files: report every error with its line, and similar names.

    If a kernel is built, the places are looked up in it, and the locks that a step would wait for.
    """
    from kernlab.lessons.problems import refuse
    from kernlab.lessons.race_check import problems

    built = _built(kernel)
    if built is None:
        found = [one for path in files for one in problems(path)]
    else:
        from kernlab.pipeline import symbols_for
        from kernlab.race.against import against

        asked = against(symbols_for(built))
        found = [one for path in files for one in problems(path, asked)]
    for one in found:
        if not one.sure:
            typer.echo(str(one), err=True)
    refuse(found, "race")
    there = f", and {built.release} has their places" if built is not None else ""
    typer.echo(f"{len(files)} race files are in order{there}")
    if built is None:
        typer.echo("no kernel is built here: their places were not looked up", err=True)
