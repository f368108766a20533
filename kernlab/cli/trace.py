"""``kernlab trace``: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from kernlab.cli import common, complete
from kernlab.cli.bootoptions import BootOptions, boot_options

if TYPE_CHECKING:
    from kernlab.sinks.groups import Groups
    from kernlab.trace.plan import Plan
    from kernlab.trace.run import Outcome

app = typer.Typer(add_completion=False)


_DEPTH = 64  # frames kept where --stack does not say


@app.command("trace")
@boot_options()
def trace(
    functions: list[str] = typer.Argument(
        None,
        metavar="[FUNC]...",
        autocompletion=complete.functions,
        help="Functions, globs ('tcp_v4_*') or lines (tcp_ipv4.c:1961) of the kernel.",
    ),
    preset: list[str] = typer.Option(
        [],
        "--preset",
        metavar="P",
        autocompletion=complete.presets,
        help="A named set of probes: handshake, rst, drop, ...",
    ),
    follow: list[str] = typer.Option(
        [],
        "--follow",
        metavar="P",
        autocompletion=complete.presets,
        help="Like --preset, but grouped by packet: the whole way of each (journey, receive, ...).",
    ),
    live: bool = typer.Option(
        False,
        "--live",
        help="Show one picture that is updated: connections, states, packets, rates.",
    ),
    where: str = typer.Option(
        "",
        "--where",
        metavar="EXPR",
        help="Only events for which this is true: 'port == 80 and flags has SYN'.",
    ),
    count: int | None = typer.Option(None, "--count", metavar="N", help="Stop after N events."),
    timeout: float = typer.Option(60.0, "--timeout", metavar="S", help="Stop after S seconds."),
    stack: int | None = typer.Option(
        None,
        "--stack",
        metavar="N",
        help="Keep and show N stack frames, 0: none. Default: keep 64, show the important ones.",
    ),
    full: bool = typer.Option(
        False, "--full", help="Show each frame on a line of its own, instead of the folded stack."
    ),
    show: list[str] = typer.Option(
        [], "--show", metavar="C-EXPR", help="A C expression to read at each hit: 'sk->sk_err'."
    ),
    returns: bool = typer.Option(
        False, "--return", help="Wait until each call returns, and show its return value."
    ),
    group_by: str = typer.Option(
        "", "--group-by", metavar="KEY", help="Count hits by stack, or by a field of the event."
    ),
    max_probes: int = typer.Option(
        64, "--max-probes", metavar="N", help="The most functions that a glob may match."
    ),
    workload: str | None = typer.Option(
        None,
        "--workload",
        metavar="W",
        autocompletion=complete.workloads,
        help="http (default), http-in, udp-echo, bulk, none, ... or a guest command.",
    ),
    engine: str = typer.Option(
        "gdb",
        "--engine",
        metavar="E",
        autocompletion=complete.engines,
        help="gdb stops the guest and sees everything; ftrace and bpf are fast; auto picks one.",
    ),
    buffer: int | None = typer.Option(
        None,
        "--buffer",
        metavar="KIB",
        help="Size of the buffer for each vCPU's events in the guest.",
    ),
    out: common.OutOption = None,
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> int:
    """Show packets, sockets and call stacks as they pass FUNC.

    Boots the lab kernel, runs a workload, and shows each call of FUNC: the packet, the socket, and
    the callers. The run directory keeps events.jsonl and capture.pcapng.
    """
    from contextlib import nullcontext

    from kernlab.cli.ends import until_unread
    from kernlab.cli.output import print_json, reporter, stdout, words_view
    from kernlab.errors import BadInput
    from kernlab.progress import Said
    from kernlab.record.expression import parse_where
    from kernlab.record.isn import Isns
    from kernlab.sinks.follow import FollowView
    from kernlab.sinks.groups import Groups
    from kernlab.sinks.live import LiveView
    from kernlab.sinks.terminal import StackStyle, TraceView
    from kernlab.trace import choice, presets, workloads
    from kernlab.trace import run as tracing
    from kernlab.trace.capture import growing
    from kernlab.trace.request import TraceRequest

    chosen = [presets.find(name) for name in [*preset, *follow]]
    if not functions and not chosen:
        raise BadInput(
            "no function to trace",
            f"a function of the kernel, or --preset: {', '.join(presets.names())}",
            "kernlab trace tcp_v4_rcv",
        )
    work = workloads.find(workload or (chosen[0].workload if chosen else "http"))
    request = TraceRequest(
        functions=tuple(functions or ()),
        where=parse_where(where or presets.common_where(chosen, bool(functions))),
        count=count,
        timeout=timeout,
        stack=_DEPTH if stack is None else stack,
        workload=work,
        presets=tuple(group for row in chosen for group in row.groups)
        + (presets.FREES if follow else ()),
        show=tuple(show),
        returns=returns,
        limit=max_probes,
        buffer=buffer,
    )
    auto = engine == choice.AUTO
    kind, why = choice.pick(request) if auto else (choice.find(engine), "")
    kind.check(request)
    groups = Groups(group_by) if group_by else None
    several = len(request.functions) + len(request.presets) > 1 or "*" in "".join(request.functions)
    view: FollowView | TraceView
    if follow:
        view = FollowView(stdout())
    else:
        style: StackStyle = "full" if full else "fold" if stack is None else "whole"
        view = TraceView(stdout(), style, several=several)
    # A dumb terminal cannot move: lines there, as without any.
    still = not stdout().is_terminal or stdout().is_dumb_terminal
    moving = LiveView(stdout()) if live and not still and not json else None

    words = words_view(json)

    def on_event(event: dict[str, Any]) -> None:
        words.flush()
        if groups is not None:
            groups.event(event)
        elif json:
            print_json(event)
        elif moving is not None:
            moving.event(event)
        else:
            view.event(event)

    with reporter() as report, moving or nullcontext():
        if auto:
            report(Said(f"--engine {kind.name}: {why}"))
        setting = boot.setting(report, out)
        run = setting.run
        if auto:
            picked = kind
            kind, why = choice.settle(picked, setting.kernel.config)
            if kind is not picked:
                kind.check(request)
                report(Said(f"--engine {kind.name}: {why}"))
        (moving or view).count_from(Isns.growing(growing(run.share)))
        try:
            plan, outcome = tracing.trace(
                request,
                kind,
                setting,
                until_unread(on_event),
                on_words=until_unread(lambda piece: words.piece(piece.stream, piece.data)),
            )
            words.flush()
        except BadInput:
            run.remove()  # refused before anything ran: nothing to keep
            raise
    run.result(
        reason=outcome.reason,
        events=outcome.events,
        hits=outcome.hits,
        filtered=outcome.filtered,
        lost=outcome.lost,
        seconds=round(outcome.seconds, 3),
    )
    if outcome.never_ran is not None:
        raise outcome.never_ran
    facts = _facts(plan, outcome, setting.kernel.release, str(run.path))
    page = common.keep_report(run) if outcome.events else None
    if page:
        facts["report"] = page
    if groups is not None:
        _draw_groups(groups, json)
    if json:
        from kernlab.sinks.console import Console

        TraceView(Console(stderr=True)).summary(facts)
    else:
        view.summary(facts)
    return 130 if outcome.reason == "interrupted" else 0


def _draw_groups(groups: Groups, json: bool) -> None:
    from kernlab.cli.output import print_json, stdout

    if not json:
        groups.draw(stdout())
        return
    for count, shared, first in groups.rows():
        if not isinstance(shared, str):
            shared = [frame["func"] for frame in first.get("stack") or []]
        print_json({"count": count, "group": shared, "probe": first["probe"]})


_ENDED = {
    "count": "the number asked for",
    "workload": "the workload ended",
    "timeout": "--timeout passed",
    "interrupted": "interrupted",
    "unread": "nobody reads the output",
}


def _facts(plan: Plan, outcome: Outcome, release: str, path: str) -> dict[str, str]:
    names = plan.names
    facts = {"events": f"{outcome.events} of {names} on Linux {release} ({_ENDED[outcome.reason]})"}
    if outcome.filtered:
        facts["filtered"] = f"{outcome.filtered} hits did not pass --where"
    if outcome.lost:
        facts["lost"] = ", ".join(f"{count} {where}" for where, count in outcome.lost.items())
    nothing = outcome.why_nothing(plan)
    if nothing:
        facts["why"] = nothing
    if len(plan.probes) > 1 and outcome.cost:
        rows = sorted(outcome.cost.items(), key=lambda row: -row[1].seconds)
        facts["cost"] = ", ".join(
            f"{name} {cost.stops} × {1000 * cost.seconds / cost.stops:.1f} ms"
            for name, cost in rows[:8]
        )
    for number, note in enumerate(outcome.notes, 1):
        facts[f"note {number}"] = note
    facts["capture"] = outcome.frames(path)
    facts["run"] = path
    return facts
