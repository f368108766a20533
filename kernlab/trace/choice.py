"""Which engine carries a plan out: the table of those there are."""

from __future__ import annotations

from pathlib import Path

from kernlab.config.needs import missing
from kernlab.config.yaml import near
from kernlab.errors import BadInput
from kernlab.guest.needs import BPF
from kernlab.record.expression import c_expressions
from kernlab.trace.engine import Kind
from kernlab.trace.engines import bpf, ftrace, gdb
from kernlab.trace.request import TraceRequest
from kernlab.trace.tracefs import limits

ENGINES: dict[str, Kind] = {kind.name: kind for kind in (gdb.KIND, ftrace.KIND, bpf.KIND)}
AUTO = "auto"
_FEW = 200  # events, which gdb shows in a second or two


def pick(request: TraceRequest) -> tuple[Kind, str]:
    """The engine for ``--engine auto`` by what is asked, and why it is that one."""
    where = c_expressions(request.where.expr)
    if request.show or request.shows or where:
        return gdb.KIND, "only GDB evaluates C expressions"
    if any(":" in place for place in request.functions):
        return gdb.KIND, "only GDB sees the variables at a source line"
    if request.count is not None and request.count <= _FEW:
        return gdb.KIND, f"up to {_FEW} events are few, and GDB sees most"
    if missing(BPF):
        return ftrace.KIND, "there may be many events, and this host cannot build a BPF program"
    return bpf.KIND, "there may be many events, and bpf does not stop the guest"


def settle(kind: Kind, config: Path) -> tuple[Kind, str]:
    """What ``--engine auto`` comes to on a kernel with this .config: the kind that was picked,
    or the next one that the kernel was built for, and why it is another one."""
    why = ""
    for one in (kind, *(other for other in (ftrace.KIND, gdb.KIND) if other.name != kind.name)):
        lacking = [option for option in one.options if not limits.has(config, option)]
        if not lacking:
            return one, why
        why = f"this kernel was built without {', '.join(lacking)}, which {one.name} needs"
    return gdb.KIND, why


def find(name: str) -> Kind:
    """An engine by name. Raises ``BadInput``."""
    if name not in ENGINES:
        close = near(name, ENGINES)
        raise BadInput(
            f"--engine {name}: there is no such engine",
            "\n".join(f"{kind.name:<8}{kind.title}" for kind in ENGINES.values())
            + f"\n{AUTO:<8}one of these, depending on what is asked",
            f"--engine {close[0] if close else 'gdb'}",
        )
    return ENGINES[name]
