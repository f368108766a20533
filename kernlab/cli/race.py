"""``kernlab race``: races, forced by holding one vCPU while another runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from kernlab.cli import common, complete
from kernlab.cli.lessons import LANG, language_of
from kernlab.cli.race_explore import explore

if TYPE_CHECKING:
    from kernlab.config.text import Language
    from kernlab.race.floor import RoundResult
    from kernlab.race.runner import RaceResult

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.command("explore")(explore)


@app.callback()
def group() -> None:
    """Races: what shows once in a million connections, made to happen every time."""


@app.command("list")
def list_races(lang: str = LANG) -> None:
    """The races there are."""
    from kernlab.cli.output import stdout
    from kernlab.config.text import say
    from kernlab.race.model import find, ids

    for name in ids():
        title = say(find(name)[1].title, language_of(lang))
        stdout().print(f"  {name:<6} {title}", markup=False)


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
    from kernlab.cli.output import print_json, reporter
    from kernlab.pipeline import MachineOptions
    from kernlab.race import runner
    from kernlab.race.floor import Scene
    from kernlab.race.model import find

    path, found = find(race)
    language = language_of(lang)
    with reporter() as report:
        built, guest = common.artifacts(kernel, "busybox", [], report)
        directory = common.new_run(out)
        scene = Scene(path.stem, found, path, built, guest, MachineOptions(2, memory), directory)
        if natural:
            leg = runner.natural(scene, report)
        else:
            result = runner.run_race(
                scene, report, lambda one, again: _told(one, again, json), times
            )
    if natural:
        print_json({"race": path.stem, **leg.got})
        return 0
    directory.result(race=path.stem, endings=result.counts, again=len(result.again),
                     healthy=result.healthy)  # fmt: skip
    for one in result.rounds if json else ():
        print_json(_row(one))
    if not json:
        _summary(result, str(directory.path), language)
    return 0 if result.definite else 1


def _told(one: RoundResult, again: bool, json: bool) -> None:
    """A round, while the others still run."""
    from kernlab.cli.output import stdout

    if json:
        return
    how = one.ending.id if one.ending else f"{one.trouble}: {one.said}"
    way = " → ".join(one.reached)
    repeated = "  (done again)" if again else ""
    stdout().print(f"round {one.number:>3}  {how:<12} {way}{repeated}", markup=False)


def _summary(result: RaceResult, path: str, language: Language) -> None:
    from kernlab.cli.output import stdout
    from kernlab.config.text import say

    console = stdout()
    console.print(f"\n{result.id}  {say(result.race.title, language)}", markup=False)
    titles = {one.id: say(one.title, language) for one in result.race.endings}
    for key, count in result.counts.items():
        console.print(f"  {count:>4} × {key:<12} {titles.get(key, '')}", markup=False)
    health = "lives on" if result.healthy else result.health
    fired = f"fired {result.fired} of {len(result.rounds)}"
    console.print(f"{fired}, done again {len(result.again)}, guest {health}", markup=False)
    console.print(f"run   {path}", markup=False, soft_wrap=True)


def _row(one: RoundResult) -> dict[str, Any]:
    return {
        "round": one.number,
        "ending": one.ending.id if one.ending else None,
        "fired": bool(one.ending and one.ending.fired),
        **({"trouble": one.trouble, "said": one.said} if one.trouble else {}),
        "reached": one.reached,
    }

