"""A filter pushed down into the kernel, as far as an event's own filter can say it.

The kernel's filter compares numbers that the event fetched; it knows no absent field and no
header whose place is not fixed. So what is pushed down is weaker than what was asked: whatever
``--where`` lets pass, it lets pass too, and the host evaluates the whole again. A part that
cannot be said is left out: True, in the words here.

Linux: Documentation/trace/events.rst, section 5; kernel/trace/trace_events_filter.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from kernlab.decode import expr, fields
from kernlab.decode.names import TCP_STATES

Kernel = Union[str, bool]  # a filter's text, or what it always is
_NEVER = "common_type == 0"  # no event has this number
_LONGEST = 3000  # bytes; the kernel takes less than a page
_WORD = re.compile(r"[\w./:+-]+")


@dataclass(frozen=True)
class Number:
    """A field of the event, made by ``fetch`` (its type last: u8, u16, u32, s32 …). ``swapped``:
    in network order. ``also``: values with which nothing is known of the event's field."""

    fetch: str
    swapped: bool = False
    also: tuple[int, ...] = ()
    names: Mapping[str, int] = field(default_factory=dict)
    name: str = ""  # of a field that every event has: nothing to fetch

    @property
    def bits(self) -> int:
        return int(re.sub(r".*:[usx]", "", self.fetch) or 32) if self.fetch else 32


@dataclass(frozen=True)
class Constant:
    """A field that is the same for every hit of this probe."""

    value: Any


class Text:
    """The current task's name."""


Source = Union[Number, Constant, Text, None]  # None: there, but nobody can say where


class Lowering:
    """One probe's filter. ``source`` tells how a field (a path into the event) can be had;
    it raises ``KeyError`` for one that no event of this probe has."""

    def __init__(self, source: Callable[[str], Source]) -> None:
        self._source = source
        self.fetches: dict[str, str] = {}  # fetch → field

    def filter(self, where: expr.Expr | None) -> str:
        """The text for the event's ``filter`` file; empty for none."""
        said = True if where is None else self._when(where, True)
        text = _NEVER if said is False else "" if said is True else str(said)
        if len(text) > _LONGEST:
            text = ""
        self.fetches = {
            fetch: name for fetch, name in self.fetches.items() if re.search(rf"\b{name}\b", text)
        }
        return text

    def _when(self, where: expr.Expr, wanted: bool) -> Kernel:
        """What holds in the kernel whenever ``where`` is ``wanted`` on the host."""
        if isinstance(where, expr.Not):
            return self._when(where.inner, not wanted)
        if isinstance(where, expr.Joined):
            parts = [self._when(part, wanted) for part in where.parts]
            return _all(parts) if (where.word == "and") == wanted else _any(parts)
        if isinstance(where, expr.Test) and where.operator:
            return self._test(where, wanted)
        return True

    def _test(self, test: expr.Test, wanted: bool) -> Kernel:
        equal = wanted if test.operator != "!=" else not wanted
        operator = "==" if test.operator == "!=" else test.operator
        # Whichever group of fields answers (fields.values), the result is one of its own.
        return _any(
            [self._group(group, test, operator, equal) for group in fields.paths(test.name)]
        )

    def _group(self, group: Iterable[str], test: expr.Test, operator: str, hit: bool) -> Kernel:
        said = []
        for path in group:
            try:
                said.append(self._one(self._source(path), test, operator, hit))
            except KeyError:
                continue
        if not said:
            return False  # absent at every hit, and then neither true nor false
        return _any(said) if hit else _all(said)

    def _one(self, source: Source, test: expr.Test, operator: str, hit: bool) -> Kernel:
        if isinstance(source, Constant):
            return test._check(source.value) is hit
        if isinstance(source, Text):
            values = test.value if isinstance(test.value, tuple) else (test.value,)
            if operator not in ("==", "in") or not all(map(_WORD.fullmatch, map(str, values))):
                return True
            return _join([f'COMM {"==" if hit else "!="} "{value}"' for value in values], hit)
        if source is None:
            return True
        return self._number(source, fields.type_of(test.name), test.value, operator, hit)

    def _number(
        self, source: Number, kind: str | None, value: Any, operator: str, hit: bool
    ) -> Kernel:
        if source.also and not hit:
            return True
        if kind == fields.ADDRESS:
            networks = value if isinstance(value, tuple) else (value,)
            whole = all(n.version == 4 and n.prefixlen == 32 for n in networks)
            if not (whole and hit):  # an IPv6 socket's IPv4 address is another socket's
                return True
            values: list[Any] = [int(network.network_address) for network in networks]
        elif kind == fields.FLAGS and operator == "has":
            name = self._name(source)
            bits = [1 << bit for bit in range(8) if value >> bit & 1]
            return (
                _join([f"{name} & {bit}" if hit else f"!({name} & {bit})" for bit in bits], not hit)
                if bits
                else hit
            )
        else:
            values = list(value) if isinstance(value, tuple) else [value]
            if source.names:
                numbers = [one if isinstance(one, int) else source.names.get(one) for one in values]
                values = [one for one in numbers if one is not None]  # else of no hit of this probe
        if not all(isinstance(one, int) for one in values):
            return True
        if operator in ("==", "in"):
            return self._equal(source, values, hit)
        if operator not in ("<", "<=", ">", ">=") or source.swapped or values[0] < 0:
            return True
        if values[0] >> source.bits:
            return (operator in ("<", "<=")) is hit
        return f"{self._name(source)} {operator if hit else _OPPOSITE[operator]} {values[0]}"

    def _equal(self, source: Number, values: list[int], hit: bool) -> Kernel:
        size = source.bits // 8
        raw = []
        for value in (*values, *source.also):
            if value < 0 or value >> source.bits:
                continue
            data = value.to_bytes(size, "little")
            raw.append(int.from_bytes(data[::-1] if source.swapped else data, "little"))
        if not raw:
            return not hit
        name = self._name(source)
        return _join([f"{name} {'==' if hit else '!='} {value}" for value in raw], hit)

    def _name(self, source: Number) -> str:
        return source.name or self.fetches.setdefault(source.fetch, f"f{len(self.fetches)}")


_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
STATES = {name: number for number, name in TCP_STATES.items()}


def _join(parts: list[str], either: bool) -> str:
    parts = list(dict.fromkeys(parts))
    return "(" + (" || " if either else " && ").join(parts) + ")" if len(parts) > 1 else parts[0]


def _all(parts: list[Kernel]) -> Kernel:
    if any(part is False for part in parts):
        return False
    texts = [part for part in parts if isinstance(part, str)]
    return _join(texts, False) if texts else True


def _any(parts: list[Kernel]) -> Kernel:
    if any(part is True for part in parts):
        return True
    texts = [part for part in parts if isinstance(part, str)]
    return _join(texts, True) if texts else False
