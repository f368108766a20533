"""``kernlab race explore``: every order of a race's hold places, run once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernlab.cli import common, complete
from kernlab.cli.bootoptions import BootOptions, boot_options
from kernlab.cli.lessons import LANG, language_of

if TYPE_CHECKING:
    from kernlab.config.text import Language
    from kernlab.lessons.race import Race
    from kernlab.progress import Reporter
    from kernlab.race.explore import Order, Table
    from kernlab.race.floor import Scene

IdArgument = Annotated[str, typer.Argument(metavar="ID", autocompletion=complete.races)]
_ORDERS = 40
_SHOWN = 20  # of the orders that were not run


def scene_of(path: Path, race: Race, boot: BootOptions, out: str | None, report: Reporter) -> Scene:
    """A race with all that it is run on, made on the way, and a run directory. Raises
    ``BadInput`` for a file with a problem, before anything boots."""
    from kernlab.lessons.problems import refuse
    from kernlab.lessons.race_check import problems
    from kernlab.pipeline import symbols_for
    from kernlab.progress import Said
    from kernlab.race.against import against
    from kernlab.race.floor import Scene

    refuse(problems(path), "race")
    made = boot.artifacts(report)
    found = problems(path, against(symbols_for(made[0])))
    refuse(found, "race")
    for one in found:
        report(Said(str(one)))
    return Scene(path.stem, race, path, boot.setting(report, out, made, [path]))


@boot_options("share", "kernel", "memory")
def explore(
    race: IdArgument,
    orders: int = typer.Option(
        _ORDERS, "--orders", metavar="N", min=1, help="The most orders to run."
    ),
    lang: str = LANG,
    out: common.OutOption = None,
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> int:
    """Run every order of a race's hold places once: which order ends how."""
    from kernlab.cli.output import print_json, reporter
    from kernlab.lessons.race import find
    from kernlab.race import explore as exploring
    from kernlab.record.leg import write_json

    path, found = find(race)
    with reporter() as report:
        scene = scene_of(path, found, boot, out, report)
        directory = scene.run
        table = exploring.explore(scene, orders)
    rows = _rows(table)
    write_json(directory.path / "explore.json", rows)
    directory.result(
        race=path.stem,
        outcomes={key: len(row) for key, row in table.merged.items()},
        cut=len(table.cut),
        healthy=not table.health,
    )
    if json:
        for row in rows:
            print_json(row)
    else:
        _told(table, path.stem, language_of(lang), str(directory.path))
    failed = table.health or any(one.round.trouble for one in table.tried)
    return 1 if failed else 0


def _rows(table: Table) -> list[dict[str, Any]]:
    endings = {one.id: one for one in table.race.endings}
    tried = [
        {
            "order": _words(one.order),
            "outcome": one.outcome,
            "round": one.round.number,
            "fired": one.outcome in endings and endings[one.outcome].fired,
            "reached": one.round.reached,
        }
        for one in table.tried
    ]
    cut = [
        {"order": _words(one.order), "cut": one.why, **({"like": one.same} if one.same else {})}
        for one in table.cut
    ]
    return [*tried, *cut]


def _words(order: Order) -> list[str]:
    return [piece.text() for piece in order]


def _told(table: Table, name: str, language: Language, path: str) -> None:
    from rich.table import Table as Rows
    from rich.text import Text

    from kernlab.cli.output import stdout
    from kernlab.config.text import say

    console = stdout()
    console.print(f"{name}  {say(table.race.title, language)}")
    for row in table.pieces.values():
        for piece in row:
            console.print(f"  {piece.actor}{piece.number}  {piece.text()}")
    endings = {one.id: one for one in table.race.endings}
    shown = Rows("#", "order", "outcome", box=None, pad_edge=False, show_edge=False)
    numbers = {id(one): at for at, one in enumerate(table.tried, 1)}
    for outcome, rows in table.merged.items():
        end = endings.get(outcome)
        words = Text(say(end.title, language) if end else outcome)
        if end is not None and end.fired:
            words.stylize("bold red")
        for one in rows:
            shown.add_row(str(numbers[id(one)]), _short(one.order), words)
            words = Text('  "')
    console.print()
    console.print(shown)
    if table.cut:
        console.print("\nnot run:")
        for cut in table.cut[:_SHOWN]:
            like = f", like {cut.same}" if cut.same else ""
            console.print(f"  {_short(cut.order)}  {cut.why}{like}")
        if len(table.cut) > _SHOWN:
            console.print(f"  and {len(table.cut) - _SHOWN} more: explore.json")
    ran = f"{len(table.tried)} orders run, {len(table.cut)} cut, {len(table.merged)} outcomes"
    console.print(f"\n{ran}, guest {table.health or 'lives on'}")
    console.print(f"run   {path}", soft_wrap=True)


def _short(order: Order) -> str:
    return " ".join(f"{piece.actor}{piece.number}" for piece in order)
