"""What the engines have in common whose events come out of a guest that runs on."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from kernlab.errors import BadInput, KernlabError
from kernlab.record.expression import c_expressions
from kernlab.symbols.frames import Symbolizer
from kernlab.trace.engine import Counted, HitFilter
from kernlab.trace.members import reader
from kernlab.trace.plan import Plan
from kernlab.trace.request import TraceRequest


class Program(Protocol):
    """What records in the guest."""

    def check(self) -> None:
        """Raise ``KernlabError`` when it has ended."""

    def stop(self) -> None:
        """Have the probes taken away."""


P = TypeVar("P", bound=Program)
Self = TypeVar("Self", bound="Streaming[Any]")


class Streaming(Generic[P]):
    """The end of an engine, for one whose guest program records while it runs."""

    def __init__(self, plan: Plan, guest: P, symbolizer: Symbolizer) -> None:
        self._plan = plan
        self._guest = guest
        self._symbolizer = symbolizer
        self._counted = Counted()
        self._filter = HitFilter(plan.where, plan.request.stack, self._counted)

    def remove(self) -> None:
        """Take the probes out of the guest."""
        self._guest.stop()

    def ended(self) -> bool:
        """Never by itself: whoever counts the events ends the trace."""
        self._guest.check()
        return False

    def close(self) -> None:
        with suppress(KernlabError, OSError):
            self._symbolizer.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


class Expressions:
    """The C expressions of a plan's filter, answered by what each event holds."""

    def __init__(self, plan: Plan) -> None:
        texts = c_expressions(plan.where)
        self._readers = {
            probe.name: [(text, found) for text in texts if (found := reader(text, probe))]
            for probe in plan.probes
        }

    def put(self, event: dict[str, Any]) -> None:
        """Add the values that an event has for them."""
        shown = {
            text: value
            for text, read in self._readers.get(event["probe"], ())
            if (value := read(event)) is not None
        }
        if shown:
            event["show"] = shown


def answerable(plan: Plan, name: str) -> None:
    """Refuse a filter with a C expression that no event of this engine answers."""
    for text in c_expressions(plan.where):
        if not any(reader(text, probe) for probe in plan.probes):
            raise BadInput(
                f"--where '{text}': the engine {name} cannot evaluate this C expression",
                "it knows members that its events hold: those of TCP's, the packet's and the "
                "socket's fields; GDB reads any",
                "--engine gdb",
            )


def no_expressions(request: TraceRequest, name: str, how: str) -> None:
    """Refuse ``--show``, for which one needs the kernel's types. ``how`` it reads values."""
    if request.show or request.shows:
        raise BadInput(
            f"--show: the engine {name} evaluates no C expressions",
            f"{how} what is at fixed offsets; GDB knows the kernel's types",
            "--engine gdb",
        )
