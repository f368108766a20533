"""What the engines have in common whose events come out of a guest that runs on."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from kernlab.errors import BadInput, KernlabError
from kernlab.symbols.frames import Symbolizer
from kernlab.trace.engine import Counted
from kernlab.trace.expressions import c_expressions
from kernlab.trace.plan import TraceRequest, parse_where


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

    def __init__(self, guest: P, symbolizer: Symbolizer) -> None:
        self._guest = guest
        self._symbolizer = symbolizer
        self._counted = Counted()
        self._seq = 0

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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 where: TracebackType | None) -> None:  # fmt: skip
        self.close()


def no_expressions(request: TraceRequest, name: str, how: str) -> None:
    """Refuse ``--show``, for which one needs the kernel's types. ``how`` it reads values."""
    where = c_expressions(parse_where(request.where))
    if where:
        raise BadInput(
            f"--where '{where[0]}': the engine {name} evaluates no C expression",
            f"{how} what is at fixed offsets; GDB knows the kernel's types; a field of the event "
            "does in all engines: sock.snd_cwnd, skb.len, flags",
            "--engine gdb",
        )
    if request.show or request.shows:
        raise BadInput(
            f"--show: the engine {name} evaluates no C expression",
            f"{how} what is at fixed offsets; GDB knows the kernel's types",
            "--engine gdb",
        )
