"""``kernlab graph``: what a function calls, as a tree with durations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kernlab.cli import common, complete

if TYPE_CHECKING:
    from kernlab.trace.graph import GraphOutcome, GraphRequest

app = typer.Typer(add_completion=False)


@app.command("graph")
def graph(
    function: str = typer.Argument(
        ..., metavar="FUNC", autocompletion=complete.functions, help="A function of the kernel."
    ),
    depth: int = typer.Option(0, "--depth", metavar="N", help="Levels below FUNC; 0: all."),
    count: int = typer.Option(1, "--count", metavar="N", help="Calls of FUNC to show."),
    skip: int = typer.Option(0, "--skip", metavar="N", help="Calls of FUNC to pass over first."),
    full: bool = typer.Option(False, "--full", help="Every call, nothing folded."),
    timeout: float = typer.Option(60.0, "--timeout", metavar="S", help="Stop after S seconds."),
    workload: str = typer.Option(
        "http",
        "--workload",
        metavar="W",
        autocompletion=complete.workloads,
        help="http (default), http-in, udp-echo, bulk, none, ... or a guest command.",
    ),
    out: str | None = typer.Option(None, "--out", metavar="DIR", help="Run directory to make."),
    json: bool = common.JSON,
    kernel: str | None = common.KERNEL,
    image: str = common.IMAGE,
    add: list[str] = common.ADD,
    share: list[Path] = common.SHARE,
    memory: int = common.MEMORY,
    network: str = common.NETWORK,
) -> int:
    """Show what one call of FUNC called, and how long each took.

    Boots the lab kernel on one vCPU, sets the kernel's function_graph tracer, lets a workload
    run. What the compiler inlined is no call. The run directory keeps graph.json and graph.txt.
    """
    from kernlab.cli.output import print_json, reporter, stdout
    from kernlab.errors import BadInput
    from kernlab.pipeline import MachineOptions
    from kernlab.sinks import calls
    from kernlab.trace import graph as graphs

    request = graphs.GraphRequest(function, depth, count, skip, workload, timeout)
    graphs.check(request)
    # One vCPU: nothing runs beside the call, and no other vCPU executes what is patched.
    options = MachineOptions(1, memory, network=common.network_of(network))
    with reporter() as report:
        built, guest = common.artifacts(kernel, image, add, report)
        run = common.new_run(out)
        common.bring(share, run)
        try:
            outcome = graphs.graph(request, built, guest, options, run, report)
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
        _facts(request, outcome, built.release, str(run.path), json)
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
                f"{request.function} was never called: workload {request.workload} does not take "
                "that path; try another --workload, or a caller nearer to the wire (ip_rcv)"
            )
    if outcome.lost:
        facts["lost"] = f"{outcome.lost} events for which the ring buffer had no room; try --depth"
    facts["run"] = path
    console = Console(stderr=True) if json else stdout()
    for name, value in facts.items():
        console.print(Text(f"{name:<10}", "dim").append(value, ""), soft_wrap=True)
