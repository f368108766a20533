"""Events counted by what they have in common: a call stack, or the value of a field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from kernlab.decode import fields
from kernlab.errors import BadInput
from kernlab.sinks.console import safe
from kernlab.sinks.fold import fold
from kernlab.sinks.terminal import stack_lines

_BAR = 24  # columns of the largest group's bar


def check(key: str) -> None:
    """Raise ``BadInput`` for a key that is neither ``stack`` nor a field of an event."""
    if key != "stack" and fields.type_of(key) is None:
        close = fields.near(key)
        raise BadInput(
            f"--group-by {key}: events have no such field",
            f"did you mean {close[0]}?" if close else "give stack, or a field that --where knows",
            f"--group-by {close[0] if close else 'stack'}",
        )


class Groups:
    """Collects events under ``key``; ``draw`` shows the groups, the largest first."""

    def __init__(self, key: str) -> None:
        check(key)
        self._key = key
        self._counts: dict[Any, int] = {}
        self._first: dict[Any, Mapping[str, Any]] = {}

    def event(self, event: Mapping[str, Any]) -> None:
        """Count one event."""
        if self._key == "stack":
            common: Any = tuple(fold(event.get("stack") or []))
        else:
            common = ", ".join(str(value) for value in fields.values(event, self._key))
        self._counts[common] = self._counts.get(common, 0) + 1
        self._first.setdefault(common, event)

    def rows(self) -> list[tuple[int, Any, Mapping[str, Any]]]:
        """(count, what they share, the first event of them), the largest group first."""
        order = sorted(self._counts, key=lambda common: -self._counts[common])
        return [(self._counts[common], common, self._first[common]) for common in order]

    def draw(self, console: Console) -> None:
        """One block a group: how many, which share, and the stack or value."""
        total = sum(self._counts.values())
        fancy = (console.encoding or "").lower().startswith("utf")
        for count, common, first in self.rows():
            bar = ("█" if fancy else "#") * max(1, round(_BAR * count / total))
            head = Text(f"{count:>5} ", "bold")
            head.append(f"{100 * count / total:>3.0f} % ", "dim")
            head.append(bar, "cyan")
            if self._key != "stack":
                head.append(f" {safe(common) or '(absent)'}")
            else:
                head.append(f" {safe(first.get('probe', ''))}", "blue")
            console.print(head, soft_wrap=True)
            if self._key == "stack":
                for line in stack_lines(list(common), console, len(first.get("stack") or [])):
                    console.print(line, soft_wrap=True)
