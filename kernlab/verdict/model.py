"""The predicates of a verdict, as a YAML file has them: one kind a list item.

    counters: {TCPAbortOnClose: 1, OutRsts: ">= 1"}    how much each moved
    got: {client.recv: ECONNRESET}                      what the guest program got
    segment: "flags == RST-ACK and win > 0"                  at least one such (count: 2 for two)
    segments: ["flags == SYN", "flags == SYN-ACK"]             these in this order, others between
    no_segment: "flags has RST"                           none such
    event, events, no_event                             the same over the probes' events
    cause: [A1]                                         the RSTs' causes, all, in order
    log: "orphaned sockets"                             the kernel logged it (a regular expression)
    not: {...}                                          one of these, and it does not hold

Segments and events are tested by the one expression language (kernlab.decode.expr); events,
causes and nothing else need a debugger.

Where kernels differ, a file names the others (``OtherKernel``), and a line says what holds there:

    kernels:
      at-backlog: {says: "...", when: {got: {queue.took: 1}}}
    verdict:
      - counters: {SyncookiesSent: 1}
        unless: {at-backlog: {counters: {SyncookiesSent: 2}}}
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from kernlab.config.text import Text
from kernlab.config.yaml import Model, listed
from kernlab.decode.regexp import problem
from kernlab.record.expression import Expression

_AMOUNT = re.compile(r"^\s*(?:(==|>=|<=|>|<)\s*(-?\d+)|(-?\d+)\s*\.\.\s*(-?\d+)|(-?\d+))\s*$")
KINDS = (
    "counters",
    "got",
    "segment",
    "segments",
    "no_segment",
    "event",
    "events",
    "no_event",
    "cause",
    "log",
    "negated",
)
_NEEDS = {
    "counters": "counters",
    "got": "results",
    "segment": "capture",
    "segments": "capture",
    "no_segment": "capture",
    "event": "events",
    "events": "events",
    "no_event": "events",
    "cause": "rst",
    "log": "kmsg",
}


def _amount(value: int | str) -> int | str:
    if isinstance(value, str) and not _AMOUNT.match(value):
        raise ValueError("a number, '>= 1', '< 3' or '1..4'")
    return value


def _regexp(text: str) -> str:
    wrong = problem(text, limited=True)
    if wrong:
        raise ValueError(wrong)
    return text


Amount = Annotated[int | str, AfterValidator(_amount)]
Regexp = Annotated[str, AfterValidator(_regexp)]


def amount_holds(wanted: int | str, seen: int) -> bool:
    """Whether a number is the amount that was written."""
    match = _AMOUNT.match(str(wanted))
    assert match is not None
    operator, bound, low, high, exact = match.groups()
    if exact is not None:
        return seen == int(exact)
    if low is not None:
        return int(low) <= seen <= int(high)
    value = int(bound)
    return {
        "==": seen == value,
        ">=": seen >= value,
        "<=": seen <= value,
        ">": seen > value,
        "<": seen < value,
    }[operator]


class Check(Model):
    """One predicate; see the module's head. ``count`` goes with segment and event."""

    says: Text | None = None
    counters: dict[str, Amount] | None = None
    got: dict[str, int | str | list[int | str]] | None = None
    segment: Expression | None = None
    segments: list[Expression] | None = None
    no_segment: Expression | None = None
    event: Expression | None = None
    events: list[Expression] | None = None
    no_event: Expression | None = None
    count: Amount | None = None
    cause: list[str] | None = None
    log: Regexp | None = None
    negated: Check | None = Field(None, alias="not")

    @model_validator(mode="after")
    def _one_kind(self) -> Check:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            names = ", ".join(kind if kind != "negated" else "not" for kind in KINDS)
            raise ValueError(
                f"an item needs exactly one predicate of {names}"
                if not kinds
                else f"one predicate an item, here are {' and '.join(kinds)}"
            )
        empty = [kind for kind in kinds if kind != "cause" and not getattr(self, kind)]
        if empty:
            raise ValueError(f"{empty[0]} is empty and checks nothing")
        if self.count is not None and self.segment is None and self.event is None:
            raise ValueError("count needs segment or event")
        return self

    @property
    def kind(self) -> str:
        """Which predicate it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def needs_events(self) -> bool:
        """Whether it can only be told with a debugger."""
        if self.negated is not None:
            return self.negated.needs_events
        return self.kind in ("event", "events", "no_event", "cause")

    @property
    def needs(self) -> str:
        """The part of a record that it judges (``kernlab.record.leg.Leg.missing``)."""
        if self.negated is not None:
            return self.negated.needs
        return _NEEDS[self.kind]


class Expected(Check):
    """A line of a verdict: a predicate, and in ``unless`` what holds in its place on other
    kernels, by their names; an empty list where there is nothing to hold."""

    unless: dict[str, Check | list[Check]] = {}

    @property
    def here(self) -> Check:
        """The predicate by itself."""
        return Check.model_construct(**{name: getattr(self, name) for name in Check.model_fields})


class OtherKernel(Model):
    """A kernel that does something otherwise, and by what it is known, never by its version:
    ``has``, a function or variable that it has (of a list, any), or ``when``, predicates on what
    the run left, all of which hold there. ``says`` stands beside each line it changes."""

    says: Text
    has: str | list[str] | None = None
    when: Check | list[Check] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> OtherKernel:
        if (self.has is None) == (self.when is None):
            raise ValueError("a kernel is told by either has (a symbol) or when (predicates)")
        if any(check.needs_events for check in listed(self.when)):
            raise ValueError("when: events and causes cannot tell the kernel without a debugger")
        return self


def atoms(check: Check) -> list[Check]:
    """A predicate's parts, of which each can hold or fail alone."""
    if check.counters is not None:
        return [check.model_copy(update={"counters": {k: v}}) for k, v in check.counters.items()]
    if check.got is not None:
        return [check.model_copy(update={"got": {k: v}}) for k, v in check.got.items()]
    if check.negated is not None:
        parts = atoms(check.negated)
        return [Check.model_validate({"not": part, "says": check.says}) for part in parts]
    return [check]


def as_data(check: Check) -> dict[str, Any]:
    """A predicate as a YAML file would have it."""
    return check.model_dump(exclude_none=True, by_alias=True)
