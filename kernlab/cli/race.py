"""``kernlab race``: races, forced by holding one vCPU while another runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kernlab.cli import common, race_read
from kernlab.cli.bootoptions import BootOptions, boot_options
from kernlab.cli.lessons import LANG, language_of
from kernlab.cli.race_explore import IdArgument, explore, scene_of

if TYPE_CHECKING:
    from kernlab.config.text import Language
    from kernlab.lessons.race import Race
    from kernlab.lessons.rounds import KernelRow
    from kernlab.race.floor import RoundResult, Scene
    from kernlab.race.runner import RaceResult
    from kernlab.record.rundir import RunDir

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.command("explore")(explore)

app.registered_commands += race_read.app.registered_commands


@app.callback()
def group() -> None:
    """Force races that otherwise happen once in a million connections."""


@app.command("run")
@boot_options("share", "kernel", "memory")
def run(
    race: IdArgument,
    times: int | None = typer.Option(
        None,
        "--times",
        metavar="N",
        min=1,
        help="How many rounds to run in one boot; tries, with --natural.",
    ),
    natural: bool = typer.Option(
        False,
        "--natural",
        help="Run the race unforced, as fast as possible, and count how often it fires.",
    ),
    lang: str = LANG,
    out: common.OutOption = None,
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> int:
    """Force a race, round after round.

    Exits with 0 if every round came to a known ending.
    """
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.lessons.race import find
    from kernlab.race import runner
    from kernlab.sinks.races import begin

    path, found = find(race)
    language = language_of(lang)
    with reporter() as report:
        scene = scene_of(path, found, boot, out, report)
        directory = scene.run
        if not json:
            begin(stdout(), scene.id, found, language)
        if natural:
            _natural(scene, times, json)
            return 0
        result = runner.run_race(
            scene,
            lambda one, again: _told(one, again, found, directory, language, json),
            times or 1,
        )
    _keep(result, directory)
    for one in result.rounds if json else ():
        print_json(_row(one))
    shown = _show(result, directory, language, json)
    common.conclude(directory, language)
    if not json:
        _summary(result, str(directory.path), language, shown, common.report_of(directory))
    return 0 if result.definite else 1


def _natural(scene: Scene, tries: int | None, json: bool) -> None:
    from kernlab.cli.output import print_json, stdout
    from kernlab.race.natural import natural

    found = natural(scene, tries)
    row: dict[str, Any] = {
        "race": scene.id,
        "tries": found.tries,
        "fired": found.fired,
        "got": found.got,
    }
    if found.window is not None:
        shortest, median = found.window
        row["window"] = {"shortest_ns": shortest, "median_ns": median, "of": found.windows}
    scene.run.result(**row)
    if json:
        print_json(row)
        return
    console = stdout()
    console.print(f"{scene.id}  fired {found.fired} of {found.tries} unforced")
    if found.window is not None:
        console.print(
            f"its window, with two kprobes in it: median {median} ns, "
            f"shortest {shortest} ns, of {found.windows}"
        )
    console.print(f"run   {scene.run.path}", soft_wrap=True)


@app.command("compare")
@boot_options("memory")
def compare(
    race: IdArgument,
    kernel: common.KernelsOption,
    times: int = typer.Option(
        3, "--times", metavar="N", min=1, help="How many rounds to run on each kernel."
    ),
    lang: str = LANG,
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> int:
    """Force a race on several kernels: show its ending and its places on each, and where they
    differ.

    Exits with 0 if every round came to a known ending.
    """
    from kernlab.cli.output import print_json, stdout
    from kernlab.errors import BadInput
    from kernlab.lessons.race import find
    from kernlab.sinks.races import compared

    if len(kernel) < 2:
        raise BadInput(
            "a comparison needs two kernels or more", "", f"--kernel {kernel[0]} --kernel 6.12"
        )
    language = language_of(lang)
    path, found = find(race)
    rows = [_on(replace(boot, kernel=version), path, found, times, language) for version in kernel]
    for row in rows if json else ():
        print_json(
            {
                "race": path.stem,
                "kernel": row.release,
                "endings": dict(row.counts),
                "again": row.again,
                "run": row.run,
                "places": {
                    text: {"name": name, "at": where} for text, (name, where) in row.places.items()
                },
                **({"missing": row.missing} if row.missing else {}),
            }
        )
    if not json:
        compared(stdout(), path.stem, found, rows, language)
    return 0 if all(row.definite for row in rows) else 1


def _on(boot: BootOptions, path: Path, race: Race, times: int, language: Language) -> KernelRow:
    """The race on one kernel. One that lacks a place has that as what was found."""
    from kernlab.cli.output import reporter
    from kernlab.errors import BadInput
    from kernlab.lessons.problems import refuse
    from kernlab.lessons.race_check import problems
    from kernlab.lessons.rounds import KernelRow
    from kernlab.pipeline import symbols_for
    from kernlab.race import compare, runner
    from kernlab.race.floor import Scene
    from kernlab.race.stage import stage
    from kernlab.record import left

    refuse(problems(path), "race")
    with reporter() as report:
        made = built, _ = boot.artifacts(report)
        try:
            places = stage(race, symbols_for(built))
        except BadInput as error:
            return KernelRow(built.release, missing=f"{error.what}: {error.why}")
        scene = Scene(path.stem, race, path, boot.setting(report, made=made, named=[path]))
        directory = scene.run
        result = runner.run_race(scene, lambda one, again: None, times)
    _keep(result, directory)
    _show(result, directory, language, quiet=True)
    left.keep(directory)
    return compare.row(built.release, result, places, str(directory.path))


def _keep(result: RaceResult, directory: RunDir) -> None:
    directory.result(
        race=result.id, endings=result.counts, again=len(result.again), healthy=result.healthy
    )


def _show(result: RaceResult, directory: RunDir, language: Language, quiet: bool) -> Path | None:
    """The picture of the first round that fired, or of the last; where it was written."""
    from kernlab.cli.output import stdout
    from kernlab.lessons.rounds import rounds, shown
    from kernlab.sinks.picture import keep, keep_shown
    from kernlab.sinks.timeline_text import draw

    chosen = shown(result.race, rounds(directory.path / result.id))
    if chosen is None:
        return None
    timeline = keep(result.race, directory, chosen, language)
    if not quiet:
        draw(stdout(), timeline)
    return keep_shown(timeline, directory)


def _told(
    one: RoundResult, again: bool, race: Race, directory: RunDir, language: Language, json: bool
) -> None:
    """A round, while the others still run."""
    from kernlab.cli.output import stdout
    from kernlab.sinks.picture import keep

    keep(race, directory, one.directory, language)
    if json:
        return
    how = one.ending.id if one.ending else f"{one.trouble}: {one.said}"
    way = " → ".join(one.reached)
    repeated = "  (done again)" if again else ""
    stdout().print(f"round {one.number:>3}  {how:<12} {way}{repeated}")


def _summary(
    result: RaceResult, path: str, language: Language, shown: Path | None, report: str
) -> None:
    from kernlab.cli.output import stdout
    from kernlab.config.text import say

    console = stdout()
    console.print(f"\n{result.id}  {say(result.race.title, language)}")
    titles = {one.id: say(one.title, language) for one in result.race.endings}
    for key, count in result.counts.items():
        console.print(f"  {count:>4} × {key:<12} {titles.get(key, '')}")
    health = "lives on" if result.healthy else result.health
    fired = f"fired {result.fired} of {len(result.rounds)}"
    console.print(f"{fired}, done again {len(result.again)}, guest {health}")
    console.print(f"run   {path}", soft_wrap=True)
    if shown is not None:
        console.print(f"SVG   {shown}", soft_wrap=True)
    console.print(f"report  {report}", soft_wrap=True)


def _row(one: RoundResult) -> dict[str, Any]:
    return {
        "round": one.number,
        "ending": one.ending.id if one.ending else None,
        "fired": bool(one.ending and one.ending.fired),
        **({"trouble": one.trouble, "said": one.said} if one.trouble else {}),
        "reached": one.reached,
    }
