"""What a user asks of a trace. Refuses what makes no sense on any kernel."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import NamedTuple

from kernlab.decode.fields import RECORDED, SHOW
from kernlab.errors import BadInput
from kernlab.record.expression import EVERYTHING, Where, c_expressions
from kernlab.symbols import places
from kernlab.trace.expressions import check_c
from kernlab.trace.workloads import NOTHING, Workload


class Show(NamedTuple):
    """A C expression to read at one place, and the name of its value."""

    place: str
    name: str
    text: str


@dataclass(frozen=True)
class TraceRequest:
    """What was asked for. ``functions`` are places (``kernlab.symbols.places``); of each
    group in ``presets`` the first that the kernel has is meant. ``count``: events to stop
    after; ``timeout`` in seconds; ``stack``: frames kept, 0 for none; ``show``: C
    expressions for every probe; ``shows``: more of them for one place each, with the name
    that an event keeps its value under; ``returns``: whether to wait for each function's
    result; ``limit``: how many functions a glob may stand for; ``buffer``: KiB for each
    vCPU's events in the guest. Raises ``BadInput`` for what no kernel would answer."""

    functions: tuple[str, ...]
    where: Where = EVERYTHING
    count: int | None = None
    timeout: float = 60.0
    stack: int = 64
    workload: Workload = NOTHING
    presets: tuple[tuple[str, ...], ...] = ()
    show: tuple[str, ...] = ()
    shows: tuple[Show, ...] = ()
    returns: bool = False
    limit: int = 64
    buffer: int | None = None

    def __post_init__(self) -> None:
        _check(self)


def _check_where(request: TraceRequest) -> None:
    text, where = request.where.text, request.where.expr
    known = where.fields() if where is not None else ()
    shown = {*request.show, *(show.name for show in request.shows), *c_expressions(where)}
    for path in known:
        if path.startswith(SHOW) and path.removeprefix(SHOW) not in shown:
            raise BadInput(
                f"--where: no --show has the name {path.removeprefix(SHOW)}",
                f"what is shown: {', '.join(sorted(shown))}"
                if shown
                else "--where takes a C expression as it is",
                "--where 'sk->sk_state == CLOSE_WAIT'",
            )
    for name in RECORDED:
        if name in known:
            raise BadInput(
                f"--where: {name} is known only in the record",
                "it is found after the event, and the filter decides before",
                f"kernlab show latest --where {shlex.quote(text)}",
            )


def _check(request: TraceRequest) -> None:
    _check_where(request)
    if not request.functions and not request.presets:
        raise BadInput("no function to trace", "", "kernlab trace tcp_v4_rcv")
    for text in request.functions:
        places.parse(text)
    for text in [*request.show, *(show.text for show in request.shows)]:
        check_c(text, "--show")
    for text in c_expressions(request.where.expr):
        check_c(text, "--where")
    if request.count is not None and request.count < 1:
        raise BadInput(f"--count {request.count}: it must be at least 1", "", "--count 5")
    if request.timeout <= 0:
        raise BadInput(
            f"--timeout {request.timeout:g}: it must be more than 0 seconds", "", "--timeout 60"
        )
    if request.limit < 1:
        raise BadInput(
            f"--max-probes {request.limit}: it must be at least 1", "", "--max-probes 64"
        )
    if request.buffer is not None and request.buffer < 1:
        raise BadInput(f"--buffer {request.buffer}: it must be at least 1 KiB", "", "--buffer 4096")
    if request.stack < 0:
        raise BadInput(f"--stack {request.stack}: it must be 0 frames or more", "", "--stack 16")
