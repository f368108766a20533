"""``kernlab race``: races, forced by holding one vCPU while another runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from kernlab.cli import common, complete
from kernlab.cli.lessons import LANG, language_of

if TYPE_CHECKING:
    from kernlab.race.runner import RaceResult, RoundResult
    from kernlab.record.rundir import RunDir

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def group() -> None:
    """Races: what shows once in a million connections, made to happen every time."""


@app.command("run")
def run(
    race: str = typer.Argument(..., metavar="ID", autocompletion=complete.races),
    times: int = typer.Option(1, "--times", metavar="N", min=1, help="Rounds, from one boot."),
    natural: bool = typer.Option(
        False, "--natural", help="Unforced, as fast as it goes: how often does it fire?"
    ),
    lang: str = LANG,
    out: str | None = typer.Option(None, "--out", metavar="DIR", help="Run directory to make."),
    json: bool = common.JSON,
    kernel: str | None = common.KERNEL,
    memory: int = common.MEMORY,
) -> int:
    """Force a race, round after round; ends with 0 if every round came to a known ending."""
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.pipeline import MachineOptions
    from kernlab.race import runner
    from kernlab.race.model import find

    path, found = find(race)
    language = language_of(lang)
    with reporter() as report:
        built, guest = common.artifacts(kernel, "busybox", [], report)
        directory = common.new_run(out)
        options = MachineOptions(2, memory)
        if natural:
            leg = runner.natural(
                path.stem, found, path, built, guest, options, directory, report
            )
        else:
            result = runner.run_race(
                path.stem, found, path, built, guest, options, directory, report,
                lambda one, again: _told(one, again, json), times,
            )  # fmt: skip
    if natural:
        print_json({"race": path.stem, **leg.got})
        return 0
    directory.result(race=path.stem, endings=result.counts, again=len(result.again),
                     healthy=result.healthy)  # fmt: skip
    if json:
        for one in result.rounds:
            print_json(_row(one))
    _ = stdout, language
    typer.echo(str(result.counts) + f" again {len(result.again)} healthy {result.healthy} {result.health} {directory.path}", err=True)
    return 0 if result.definite else 1


def _told(one: RoundResult, again: bool, json: bool) -> None:
    typer.echo(f"round {one.number}: {one.ending.id if one.ending else one.trouble} {one.said} {one.reached} {'again' if again else ''}", err=True)


def _row(one: RoundResult) -> dict[str, Any]:
    return {
        "round": one.number,
        "ending": one.ending.id if one.ending else None,
        "fired": bool(one.ending and one.ending.fired),
        **({"trouble": one.trouble, "said": one.said} if one.trouble else {}),
        "reached": one.reached,
    }


_Unused = (RaceResult, RunDir) if TYPE_CHECKING else ()
