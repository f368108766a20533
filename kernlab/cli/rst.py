"""``kernlab rst``: who sent this RST, and why?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kernlab.cli import common, complete
from kernlab.cli.bootoptions import BootOptions, boot_options

if TYPE_CHECKING:
    from kernlab.errors import BadInput
    from kernlab.rst.live import Detective

_TIMEOUT = 60.0  # seconds
app = typer.Typer(add_completion=False)


@app.command("rst", context_settings={"ignore_unknown_options": False})
@boot_options()
def rst(
    command: list[str] = typer.Argument(
        None,
        metavar="[-- CMD...] | explain FILE",
        help="A command for the guest; or a capture to explain.",
    ),
    workload: str | None = typer.Option(
        None, "--workload", metavar="W", autocompletion=complete.workloads, help="As in trace."
    ),
    lab: str | None = typer.Option(
        None,
        "--lab",
        metavar="ID",
        autocompletion=complete.labs,
        help="Run this lab's main part, and explain its RSTs.",
    ),
    where: str = typer.Option(
        "", "--where", metavar="EXPR", help="Only RSTs for which this is true: 'rst.cause == A1'."
    ),
    count: int | None = typer.Option(None, "--count", metavar="N", help="Stop after N RSTs."),
    timeout: float = typer.Option(_TIMEOUT, "--timeout", metavar="S", help="Stop after S seconds."),
    full: bool = typer.Option(False, "--full", help="Show the whole call stack."),
    out: common.OutOption = None,
    json: common.JsonOption = False,
    *,
    boot: BootOptions,
) -> int:
    """Find out who sent a RST, and why.

    Boots a guest, probes every function that sends a RST while CMD or a workload runs, and explains
    each RST: active or passive, the cause, the frame that decided and its source line, the values
    that were true there, counters, errno on both sides, and the remedy.

    `kernlab rst explain FILE.pcapng` explains the RSTs of a capture alone.
    """
    from kernlab.reasons.asked import known_causes
    from kernlab.reasons.model import table
    from kernlab.record.expression import parse_where

    words = list(command or ())
    expression, reasons = parse_where(where).expr, table()
    known_causes(expression, reasons)
    if words[:1] == ["explain"] and len(words) == 2:
        from kernlab.cli.explain import explain

        return explain(Path(words[1]), expression, json)
    if words[:1] == ["explain"]:
        raise _one_capture(words[1:])
    from kernlab.cli import rst_facts
    from kernlab.cli.ends import until_unread
    from kernlab.cli.output import print_json, reporter, stdout, words_view
    from kernlab.record.isn import Isns
    from kernlab.rst.live import Detective
    from kernlab.sinks.rst import RstView
    from kernlab.trace import choice
    from kernlab.trace import run as tracing
    from kernlab.trace.capture import growing

    _one_of(words, workload, lab)
    _in_range(count, timeout)
    if boot.share and not (words or workload or lab):
        raise _unused(boot.share[0])
    if lab is not None:
        _of_a_lab(lab, count, timeout, boot)
        from kernlab.cli.rst_lab import explain_lab

        return explain_lab(lab, expression, json, full, boot, out)
    request = _request(reasons, words, workload, timeout)
    view = RstView(stdout(), full)
    printed = words_view(json)

    def on_event(event: dict[str, Any]) -> None:
        printed.flush()
        (print_json if json else view.event)(event)

    with reporter() as report:
        setting = boot.setting(report, out)
        run = setting.run
        view.count_from(Isns.growing(growing(run.share)))
        detective = Detective(reasons, setting.kernel.source, expression, count)
        _, outcome = tracing.trace(
            request,
            choice.find("gdb"),
            setting,
            until_unread(on_event),
            detective,
            until_unread(lambda piece: printed.piece(piece.stream, piece.data)),
        )
        printed.flush()
    if detective.corrected:
        _correct(run.events, detective)
    run.result(
        reason=outcome.reason,
        rsts=detective.seen,
        events=outcome.events,
        foreign=len(detective.foreign),
        unseen=len(detective.unseen),
        uncaptured=len(detective.uncaptured),
        silent=[rst_facts.unsent(one.finding, one.why) for one in detective.silent],
    )
    if outcome.never_ran is not None:
        raise outcome.never_ran
    page = common.keep_report(run) if outcome.events else None
    told = rst_facts.facts(detective, outcome, str(run.path), timeout)
    if json:
        rst_facts.aside(told)
    else:
        view.summary({**told, "report": page} if page else told)
    return 130 if outcome.reason == "interrupted" else 0


def _correct(events: Path, detective: Detective) -> None:
    """Frames have other numbers in the complete capture than they had while it grew."""
    from kernlab.record.store import rewrite

    rewrite(events, {event["seq"]: event for event in detective.told if "seq" in event})


def _one_of(words: list[str], workload: str | None, lab: str | None) -> None:
    from kernlab.errors import BadInput

    given = [
        name
        for name, value in (("-- CMD", words), ("--workload", workload), ("--lab", lab))
        if value
    ]
    if len(given) > 1:
        raise BadInput(
            f"{' and '.join(given)} together",
            "only one thing can make the packets flow",
            "kernlab rst",
        )


def _in_range(count: int | None, timeout: float) -> None:
    from kernlab.errors import BadInput

    if count is not None and count < 1:
        raise BadInput(f"--count {count}: it must be at least 1", "", "--count 5")
    if timeout <= 0:
        raise BadInput(f"--timeout {timeout:g}: it must be more than 0 seconds", "", "--timeout 60")


def _of_a_lab(lab: str, count: int | None, timeout: float, boot: BootOptions) -> None:
    """Refuse what a lab's machine does not take: it would be passed over in silence."""
    from kernlab.errors import BadInput

    asked = [
        ("--count", count is not None),
        ("--timeout", timeout != _TIMEOUT),
        ("--image", boot.image != BootOptions.image),
        ("--add", bool(boot.add)),
        ("--network", boot.network != BootOptions.network),
    ]
    given = [name for name, there in asked if there]
    if given:
        raise BadInput(
            f"{', '.join(given)} together with --lab",
            "a lab brings its own machine and runs to its end; its file has its limit in seconds",
            f"kernlab rst --lab {shlex.quote(lab)}",
        )


def _one_capture(files: list[str]) -> BadInput:
    from kernlab.errors import BadInput

    one = shlex.quote(files[0]) if files else "FILE.pcapng"
    return BadInput(
        "explain reads one capture", f"{len(files)} are given", f"kernlab rst explain {one}"
    )


def _unused(path: Path) -> BadInput:
    """A file in the guest that nothing runs: the default workload is not what was asked for."""
    from kernlab.errors import BadInput

    return BadInput(
        f"--share {path}: no command uses it",
        "without a command, rst runs a connect() to a closed port",
        f"kernlab rst --share {shlex.quote(str(path))} -- {shlex.quote(f'/mnt/share/{path.name}')}",
    )


def _request(reasons: Any, words: list[str], workload: str | None, timeout: float) -> Any:
    from kernlab.rst import plan
    from kernlab.trace import workloads
    from kernlab.trace.request import TraceRequest

    return TraceRequest(
        functions=(),
        presets=(*plan.probes(reasons), *plan.watches(reasons)),
        shows=plan.shows(reasons),
        workload=workloads.of_command(words)
        if words
        else workloads.find(workload or "connect-closed"),
        timeout=timeout,
    )
