"""``kernlab graph``: what a function calls, as a tree with durations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kernlab.cli import common, complete
from kernlab.cli.bootoptions import BootOptions, boot_options

if TYPE_CHECKING:
    from kernlab.trace.graph import GraphOutcome, GraphRequest

app = typer.Typer(add_completion=False)


@app.command("graph")
# One vCPU: nothing runs beside the call, and no other vCPU executes what is patched.
@boot_options(cpus=1)
def graph(
    function: str = typer.Argument(
        ..., metavar="FUNC", autocompletion=complete.functions, help="A function of the kernel."
    ),
    depth: int = typer.Option(
        0, "--depth", metavar="N", help="How many levels below FUNC to show; 0 for all."
    ),
    count: int = typer.Option(1, "--count", metavar="N", help="How many calls of FUNC to show."),
    skip: int = typer.Option(
        0, "--skip", metavar="N", help="How many calls of FUNC to skip first."
    ),
    full: bool = typer.Option(False, "--full", help="Show every call; fold nothing."),
    timeout: float = typer.Option(60.0, "--timeout", metavar="S", help="Stop after S seconds."),
    workload: str = typer.Option(
        "http",
        "--workload",
        metavar="W",
        autocompletion=complete.workloads,
        help="http (default), http-in, udp-echo, bulk, none, ... or a guest command.",
    ),
    out: common.OutOption = None,
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> int:
    """Show what one call of FUNC calls, and how long each call takes.

    Boots the lab kernel on one vCPU, sets the kernel's function_graph tracer and runs a workload.
    Inlined functions do not show. The run directory keeps graph.json and graph.txt.
    """
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.errors import BadInput
    from kernlab.sinks import calls
    from kernlab.trace import graph as graphs
    from kernlab.trace import workloads

    request = graphs.GraphRequest(function, depth, count, skip, workloads.find(workload), timeout)
    with reporter() as report:
        setting = boot.setting(report, out)
        run = setting.run
        try:
            outcome = graphs.graph(request, setting)
        except BadInput:
            run.remove()
            raise
    run.result(reason=outcome.reason, calls=outcome.seen, lost=outcome.lost)
    run.graph_json.write_text(_json(outcome), "utf-8")
    run.graph_text.write_text("\n".join(calls.text(one) for one in outcome.graphs), "utf-8")
    for one in outcome.graphs:
        if json:
            print_json(one.as_data())
        else:
            calls.draw(one, stdout(), full)
    if not json or not outcome.graphs:
        _facts(request, outcome, setting.kernel.release, str(run.path), json)
    return 130 if outcome.reason == "interrupted" else 0


def _json(outcome: GraphOutcome) -> str:
    import json

    return json.dumps([one.as_data() for one in outcome.graphs], indent=1) + "\n"


def _facts(
    request: GraphRequest, outcome: GraphOutcome, release: str, path: str, json: bool
) -> None:
    from rich.text import Text

    from kernlab.cli.output import stdout
    from kernlab.sinks.console import Console

    facts = {}
    if len(outcome.graphs) < request.count:
        names = {
            "workload": "the workload ended",
            "timeout": "--timeout passed",
            "interrupted": "interrupted",
            "count": "",
        }
        facts["calls"] = (
            f"{outcome.seen} of {request.function} on Linux {release} "
            f"({names[outcome.reason]}); asked for: {request.count}"
            + (f" after {request.skip}" if request.skip else "")
        )
        if not outcome.seen and outcome.reason != "interrupted":
            facts["why"] = (
                f"{request.function} was never called: workload {request.workload.name} does not "
                "take that path; try another --workload, or a caller nearer to the wire (ip_rcv)"
            )
    if outcome.lost:
        facts["lost"] = f"{outcome.lost} events lost because the ring buffer was full; try --depth"
    facts["run"] = path
    console = Console(stderr=True) if json else stdout()
    for name, value in facts.items():
        console.print(Text(f"{name:<10}", "dim").append(value, ""), soft_wrap=True)
