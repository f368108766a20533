"""One libbpf program in one machine, alone or while packets flow."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kernlab.errors import BadInput, MachineFailed
from kernlab.guest.bpf import BpfProgram, BpfSource
from kernlab.lab.leg import setup_of
from kernlab.leg.run import Run, bring, deaf, trouble
from kernlab.lessons.results import LabRequest
from kernlab.progress import Reporter
from kernlab.record.leg import LegDir
from kernlab.record.rundir import RunDir
from kernlab.trace import workloads
from kernlab.trace.workloads import WorkloadRow
from kernlab.vm.channel import GuestProcess, Sink
from kernlab.vm.machine import Machine
from kernlab.vm.share import put_program

_READY = 30.0  # seconds to attach; a verifier under TCG takes its time
_ANSWER = 20.0
_SIGINT = 2
_INTERRUPTED = 130  # of a tool that had to be killed
_FAULTS = (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
_TURN = 0.02
MARK = ".bpf-ready"  # in the share: there once the tool is attached

Work = Callable[[Machine, RunDir], None]


def for_workload(row: WorkloadRow, run: RunDir, report: Reporter) -> Work:
    """A workload from its begin to its end."""
    workloads.place(row, run.share, report)

    def work(machine: Machine, run: RunDir) -> None:
        with workloads.running(row, machine, endless=False) as live:
            while not live.done():
                if machine.child.poll() is not None:
                    raise machine.lost()
                threading.Event().wait(_TURN)

    return work


def for_lab(request: LabRequest, run: RunDir, report: Reporter) -> Work:
    """A lab's main part, by the program that plays both sides. Raises ``BadInput``."""
    name, part = request.lab.legs()[0]
    bring({part.program or "": request.path.parent}, run.share, report)

    def work(machine: Machine, run: RunDir) -> None:
        directory = LegDir(run.path / request.name / name)
        leg = Run(setup_of(request, part), machine, run.share, directory, None, deaf)
        leg.run()
        failed = trouble(leg.status, leg.said)
        if failed:
            raise MachineFailed(f"{request.name}: {failed}", "", f"kernlab lab run {request.name}")

    return work


def place(program: BpfProgram, run: RunDir) -> str:
    """Bring the program to the guest; its path there."""
    return put_program(program.program, run.share)


def run_tool(
    argv: Sequence[str],
    machine: Machine,
    run: RunDir,
    on_stdout: Sink,
    on_stderr: Sink,
    work: Work | None,
    timeout: float | None,
    patience: float = _READY,
) -> int:
    """Run a loader to its end, or while ``work`` makes packets, and then to its end after a
    Ctrl-C. Its status; 0 for one that the Ctrl-C killed because it does not handle it.

    Raises ``BadInput`` for one that does not attach within ``patience`` seconds,
    ``MachineFailed``.
    """
    mark = run.share / MARK
    mark.unlink(missing_ok=True)
    process = machine.channel.start(
        argv,
        stdin=False,
        env={"KERNLAB_READY": f"/mnt/share/{MARK}"},
        on_stdout=on_stdout,
        on_stderr=on_stderr,
    )
    try:
        if work is None:
            return _to_its_end(process, timeout)
        if not _attached(process, mark, machine, patience):
            return process.wait(_ANSWER)
        work(machine, run)
        if process.done():
            return process.wait(_ANSWER)
        process.signal(_SIGINT)
        status = _to_its_end(process, _ANSWER)
        return 0 if status == 128 + _SIGINT else status
    except KeyboardInterrupt:  # the tool's too: it may show what it has counted
        ended = process.end(_SIGINT, _ANSWER)
        return _INTERRUPTED if ended is None else ended


def crash(status: int, source: BpfSource) -> tuple[str, str, str] | None:
    """What, why and next step for a loader that a fault of its own ended: the agent's status
    is 128 and the signal's number, as a shell's. None for any other end."""
    for fault in _FAULTS:
        if status == 128 + fault:
            return (
                f"{source.name} crashed: {fault.name}",
                f"the crash is in the loader ({source.loader.name}), not in the BPF program",
                f"edit {source.loader}",
            )
    return None


def _attached(process: GuestProcess, mark: Path, machine: Machine, patience: float) -> bool:
    """Wait until the tool is attached; False when it ended before."""
    deadline = time.monotonic() + patience
    while not mark.exists():
        if process.done():
            return False
        if machine.child.poll() is not None:
            raise machine.lost()
        if time.monotonic() > deadline:
            process.signal(9)
            raise BadInput(
                f"the program did not attach within {patience:g} s",
                "it neither called NAME_bpf__attach() nor waited for events; without --workload "
                "and --lab it can take as long as it needs",
                "without --workload --lab",
            )
        threading.Event().wait(_TURN)
    return True


def _to_its_end(process: GuestProcess, limit: float | None) -> int:
    try:
        return process.wait(limit)
    except TimeoutError as error:
        process.signal(9)
        raise MachineFailed(
            f"the program was killed: it still ran after {limit:g} s",
            "",
            f"--timeout {2 * (limit or 0):g}",
        ) from error
