"""``kernlab trace``: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from kernlab.cli import common

if TYPE_CHECKING:
    from kernlab.trace.plan import Plan
    from kernlab.trace.run import Outcome

app = typer.Typer(add_completion=False)


@app.command("trace")
def trace(
    functions: list[str] = typer.Argument(..., metavar="FUNC...", help="Kernel functions."),
    where: str = typer.Option(
        "",
        "--where",
        metavar="EXPR",
        help="Only events for which this is true: 'port == 80 and flags has S'.",
    ),
    count: int | None = typer.Option(None, "--count", metavar="N", help="Stop after N events."),
    timeout: float = typer.Option(60.0, "--timeout", metavar="S", help="Stop after S seconds."),
    stack: int = typer.Option(64, "--stack", metavar="N", help="Frames to keep; 0: none."),
    full: bool = typer.Option(
        False, "--full", help="One line a frame instead of the folded stack."
    ),
    workload: str = typer.Option(
        "http",
        "--workload",
        metavar="W",
        help="http, http-in, connect-closed, bulk, none, or a guest command.",
    ),
    engine: str = typer.Option("gdb", "--engine", help="What carries it out: gdb."),
    out: str | None = typer.Option(None, "--out", metavar="DIR", help="Run directory to make."),
    json: bool = common.JSON,
    kernel: str | None = common.KERNEL,
    image: str = common.IMAGE,
    add: list[str] = common.ADD,
    cpus: int = common.CPUS,
    memory: int = common.MEMORY,
) -> int:
    """Show packets, sockets and call stacks as they pass FUNC.

    Boots the lab kernel, lets a workload run, and shows each call of FUNC: the packet, the
    socket, and who called. The run directory keeps events.jsonl and capture.pcapng.
    """
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.errors import BadInput
    from kernlab.pipeline import MachineOptions
    from kernlab.sinks.terminal import TraceView
    from kernlab.trace import run as tracing
    from kernlab.trace import workloads
    from kernlab.trace.plan import TraceRequest, check

    request = TraceRequest(tuple(functions), where, count, timeout, stack, workload)
    check(request)
    workloads.find(workload)
    if engine != "gdb":
        raise BadInput(
            f"--engine {engine}: there is no such engine", "there is: gdb", "--engine gdb"
        )
    view = TraceView(stdout(), "full" if full else "fold", several=len(functions) > 1)

    def on_event(event: dict[str, Any]) -> None:
        if json:
            print_json(event)
        else:
            view.event(event)

    with reporter() as report:
        built, guest = common.artifacts(kernel, image, add, report)
        run = common.new_run(out)
        try:
            plan, outcome = tracing.trace(
                request, built, guest, MachineOptions(cpus, memory), run, report, on_event
            )
        except BadInput:
            run.remove()  # refused before anything ran: nothing to keep
            raise
    run.result(
        reason=outcome.reason,
        events=outcome.events,
        hits=outcome.hits,
        filtered=outcome.filtered,
        seconds=round(outcome.seconds, 3),
    )
    facts = _facts(plan, outcome, built.release, str(run.path))
    if json:
        from rich.console import Console

        TraceView(Console(stderr=True, highlight=False)).summary(facts)
    else:
        view.summary(facts)
    return 130 if outcome.reason == "interrupted" else 0


_ENDED = {
    "count": "as many as asked for",
    "workload": "the workload ended",
    "timeout": "--timeout passed",
    "interrupted": "interrupted",
}


def _facts(plan: Plan, outcome: Outcome, release: str, path: str) -> dict[str, str]:
    names = ", ".join(plan.request.functions)
    facts = {"events": f"{outcome.events} of {names} on Linux {release} ({_ENDED[outcome.reason]})"}
    if outcome.filtered:
        facts["filtered"] = f"{outcome.filtered} hits did not pass --where"
    nothing = outcome.why_nothing(plan)
    if nothing:
        facts["why"] = nothing
    for number, note in enumerate(outcome.notes, 1):
        facts[f"note {number}"] = note
    facts["capture"] = f"{outcome.captured} frames in {path}/capture.pcapng"
    facts["run"] = path
    return facts
