"""What a function called: one call as a tree, as graph.json holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Call:
    """One call. ``ns``: how long it took, in the guest's ns, None where its end was not seen;
    ``start`` in ns of CLOCK_MONOTONIC. ``interrupt``: it ran because an interrupt came,
    and not because its caller called it."""

    func: str
    start: int = 0
    ns: int | None = None
    file: str | None = None
    line: int | None = None
    interrupt: bool = False
    calls: list[Call] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """For JSON; what is not known is left out."""
        data: dict[str, Any] = {"func": self.func, "start_ns": self.start}
        for name, value in (("ns", self.ns), ("file", self.file), ("line", self.line)):
            if value is not None:
                data[name] = value
        if self.interrupt:
            data["interrupt"] = True
        if self.calls:
            data["calls"] = [call.as_data() for call in self.calls]
        return data

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Call:
        """From JSON."""
        return cls(
            data["func"],
            data.get("start_ns", 0),
            data.get("ns"),
            data.get("file"),
            data.get("line"),
            data.get("interrupt", False),
            [cls.of(inner) for inner in data.get("calls", ())],
        )

    def walk(self) -> Iterator[Call]:
        """It and all below it, in the order of their beginning."""
        yield self
        for call in self.calls:
            yield from call.walk()

    @property
    def interrupted(self) -> int:
        """The ns that interrupts took inside."""
        if self.interrupt:
            return self.ns or 0
        return sum(call.interrupted for call in self.calls)


@dataclass(frozen=True)
class Graph:
    """A call with where it ran."""

    call: Call
    cpu: int
    pid: int

    def as_data(self) -> dict[str, Any]:
        return {"cpu": self.cpu, "pid": self.pid, **self.call.as_data()}
