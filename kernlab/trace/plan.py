"""From what a user asks to what an engine can do on one kernel: names → addresses,
argument registers, members. Refuses before anything boots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kernlab.decode import expr
from kernlab.errors import BadInput
from kernlab.record import drops
from kernlab.record.expression import c_expressions
from kernlab.symbols import places, sites
from kernlab.symbols.dwarf import Line
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe, probe_of
from kernlab.trace.expressions import check_shows, not_set
from kernlab.trace.request import TraceRequest


@dataclass(frozen=True)
class Plan:
    """Probes and filter for one kernel. ``reasons``: the names of its reasons to drop a
    packet, where a probe is told one."""

    request: TraceRequest
    probes: tuple[Probe, ...]
    notes: tuple[str, ...] = field(default=())
    reasons: Mapping[int, str] = field(default_factory=dict)

    @property
    def where(self) -> expr.Expr | None:
        return self.request.where.expr

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


def make(request: TraceRequest, symbols: KernelSymbols) -> Plan:
    """The plan for one kernel. Raises ``BadInput`` for what it does not have."""
    table = sites.table().sites
    probes: dict[int, Probe] = {}
    notes: list[str] = []
    read = dict.fromkeys([*request.show, *c_expressions(request.where.expr)])
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
            f"only the skb itself is shown, because sites.yaml does not have: {', '.join(unlisted)}"
        )
    notes += not_set(list(read), list(probes.values()))
    plan = Plan(
        request,
        tuple(probes.values()),
        tuple(notes),
        _reasons(probes.values(), symbols),
    )
    check_shows(request.show, plan.where, plan.probes, symbols)
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
            notes.append(f"left out, because this kernel does not have: {' or '.join(group)}")
    if request.presets and not chosen and not request.functions:
        raise BadInput(
            "this kernel has none of the preset's functions",
            "; ".join(notes),
            "kernlab trace tcp_v4_rcv",
        )
    return chosen
