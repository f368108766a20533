"""A libbpf program or a recipe's tool on a booted lab, alone or while packets flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Union

from kernlab.bpf import recipe, run
from kernlab.bpf.check import Lack, lacks, lacks_places
from kernlab.bpf.complaints import Complaints
from kernlab.bpf.recipe import Recipe, Watch
from kernlab.errors import BadInput
from kernlab.guest import bpf
from kernlab.guest.bpf import BpfProgram, BpfSource
from kernlab.kernel.model import Kernel
from kernlab.lessons.results import LabRequest, requested
from kernlab.pipeline import Setting, booted
from kernlab.progress import Reporter, Said
from kernlab.trace import workloads
from kernlab.trace.workloads import WorkloadRow
from kernlab.vm.channel import Sink

_NOT_FOUND = 127  # the shell's status, and the agent's, for a program that is not there

Packets = Union[WorkloadRow, LabRequest, None]
"""What makes packets while a tool is attached; None: it runs to its own end."""
Output = Callable[[int], Sink]
"""Where the bytes of stdout (1) and stderr (2) go."""


class Ended(NamedTuple):
    """A tool's exit status, and what is to be said of it where it failed."""

    status: int
    said: BadInput | None = None


class Built(NamedTuple):
    """A program for one kernel, and what it asks of that in vain."""

    source: BpfSource
    program: BpfProgram
    lacking: list[Lack]


def packets_of(workload: str | None, lab: str | None) -> Packets:
    """What is asked for by name; one of them at most. Raises ``BadInput``."""
    if workload is not None and lab is not None:
        raise BadInput(
            "--workload cannot be used with --lab",
            "only one thing can make the packets flow",
            "without --workload",
        )
    if workload is not None:
        return workloads.find(workload)
    return requested([lab])[0] if lab is not None else None


def build(source: BpfSource, kernel: Kernel, report: Reporter) -> Built:
    """Build a program, and tell what the kernel lacks: it may get along without. Raises
    ``BadInput`` for one that does not compile."""
    program = bpf.build(source, kernel, report)
    _, found = lacks(program.object, kernel)
    for lack in found:
        report(Said(f"{lack.what}: {lack.says}; {lack.instead}"))
    return Built(source, program, found)


def require(tool: Recipe, kernel: Kernel) -> None:
    """Raises ``BadInput`` where the kernel lacks a place that a recipe's tool attaches to."""
    for lack in lacks_places(tool.sections, kernel):
        raise BadInput(f"{lack.what}: {lack.says}", "the recipe's tool needs it", tool.instead)


def run_program(
    built: Built,
    args: Sequence[str],
    setting: Setting,
    packets: Packets,
    timeout: float | None,
    output: Output,
) -> Ended:
    """Run a program to its end, or while its packets flow. The verifier's words are made
    short; verifier.log in the run's directory has all of them."""
    argv = [run.place(built.program, setting.run), *args]
    work = _work(packets, setting)
    said = Complaints(output(2), setting.run.path / "verifier.log")
    with booted(setting) as machine:
        status = run.run_tool(argv, machine, setting.run, output(1), said.feed, work, timeout)
    said.close()
    setting.run.result(status=status)
    config = setting.kernel.config
    why = said.explain(built.source.kernel_side, config) if status else None
    why = why or run.crash(status, built.source)
    if status and why is None and built.lacking:
        one = built.lacking[0]
        why = f"the kernel refuses {one.what}", one.says, one.instead
    return Ended(status, BadInput(*why) if why is not None else None)


def run_recipe(
    tool: Recipe,
    args: Sequence[str],
    setting: Setting,
    packets: Packets,
    timeout: float | None,
    output: Output,
) -> Ended:
    """Run a recipe's tool while its packets flow."""
    argv = recipe.place(tool, list(args), f"/mnt/share/{run.MARK}", setting.run)
    work = _work(packets, setting)
    watch = Watch(tool.ready, setting.run.share / run.MARK)
    said, errors = (watch.on(number, output(number)) for number in (1, 2))
    with booted(setting) as machine:
        status = run.run_tool(argv, machine, setting.run, said, errors, work, timeout, tool.wait)
    setting.run.result(status=status)
    if status != _NOT_FOUND:
        return Ended(status)
    name = tool.command[0] if tool.command else "bpftrace"
    why = "configs/image-debian.yaml says where it comes from"
    return Ended(status, BadInput(f"the image has no {name}", why, tool.instead))


def _work(packets: Packets, setting: Setting) -> run.Work | None:
    if isinstance(packets, WorkloadRow):
        return run.for_workload(packets, setting.run, setting.report)
    if isinstance(packets, LabRequest):
        return run.for_lab(packets, setting.run, setting.report)
    return None
