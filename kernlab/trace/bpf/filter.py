"""What of ``--where`` the guest can judge by itself.

Clauses that must all hold, each with alternatives, on the tuple, flags, state and task. The
guest throws away only what one of them makes false for certain; the host judges the whole
expression on every event that comes, so that what is not lowered here costs time, no truth.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from kernlab.decode import expr
from kernlab.decode.names import TCP_STATES
from kernlab.trace.bpf.layout import MAX_TESTS, Test

_PORT, _SPORT, _DPORT, _FLAGS, _SRC, _DST, _HOST, _STATE, _PID = range(9)
_ON = {
    "port": _PORT,
    "sport": _SPORT,
    "packet.sport": _SPORT,
    "dport": _DPORT,
    "packet.dport": _DPORT,
    "flags": _FLAGS,
    "packet.flags": _FLAGS,
    "src": _SRC,
    "packet.src": _SRC,
    "dst": _DST,
    "packet.dst": _DST,
    "addr": _HOST,
    "host": _HOST,
    "state": _STATE,
    "sock.state": _STATE,
    "pid": _PID,
    "task.pid": _PID,
}
_STATES = {name: number for number, name in TCP_STATES.items()}
_ALL = 0xFFFFFFFF


def lower(where: expr.Expr | None) -> list[Test]:
    """The tests; none where nothing of the expression can be judged in the guest."""
    if where is None:
        return []
    parts = where.parts if isinstance(where, expr.Joined) and where.word == "and" else [where]
    tests: list[Test] = []
    clause = 0
    for part in parts:
        found = list(_clause(part))
        if not found or len(tests) + len(found) > MAX_TESTS:
            continue
        for on, mask, value, negated in found:
            tests.append(Test(on, clause, negated, 0, mask, value))
        clause += 1
    return tests


_Row = tuple[int, int, int, bool]


def _clause(part: expr.Expr) -> Iterator[_Row]:
    """A part's alternatives; none when one of them cannot be lowered."""
    alternatives = part.parts if isinstance(part, expr.Joined) and part.word == "or" else [part]
    rows: list[_Row] = []
    for one in alternatives:
        negated = isinstance(one, expr.Not)
        test = one.inner if isinstance(one, expr.Not) else one
        if not isinstance(test, expr.Test) or test.name not in _ON:
            return
        if test.operator == "!=":
            negated = not negated
        if negated and len(alternatives) > 1:
            return
        found = list(_values(test))
        if not found:
            return
        rows += [(_ON[test.name], mask, value, negated) for mask, value in found]
    yield from rows


def _values(test: expr.Test) -> Iterator[tuple[int, int]]:
    """Mask and value of each of a test's values; none when one has none."""
    on = _ON[test.name]
    values = list(test.value) if isinstance(test.value, tuple) else [test.value]
    pairs = [_pair(on, test.operator, value) for value in values]
    if test.operator in ("==", "!=", "in", "has") and None not in pairs:
        yield from (pair for pair in pairs if pair is not None)


def _pair(on: int, operator: str, value: Any) -> tuple[int, int] | None:
    if on in (_SRC, _DST, _HOST):
        network = value
        if not isinstance(network, ipaddress.IPv4Network):
            return None
        return int(network.netmask), int(network.network_address)
    if on == _STATE:
        number = _STATES.get(value)
        return None if number is None else (_ALL, number)
    if not isinstance(value, int):
        return None
    if on == _FLAGS:
        return (value, value) if operator == "has" else (0xFF, value)
    return (_ALL, value) if 0 <= value <= _ALL else None
