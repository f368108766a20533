"""Runs labs one after the other on one booted machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from kernlab.config.text import Language
from kernlab.errors import MachineFailed
from kernlab.lab.leg import Explain, run_leg
from kernlab.lab.probes import lacking
from kernlab.leg.run import bring
from kernlab.lessons.lab import LAB_FILE, Lab
from kernlab.lessons.lab_check import c_read
from kernlab.lessons.problems import Problem, refuse
from kernlab.lessons.results import LabRequest, LabResult, LegResult, Tell
from kernlab.pipeline import Setting, booted, symbols_for
from kernlab.progress import Reporter, Said
from kernlab.reasons.model import Reasons, table
from kernlab.record.leg import LegDir
from kernlab.record.rundir import RunDir
from kernlab.rst import plan as detective
from kernlab.symbols.kernel import KernelSymbols
from kernlab.trace.engines.gdb import KIND, GdbEngine
from kernlab.trace.plan import Plan, make
from kernlab.trace.request import Show, TraceRequest
from kernlab.vm.machine import Machine
from kernlab.vm.mechanisms import BOOT


def run_labs(
    requests: Sequence[LabRequest],
    setting: Setting,
    tell: Tell,
    gdb: bool = True,
    language: Language = "en",
) -> list[LabResult]:
    """Run labs one after the other. A machine that breaks is replaced, and the lab that
    broke it has failed; the rest runs on."""
    run, report = setting.run, setting.report
    results: list[LabResult] = []
    left = list(requests)
    known = symbols_for(setting.kernel)
    symbols = known if gdb else None
    bring(
        {
            part.program: one.path.parent
            for one in requests
            for _, part in one.lab.legs()
            if part.program
        },
        run.share,
        report,
    )
    if symbols is not None:
        _look_up(requests, symbols, report)
    plans: dict[str, Plan] = {}
    asked = {name for one in requests for name in one.lab.symbols}
    explain = Explain(
        table() if gdb else {},
        setting.kernel.source,
        {name: known.map.has(name) for name in sorted(asked)},
        language,
    )
    if symbols is not None:
        for one in requests:
            if one.lab.debugger and one.title not in plans:
                plans[one.title] = _plan(one.lab, symbols, explain.reasons)
    needs = KIND.needs if plans else (BOOT,)
    broken = 0
    while left:
        try:
            first = next((plans[one.title] for one in left if one.title in plans), None)
            gdb_of = _GdbOf(first, symbols, run)
            with booted(setting, needs, gdb_of) as machine:
                while left:
                    request = left.pop(0)
                    plan = plans.get(request.title)
                    lab = _Lab(request, machine, run, explain, gdb_of.probing, plan, tell)
                    results.append(lab.result)
                    lab.run()
        except MachineFailed as error:
            if not results or results[-1].request.name in {one.name for one in left}:
                raise  # it never came up: no lab's fault
            results[-1].legs.append(
                LegResult("machine", LegDir(run.path), error=f"{error.what}\n{error.why}")
            )
            broken += 1
            if broken > 3:
                raise
    return results


def _look_up(requests: Sequence[LabRequest], symbols: KernelSymbols, report: Reporter) -> None:
    """Say once which probes this kernel does not have. Raises ``BadInput`` for one that no
    kernel has."""
    wrong: list[Problem] = []
    for path, lab in {one.path: one.lab for one in requests if one.lab.debugger}.items():
        errors, notes = lacking(path, lab, symbols)
        wrong += errors
        for note in notes:
            report(Said(note))
    refuse(wrong, "lab")


def _plan(lab: Lab, symbols: KernelSymbols, reasons: Reasons) -> Plan:
    """The lab's probes and the detective's."""
    rows = [row.places for row in lab.probes]
    read = c_read(lab)
    groups = [tuple(places) for places in rows if not _is_line(places)]
    shows = [
        Show(at, name, text)
        for row in lab.probes
        for at in row.places
        for name, text in [*row.show.items(), *((text, text) for text in read)]
    ]
    request = TraceRequest(
        functions=tuple(places[0] for places in rows if _is_line(places)),
        presets=(*groups, *detective.probes(reasons)),
        shows=(*shows, *detective.shows(reasons)),
    )
    return make(request, symbols)


def _is_line(places: list[str]) -> bool:
    return len(places) == 1 and ":" in places[0]


class _Probing:
    """One GDB for all labs of a machine: loading the kernel's debug info takes longest."""

    def __init__(self, engine: GdbEngine, machine: Machine) -> None:
        self._engine = engine
        self._machine = machine
        self._used = False

    @contextmanager
    def armed(self, plan: Plan) -> Iterator[GdbEngine]:
        """The engine with this plan's probes set while the block runs."""
        if self._used:
            self._engine.reload(plan)
        self._used = True
        self._engine.arm(self._machine)
        yield self._engine
        self._engine.finish()


class _GdbOf:
    """The GDB of a machine, started while that boots; none without a plan."""

    def __init__(self, plan: Plan | None, symbols: KernelSymbols | None, run: RunDir) -> None:
        self._plan, self._symbols, self._run = plan, symbols, run
        self.probing: _Probing | None = None

    def __call__(self, machine: Machine, stack: ExitStack) -> None:
        if self._symbols is None or self._plan is None:
            return
        engine = GdbEngine(self._plan, self._symbols, self._run.gdb_log, machine.sockets)
        self.probing = _Probing(stack.enter_context(engine), machine)
        engine.prepare()


class _Lab:
    def __init__(
        self,
        request: LabRequest,
        machine: Machine,
        run: RunDir,
        explain: Explain,
        probing: _Probing | None,
        plan: Plan | None,
        tell: Tell,
    ) -> None:
        self._explain = explain
        self.result = LabResult(request)
        self._request = request
        self._machine = machine
        self._run = run
        self._probing = probing
        self._plan = plan
        self._tell = tell

    def run(self) -> None:
        started = time.monotonic()
        kept = self._run.path / self._request.name / LAB_FILE
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._request.path, kept)
        with ExitStack() as stack:
            engine = None
            if self._plan is not None and self._probing is not None:
                engine = stack.enter_context(self._probing.armed(self._plan))
            for name, part in self._request.lab.legs():
                directory = LegDir(self._run.path / self._request.name / name)
                result = LegResult(name, directory)
                self.result.legs.append(result)
                run_leg(
                    self._request,
                    name,
                    part,
                    self._machine,
                    self._run,
                    self._explain,
                    engine,
                    self._tell,
                    result,
                )
        self.result.seconds = time.monotonic() - started
