"""GDB on a booted lab while a workload runs: machine, breakpoints, and both ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from kernlab.debug import interactive, places
from kernlab.debug.places import Stop
from kernlab.errors import WeFailed
from kernlab.kernel.model import Kernel
from kernlab.pipeline import Setting, machine_for, symbols_for, wait_ready
from kernlab.progress import Finished, Reporter, Said, Started
from kernlab.sinks.fold import marks
from kernlab.trace import workloads
from kernlab.trace.workloads import Running, WorkloadRow
from kernlab.vm.machine import Machine
from kernlab.vm.mechanisms import BOOT, BREAK

_ENDS = 5.0  # seconds for QEMU to end after it has told GDB so


def stops(texts: Sequence[str], kernel: Kernel, report: Reporter) -> list[Stop]:
    """Where to stop in this kernel, its debug info read. Raises ``BadInput``."""
    symbols = symbols_for(kernel)
    report(Started("read the kernel's debug info"))
    found = places.resolve(texts, symbols)
    symbols.layout()
    symbols.orc()
    report(Finished("read the kernel's debug info"))
    for stop in found:
        if stop.inlined:
            where = ", ".join(stop.inlined[:6])
            report(Said(f"{stop.name} has no entry of its own: inlined into {where}"))
    return found


@contextmanager
def booted(wish: interactive.Wish, workload: WorkloadRow, setting: Setting) -> Iterator[Debugging]:
    """A guest that is ready for GDB; ended with the block. Raises ``MachineFailed``."""
    workloads.place(workload, setting.run.share, setting.report)
    with machine_for(setting, (BOOT, BREAK)) as machine, ExitStack() as working:
        wait_ready(machine, setting.report)
        yield Debugging(wish, workload, setting, machine, working)


class Debugging:
    """One session. ``complaint``: what to say of a workload that failed by itself, when it is
    over."""

    def __init__(
        self,
        wish: interactive.Wish,
        workload: WorkloadRow,
        setting: Setting,
        machine: Machine,
        working: ExitStack,
    ) -> None:
        self._wish = wish
        self._workload = workload
        self._setting = setting
        self._machine = machine
        self._working = working
        self._work: Running | None = None
        self.complaint = ""

    def run(self) -> int:
        """Give GDB the terminal until it ends; its exit status. Raises ``MachineFailed``,
        ``WeFailed``."""
        wish, machine, run = self._wish, self._machine, self._setting.run
        kernel = self._setting.kernel
        content = interactive.settings(
            wish, symbols_for(kernel), kernel.release, marks(), machine.sockets, run.path / "lx"
        )
        told = run.path / "debug.json"
        session = interactive.Session(wish, kernel.vmlinux, told, machine.sockets)
        if not wish.stops:
            self._begin()
        try:
            status = session.run(content, self._begin if wish.stops else lambda: None)
        except WeFailed as error:
            with suppress(WeFailed):
                machine.child.wait(3.0)
            if machine.child.poll() is not None:
                raise machine.lost() from error  # that is why GDB failed
            raise
        # GDB does not always hear that the guest has ended: the connection may break first.
        if session.gone or machine.broken:
            with suppress(WeFailed):
                machine.child.wait(_ENDS)
        if machine.child.poll() is not None:
            machine.ended()
        self.complaint = _complaint(self._work)
        # The guest may be stopped, or have breakpoints in it: nothing can end politely there.
        machine.child.close()
        run.result(status=status)
        return status

    def _begin(self) -> None:
        running = workloads.running(self._workload, self._machine, endless=True)
        self._work = self._working.enter_context(running)


def _complaint(work: Running | None) -> str:
    if work is None or not work.status():
        return ""
    told = work.said.text.strip()[-300:] or "it printed nothing"
    return f"the workload had ended with status {work.status()}: {told}\n"
