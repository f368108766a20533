"""Judge a leg: each predicate, what was expected, what was seen, and whether it holds."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kernlab.config.text import Language, say
from kernlab.config.yaml import listed
from kernlab.decode import expr
from kernlab.decode.regexp import LONGEST
from kernlab.errors import KernlabError
from kernlab.process import run
from kernlab.record.counters import named
from kernlab.record.leg import Leg
from kernlab.record.segments import text as segment_text
from kernlab.verdict.model import Check, Expected, OtherKernel, amount_holds, atoms

Others = Mapping[str, OtherKernel]
_NONE: Others = {}
_HERE: dict[Language, str] = {"en": "This kernel: ", "zh": "这个内核："}
_ELSEWHERE: dict[Language, str] = {"en": "Other kernels: ", "zh": "其他内核："}

_SEARCH = 10.0  # seconds
_SEARCHER = (
    "import json, re, sys; pattern, text = json.load(sys.stdin); "
    "match = re.search(pattern, text); json.dump(match and match.group(), sys.stdout)"
)


@dataclass(frozen=True)
class Line:
    """One line of a verdict. ``holds`` is None for what cannot be told without a debugger, and
    for what does not apply to this kernel. ``kernel``: where kernels differ in it, how; of a line
    that holds, only what makes this kernel another one."""

    kind: str
    expected: str
    seen: str
    holds: bool | None
    says: str = ""
    kernel: str = ""

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    checks: Iterable[Check], leg: Leg, language: Language = "en", others: Others = _NONE
) -> list[Line]:
    """A line for each predicate and each of its parts. ``others``: the kernels that an
    ``unless`` names."""
    found = []
    for check in checks:
        asked, name = ruling(check, leg, others)
        if name is not None and not asked:
            found += [
                replace(
                    _judge(part, leg),
                    seen="does not apply to this kernel",
                    holds=None,
                    kernel=_HERE[language] + say(others[name].says, language),
                )
                for part in atoms(check)
            ]
        for part in (part for one in asked for part in atoms(one)):
            line = _judge(part, leg)
            words = say(part.says, language) if part.says is not None else ""
            found.append(
                replace(line, says=words, kernel=_kernel(check, name, line, language, others))
            )
    return found


def ruling(check: Check, leg: Leg, others: Others) -> tuple[list[Check], str | None]:
    """What is asked of the kernel that a leg ran on, and which of the ``others`` it is (None
    for none of those that the line names)."""
    if not isinstance(check, Expected):
        return [check], None
    for name, instead in check.unless.items():
        if name in others and is_kernel(others[name], leg):
            return listed(instead), name
    return [check.here], None


def is_kernel(other: OtherKernel, leg: Leg) -> bool:
    """Whether a leg ran on such a kernel."""
    if other.has is not None:
        return any(leg.symbols.get(name, False) for name in listed(other.has))
    return all(_judge(part, leg).holds for check in listed(other.when) for part in atoms(check))


def _kernel(check: Check, name: str | None, line: Line, language: Language, others: Others) -> str:
    """How kernels differ in a line, in words."""
    if name is not None:
        return _HERE[language] + say(others[name].says, language)
    if line.holds is not False or not isinstance(check, Expected):
        return ""
    told = [say(others[other].says, language) for other in check.unless if other in others]
    return _ELSEWHERE[language] + " ".join(told) if told else ""


def holds(lines: Iterable[Line]) -> bool:
    """Whether no line fails, and one holds at least: nothing that was looked at is no success."""
    told = [line.holds for line in lines]
    return False not in told and True in told


def _judge(check: Check, leg: Leg) -> Line:
    if check.negated is not None:
        line = _judge(check.negated, leg)
        turned = None if line.holds is None else not line.holds
        if check.needs in leg.missing or _untold(check.negated, leg):
            turned = False  # what is not there does not hold, turned round or not
        return Line(line.kind, f"not: {line.expected}", line.seen, turned)
    if check.needs in leg.missing:
        return Line(check.kind, _expected(check), leg.missing[check.needs], False)
    if check.needs_events and leg.events is None and (check.kind != "cause" or leg.rst is None):
        return Line(check.kind, _expected(check), "not checked: there was no debugger", None)
    return _JUDGES[check.kind](check, leg)


def _untold(check: Check, leg: Leg) -> bool:
    """Whether a counter or a result that it asks for was not told at all."""
    while check.negated is not None:
        check = check.negated
    return any(named(leg.counters, name) is None for name in check.counters or ()) or any(
        name not in leg.got for name in check.got or ()
    )


def _expected(check: Check) -> str:
    value = getattr(check, check.kind)
    if check.kind.startswith("no_"):
        return f"none: {value}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {wanted}" for name, wanted in value.items())
    if isinstance(value, list):
        return " → ".join(str(part) for part in value) or "none"
    return str(value)


def _counters(check: Check, leg: Leg) -> Line:
    assert check.counters is not None
    ((name, wanted),) = check.counters.items()
    seen = named(leg.counters, name)
    expected = f"{name} {wanted if isinstance(wanted, str) else f'+{wanted}'}"
    if seen is None:
        return Line("counters", expected, "this kernel has no such counter", False)
    return Line("counters", expected, f"+{seen}", amount_holds(wanted, seen))


def _got(check: Check, leg: Leg) -> Line:
    assert check.got is not None
    ((name, wanted),) = check.got.items()
    seen = leg.got.get(name)
    choices = wanted if isinstance(wanted, list) else [wanted]
    expected = f"{name} = {' or '.join(str(choice) for choice in choices)}"
    if seen is None:
        return Line("got", expected, "the guest program did not report it", False)
    return Line("got", expected, seen, any(_is(choice, seen) for choice in choices))


def _is(wanted: int | str, seen: str) -> bool:
    if str(wanted) == seen:
        return True
    number = seen.lstrip("-").isdigit()
    try:
        return number and amount_holds(wanted, int(seen))
    except AssertionError:
        return False


def _one(check: Check, leg: Leg) -> Line:
    kind = check.kind
    text = str(getattr(check, kind))
    rows, shown = _rows(kind, leg)
    hits = _matching(text, rows)
    if kind.startswith("no_"):
        return Line(kind, f"none: {text}", _examples(hits, shown) or "none", not hits)
    wanted = check.count if check.count is not None else ">= 1"
    expected = text if check.count is None else f"{text}  × {check.count}"
    seen = f"{len(hits)} × {_examples(hits, shown)}" if len(hits) > 1 else _examples(hits, shown)
    holds = amount_holds(wanted, len(hits))
    if not hits and not holds and rows:
        there = [row for row in rows if row.get("probe") and str(row["probe"]) in text]
        seen = f"none of {_listed(there or rows, shown)}"
    return Line(kind, expected, seen or "none", holds)


def _several(check: Check, leg: Leg) -> Line:
    kind = check.kind
    texts: Sequence[str] = getattr(check, kind)
    rows, shown = _rows(kind, leg)
    at = 0
    for number, text in enumerate(texts, 1):
        test = expr.parse(text)
        while at < len(rows) and test.evaluate(rows[at]) is not True:
            at += 1
        if at == len(rows):
            seen = _listed(rows, shown) if rows else "none"
            return Line(kind, " → ".join(texts), f"number {number} did not come: {seen}", False)
        at += 1
    return Line(kind, " → ".join(texts), "in this order", True)


def _cause(check: Check, leg: Leg) -> Line:
    wanted = list(check.cause or ())
    seen = [str(row.get("cause")) for row in leg.rst or ()]
    return Line(
        "cause", " → ".join(wanted) or "no RST", " → ".join(seen) or "no RST", wanted == seen
    )


def _log(check: Check, leg: Leg) -> Line:
    assert check.log is not None
    expected = f"the kernel logs {check.log!r}"
    try:
        found = _searched(check.log, leg.kmsg)
    except KernlabError:
        return Line("log", expected, f"the pattern was searched for more than {_SEARCH:g} s", False)
    lines = leg.kmsg.strip().splitlines()
    seen = found if found is not None else (lines[-1] if lines else "nothing was logged")
    return Line("log", expected, seen, found is not None)


def _searched(pattern: str, text: str) -> str | None:
    """What of a log a pattern matches. Both may be a stranger's, and Python's matcher cannot be
    told to give up: long texts are searched by another process, which ends at its limit."""
    if len(text) <= LONGEST:
        match = re.search(pattern, text)
        return match.group() if match else None
    told = json.dumps([pattern, text]).encode()
    said = run(_SEARCH, [sys.executable, "-I", "-c", _SEARCHER], input=told).stdout
    answer: str | None = json.loads(said)
    return answer


_JUDGES = {
    "counters": _counters,
    "got": _got,
    "segment": _one,
    "no_segment": _one,
    "event": _one,
    "no_event": _one,
    "segments": _several,
    "events": _several,
    "cause": _cause,
    "log": _log,
}


def _rows(kind: str, leg: Leg) -> tuple[list[dict[str, Any]], Any]:
    if "segment" in kind:
        return leg.segments, segment_text
    return leg.events or [], _event_text


def _event_text(event: Mapping[str, Any]) -> str:
    state = (event.get("sock") or {}).get("state")
    probe = event.get("probe", "?")
    return f"{probe}({state})" if state else str(probe)


def _matching(text: str, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    test = expr.parse(text)
    return [row for row in rows if test.evaluate(row) is True]


def _listed(rows: Sequence[Mapping[str, Any]], shown: Any) -> str:
    """What came, in its order: by that a predicate that asks for too much is found."""
    more = [f"… {len(rows) - 12} more"] if len(rows) > 12 else []
    return " → ".join([*(shown(row) for row in rows[:12]), *more])


def _examples(rows: Sequence[Mapping[str, Any]], shown: Any) -> str:
    more = ", …" if len(rows) > 2 else ""
    return ", ".join(shown(row) for row in rows[:2]) + more
