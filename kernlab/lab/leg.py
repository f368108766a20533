"""A leg of a lab: its run, and what is judged and explained of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from kernlab.config.text import Language
from kernlab.leg.run import Recorder, Run, Setup, growing, trouble
from kernlab.lessons.lab import Part
from kernlab.lessons.results import LabRequest, LegResult, Tell, Told
from kernlab.reasons.match import findings
from kernlab.reasons.model import Reasons
from kernlab.reasons.report import completed
from kernlab.record.leg import load, write_json
from kernlab.record.rundir import RunDir
from kernlab.verdict.judge import judge
from kernlab.vm.machine import Machine


class Explain(NamedTuple):
    """What a leg is judged and explained by: the causes of RSTs, the kernel's tree for the lines
    that decided, the symbols that the labs ask for and whether it has them, and in which language
    a verdict is told."""

    reasons: Reasons
    source: Path
    symbols: Mapping[str, bool] = {}
    language: Language = "en"


def setup_of(request: LabRequest, part: Part, symbols: Mapping[str, bool] | None = None) -> Setup:
    """How a part of a lab is run. ``symbols``: which the kernel has, of those asked for."""
    lab = request.lab
    known = {name: symbols[name] for name in lab.symbols if name in symbols} if symbols else {}
    return Setup(
        name=request.name,
        program=part.program or "",
        args=tuple(part.args),
        sysctl=dict(part.sysctl),
        setup=tuple(part.setup),
        topology=lab.topology,
        family=request.family,
        timeout=lab.timeout,
        capture=lab.capture,
        symbols=known,
    )


def run_leg(
    request: LabRequest,
    name: str,
    part: Part,
    machine: Machine,
    run: RunDir,
    explain: Explain,
    recorder: Recorder | None,
    tell: Tell,
    result: LegResult,
) -> None:
    """Run a leg and judge it into ``result``. Raises ``MachineFailed``, ``WeFailed``."""

    def hear(
        kind: str, text: str = "", value: str = "", event: dict[str, Any] | None = None
    ) -> None:
        tell(Told(kind, request, name, text, value, event))

    tell(Told("leg", request, name, capture=growing(run.share)))
    setup = setup_of(request, part, explain.symbols)
    one = Run(
        setup, machine, run.share, result.directory, recorder, hear, in_step=recorder is not None
    )
    one.run()
    leg = load(result.directory)
    if leg.events is not None:
        found = list(findings(leg.events, explain.reasons))
        result.explained = completed(found, leg.events, leg.segments, explain.source)
        write_json(result.directory.rst, result.rst)
        missing = {name: why for name, why in leg.missing.items() if name != "rst"}
        leg = replace(leg, rst=result.rst, missing=missing)
    result.error = trouble(one.status, one.said)
    result.lines = judge(part.verdict, leg, explain.language, request.lab.kernels)
    tell(Told("verdict", request, name, result=result))
