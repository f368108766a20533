"""``kernlab lab``: lessons with a verdict that a program checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from kernlab.cli import common, complete

if TYPE_CHECKING:
    from kernlab.lab.leg import LabRequest
    from kernlab.lab.runner import LabResult

app = typer.Typer(add_completion=False, no_args_is_help=True)

LANG: str = typer.Option("en", "--lang", metavar="LANG", help="en or zh (zh-CN).")


@app.callback()
def group() -> None:
    """Labs: every way TCP sends a RST, and more, each with a verdict that is checked."""


@app.command("run")
def run(
    labs: list[str] = typer.Argument(
        None, metavar="[ID]...", autocompletion=complete.labs, help="Labs, or a lab's file."
    ),
    every: bool = typer.Option(False, "--all", help="All labs, one after the other."),
    no_gdb: bool = typer.Option(
        False, "--no-gdb", help="Without a debugger: counters, capture and results alone."
    ),
    lang: str = LANG,
    out: str | None = typer.Option(None, "--out", metavar="DIR", help="Run directory to make."),
    json: bool = common.JSON,
    kernel: str | None = common.KERNEL,
    cpus: int = common.CPUS,
    memory: int = common.MEMORY,
) -> int:
    """Run labs: the story, the stops, the verdict line by line, then the variants.

    Ends with 0 only if every verdict holds.
    """
    from kernlab.cli.output import reporter, stdout
    from kernlab.lab import runner
    from kernlab.pipeline import MachineOptions
    from kernlab.sinks.labs import LabView

    requests = chosen(labs or [], every)
    view = LabView(stdout(), _language(lang), quiet=json or len(requests) > 3)
    with reporter() as report:
        built, guest = common.artifacts(kernel, "busybox", [], report)
        directory = common.new_run(out)
        results = runner.run_labs(
            requests, built, guest, MachineOptions(cpus, memory), directory, report,
            lambda told: view.told(told), gdb=not no_gdb,
        )  # fmt: skip
    return _finish(results, view, directory, json)


def _finish(results: list[LabResult], view: Any, directory: Any, json: bool) -> int:
    from kernlab.cli.output import print_json

    rows = [_row(result) for result in results]
    directory.result(labs={row["lab"]: row["holds"] for row in rows})
    if json:
        for row in rows:
            print_json(row)
    else:
        view.summary(rows, str(directory.path))
    return 0 if all(result.holds for result in results) else 1


def _row(result: LabResult) -> dict[str, Any]:
    return {
        "lab": result.request.name,
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


def _language(text: str) -> Any:
    from kernlab.errors import BadInput

    if text not in ("en", "zh"):
        raise BadInput(f"--lang {text}: there is no such language", "en, zh", "--lang zh")
    return text


def chosen(names: list[str], every: bool) -> list[LabRequest]:
    """The labs that are meant, each once for each family. Raises ``BadInput``."""
    from kernlab.errors import BadInput
    from kernlab.lab.leg import LabRequest
    from kernlab.lab.model import find, ids

    if every:
        names = ids()
    if not names:
        raise BadInput("which lab?", "an id, or --all", "kernlab lab list")
    found = []
    for name in names:
        key, lab = find(name)
        found += [LabRequest(key, lab, family) for family in lab.families]
    return found
