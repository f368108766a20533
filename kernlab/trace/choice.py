"""Which engine carries a plan out: the table of those there are."""

from __future__ import annotations

from kernlab.config.yaml import near
from kernlab.errors import BadInput
from kernlab.trace.engine import Kind
from kernlab.trace.engines import bpf, ftrace, gdb

ENGINES: dict[str, Kind] = {kind.name: kind for kind in (gdb.KIND, ftrace.KIND, bpf.KIND)}


def find(name: str) -> Kind:
    """An engine by name. Raises ``BadInput``."""
    if name not in ENGINES:
        close = near(name, ENGINES)
        raise BadInput(
            f"--engine {name}: there is no such engine",
            "\n".join(f"{kind.name:<8}{kind.title}" for kind in ENGINES.values()),
            f"--engine {close[0] if close else 'gdb'}",
        )
    return ENGINES[name]
