"""What an engine is: it carries out a plan on one machine and gives events.

``kernlab.trace.choice`` has the table of those there are. An engine knows nothing of the
others; what it cannot do it refuses before anything boots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from kernlab.decode import expr
from kernlab.kernel.model import Kernel
from kernlab.progress import Reporter
from kernlab.record.rundir import RunDir
from kernlab.symbols.kernel import KernelSymbols
from kernlab.trace.plan import Plan
from kernlab.trace.request import TraceRequest
from kernlab.vm.machine import Machine
from kernlab.vm.mechanisms import BOOT


class Cost(NamedTuple):
    """What one probe cost: its stops, and the seconds the guest stood for reading."""

    stops: int
    seconds: float


@dataclass
class Counted:
    """What an engine counted. ``hits``: how often a probe was reached; ``filtered``: hits
    that did not pass the filter; ``lost``: events that were to be given and could not be,
    by the place of the loss in words; ``cost`` by probe; ``notes`` for the user."""

    hits: int = 0
    filtered: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    cost: dict[str, Cost] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class HitFilter:
    """The last step of every engine: which hits are events. ``where``: the filter as far as the
    host decides by it; ``depth``: frames that an event keeps of its stack, 0 for no stack. The
    filter sees the whole of it."""

    def __init__(self, where: expr.Expr | None, depth: int, counted: Counted) -> None:
        self._where = where
        self._depth = depth
        self._counted = counted

    def passed(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The event, if it is one of those asked for."""
        if not expr.passes(self._where, event):
            self._counted.filtered += 1
            return
        stack = event.pop("stack", None)
        if stack is not None and self._depth:
            event["stack"] = stack[: self._depth]
        yield event


class Engine(Protocol):
    """One plan on one machine; a context manager that leaves nothing behind on the host.

    In this order: ``prepare`` while the guest boots, ``arm`` when it takes commands,
    ``events`` and ``ended`` again and again, ``finish``, ``drain``, and ``remove`` when
    the load is over: a guest under QEMU's TCG before 8.1 may crash when code that another
    vCPU executes is changed (rootfs/guest/tracefs.c).
    """

    exact: bool
    """Whether an event's guest_ns is exact; else it is that of the last tick."""

    def prepare(self) -> None:
        """What needs no guest."""

    def heed(self, counter: int) -> None:
        """Before ``arm``: note in each event as ``words`` what the guest's kernel has at the
        address ``counter`` by then (four bytes), where the engine can."""

    def arm(self, machine: Machine) -> None:
        """Set the probes; the guest runs when this returns. Raises ``KernlabError``."""

    def events(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The events that come within ``seconds`` (``kernlab.record.event``)."""

    def ended(self) -> bool:
        """Whether the engine stopped by itself: ``count`` is reached. Raises ``WeFailed``
        when it broke."""

    def finish(self) -> Counted:
        """Stop recording: no later hit becomes an event. What was counted, complete when
        ``drain`` has ended."""

    def drain(self) -> Iterator[dict[str, Any]]:
        """All events of hits before ``finish`` that have not been given yet."""

    def remove(self) -> None:
        """Take the probes out of the guest: it is then as it was before ``arm``."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True)
class Kind:
    """An engine to choose. ``check`` refuses a request that no kernel would change
    (``BadInput``); ``bring`` refuses what this kernel lacks and puts what the guest will
    run into the share; ``open`` makes the engine for a machine that may still be booting.
    ``options``: what the kernel must be built with, and what for. ``needs``: what it relies on of
    an accelerator (``kernlab.vm.mechanisms``).
    """

    name: str
    title: str
    check: Callable[[TraceRequest], None]
    bring: Callable[[Plan, Kernel, KernelSymbols, Path, Reporter], None]
    open: Callable[[Plan, KernelSymbols, Machine, RunDir], Engine]
    options: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = (BOOT,)
