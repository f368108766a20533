"""From what a user asks to what an engine can do on one kernel: names → addresses,
argument registers, members. Refuses before anything boots."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kernlab.decode import expr
from kernlab.decode.fields import RECORDED, SHOW
from kernlab.errors import BadInput
from kernlab.record import drops
from kernlab.record.expression import c_expressions, parse_where
from kernlab.symbols import places, sites
from kernlab.symbols.dwarf import Line
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe, probe_of
from kernlab.trace.expressions import check_c, check_shows, not_set


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
    result; ``limit``: how many functions a glob may stand for; ``engine``: who carries it
    out (``kernlab.trace.choice``); ``buffer``: KiB for each vCPU's events in the guest;
    ``command``: what the guest runs, in place of ``workload``."""

    functions: tuple[str, ...]
    where: str = ""
    count: int | None = None
    timeout: float = 60.0
    stack: int = 64
    workload: str = "http"
    presets: tuple[tuple[str, ...], ...] = ()
    show: tuple[str, ...] = ()
    shows: tuple[Show, ...] = ()
    returns: bool = False
    limit: int = 64
    engine: str = "gdb"
    buffer: int | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Probes and filter for one kernel. ``reasons``: the names of its reasons to drop a
    packet, where a probe is told one."""

    request: TraceRequest
    probes: tuple[Probe, ...]
    where: expr.Expr | None
    notes: tuple[str, ...] = field(default=())
    reasons: Mapping[int, str] = field(default_factory=dict)

    @property
    def needs_debug_info(self) -> bool:
        """Whether GDB has to know the kernel's types and variables while it runs."""
        lines = any(isinstance(probe.place, Line) for probe in self.probes)
        return lines or any(probe.show for probe in self.probes)

    @property
    def names(self) -> str:
        """What is traced, as a person would list it."""
        names = list(dict.fromkeys(probe.name for probe in self.probes))
        more = f" and {len(names) - 6} more" if len(names) > 7 else ""
        return ", ".join(names[:6] if more else names) + more


def _check_where(request: TraceRequest) -> None:
    text = request.where
    where = parse_where(text)
    known = where.fields() if where is not None else ()
    shown = {*request.show, *(show.name for show in request.shows), *c_expressions(where)}
    for path in known:
        if path.startswith(SHOW) and path.removeprefix(SHOW) not in shown:
            raise BadInput(
                f"--where: nothing is shown under the name {path.removeprefix(SHOW)}",
                f"what is shown: {', '.join(sorted(shown))}"
                if shown
                else "a C expression can stand in --where as it is",
                "--where 'sk->sk_state == CLOSE_WAIT'",
            )
    for name in RECORDED:
        if name in known:
            raise BadInput(
                f"--where: {name} is known in the record alone",
                "it is found after the stop, and a filter decides at it",
                f"kernlab show latest --where {shlex.quote(text)}",
            )


def check(request: TraceRequest) -> None:
    """What can be refused without a kernel. Raises ``BadInput``."""
    _check_where(request)
    if not request.functions and not request.presets:
        raise BadInput("no function to trace", "", "kernlab trace tcp_v4_rcv")
    for text in request.functions:
        places.parse(text)
    for text in [*request.show, *(show.text for show in request.shows)]:
        check_c(text, "--show")
    for text in c_expressions(parse_where(request.where)):
        check_c(text, "--where")
    if request.count is not None and request.count < 1:
        raise BadInput(f"--count {request.count}: at least 1", "", "--count 5")
    if request.timeout <= 0:
        raise BadInput(f"--timeout {request.timeout:g}: seconds, more than 0", "", "--timeout 60")
    if request.limit < 1:
        raise BadInput(f"--max-probes {request.limit}: at least 1", "", "--max-probes 64")
    if request.buffer is not None and request.buffer < 1:
        raise BadInput(f"--buffer {request.buffer}: KiB, at least 1", "", "--buffer 4096")
    if request.stack < 0:
        raise BadInput(f"--stack {request.stack}: frames, 0 for none", "", "--stack 16")


def make(request: TraceRequest, symbols: KernelSymbols) -> Plan:
    """The plan for one kernel. Raises ``BadInput`` for what it does not have."""
    check(request)
    table = sites.table().sites
    probes: dict[int, Probe] = {}
    notes: list[str] = []
    read = dict.fromkeys([*request.show, *c_expressions(parse_where(request.where))])
    texts = [*request.functions, *_chosen(request, symbols, notes)]
    # One question for all: each costs a GDB that loads the kernel's debug info.
    symbols.functions([text for text in texts if symbols.map.entries(text)])
    for text in texts:
        asked = places.parse(text)
        found = places.resolve(asked, symbols, request.limit)
        notes += found.notes
        for place in found.places:
            name = text if asked.kind == "line" else place.func
            show = [(one, one) for one in read]
            show += [(one.name, one.text) for one in request.shows if one.place == name]
            probes.setdefault(place.address, probe_of(name, place, table, symbols, tuple(show)))
    unlisted = sorted(
        {p.place.func for p in probes.values() if p.skb is not None and p.site is sites.UNLISTED}
    )
    if unlisted:
        notes.append(
            f"not in sites.yaml, so that only the skb itself is shown: {', '.join(unlisted)}"
        )
    notes += not_set(list(read), list(probes.values()))
    plan = Plan(
        request,
        tuple(probes.values()),
        parse_where(request.where),
        tuple(notes),
        _reasons(probes.values(), symbols),
    )
    check_shows(request, plan.where, plan.probes, symbols)
    return plan


def _reasons(probes: Iterable[Probe], symbols: KernelSymbols) -> dict[int, str]:
    told = any(a.type == f"enum {drops.ENUM}" for probe in probes for a in probe.place.args)
    return symbols.dwarf.enum(drops.ENUM) if told else {}


def _chosen(request: TraceRequest, symbols: KernelSymbols, notes: list[str]) -> list[str]:
    """Of each group of a preset, the first that this kernel has."""
    chosen = []
    for group in request.presets:
        here = [name for name in group if symbols.map.entries(name)]
        if here:
            chosen.append(here[0])
        else:
            notes.append(f"not a function of this kernel, left out: {' or '.join(group)}")
    if request.presets and not chosen and not request.functions:
        raise BadInput(
            "this kernel has no function of the preset",
            "; ".join(notes),
            "kernlab trace tcp_v4_rcv",
        )
    return chosen
