"""``kernlab show``: a run's events again."""

from __future__ import annotations

import typer

from kernlab.cli import common, complete

app = typer.Typer(add_completion=False)


@app.command("show")
def show(
    name: str = typer.Argument(
        "latest",
        metavar="RUN",
        help="A run's id or directory, or latest.",
        autocompletion=complete.runs,
    ),
    where: str = typer.Option(
        "", "--where", metavar="EXPR", help="Only events for which this is true."
    ),
    full: bool = typer.Option(
        False, "--full", help="Show each frame on a line of its own, instead of the folded stack."
    ),
    raw: bool = typer.Option(
        False, "--raw", help="Sequence numbers and windows as on the wire, not relative or scaled."
    ),
    json: common.JsonOption = False,
) -> None:
    """Show a run's events again, filtered as in trace, with what its workload printed."""
    from kernlab.cli.output import print_json, stdout, words_view
    from kernlab.decode import expr
    from kernlab.record import output
    from kernlab.record.expression import parse_where
    from kernlab.record.isn import Isns
    from kernlab.record.rundir import find
    from kernlab.record.store import read_events
    from kernlab.sinks.terminal import TraceView

    expression = parse_where(where).expr
    run = find(name, "events.jsonl")
    view = TraceView(stdout(), "full" if full else "fold", raw=raw)
    view.count_from(Isns.kept(run.capture))
    printed = words_view(json)
    words = output.read(run.output)
    shown = total = 0
    for event in read_events(run.events):
        if not json:
            for piece in output.before(words, total):
                printed.piece(piece.stream, piece.data)
            printed.flush()
        total += 1
        if not expr.passes(expression, event):
            continue
        shown += 1
        if json:
            print_json(event)
        else:
            view.event(event)
    if not json:
        for piece in words:
            printed.piece(piece.stream, piece.data)
        printed.flush()
        view.summary({"events": f"{shown} of {total}", "run": str(run.path)})
