"""A leg of a lab: its run, and what is judged and explained of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from kernlab.config.text import Language
from kernlab.lab.model import Family, Lab, Part
from kernlab.leg.run import Recorder, Run, Setup, trouble
from kernlab.reasons.match import findings
from kernlab.reasons.model import Reasons
from kernlab.reasons.report import completed
from kernlab.record.leg import LegDir, load, write_json
from kernlab.record.rundir import RunDir
from kernlab.verdict.judge import Line, holds, judge
from kernlab.vm.machine import Machine


@dataclass(frozen=True)
class LabRequest:
    """One lab to run, from the file ``path``; ``round`` counts from 1."""

    id: str
    lab: Lab
    path: Path
    family: Family = "ipv4"
    round: int = 1

    @property
    def title(self) -> str:
        """Which lab it is, whatever the round."""
        return self.id if self.family == "ipv4" else f"{self.id}-{self.family}"

    @property
    def name(self) -> str:
        """The name of the directory of what it leaves. (No lab's id has a dot.)"""
        return self.title if self.round == 1 else f"{self.title}.{self.round}"


@dataclass
class LegResult:
    """How a leg ended. ``error``: why it could not be judged."""

    name: str
    directory: LegDir
    lines: list[Line] = field(default_factory=list)
    error: str = ""
    explained: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rst(self) -> list[dict[str, Any]]:
        """The RSTs' causes, in their order."""
        return [event["rst"] for event in self.explained]

    @property
    def holds(self) -> bool:
        return not self.error and holds(self.lines)


@dataclass(frozen=True)
class Told:
    """The story while it happens: a leg begins, a step, a result, an event, a leg's end."""

    kind: str  # leg | step | got | said | event | verdict
    request: LabRequest
    leg: str
    text: str = ""
    value: str = ""
    event: dict[str, Any] | None = None
    result: LegResult | None = None


Tell = Callable[[Told], None]


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

    tell(Told("leg", request, name))
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
