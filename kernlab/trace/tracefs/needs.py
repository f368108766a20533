"""What a kernel must have for its tracers, and where it lets nobody put a probe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernlab.errors import BadInput
from kernlab.symbols.kernel import KernelSymbols
from kernlab.trace.plan import Plan

PROBES = {
    "CONFIG_KPROBE_EVENTS": "probes by tracefs",
    "CONFIG_STACKTRACE": "a stack trace after each",
}
# Text where probes are refused: arch_within_kprobe_blacklist() in arch/x86/kernel/kprobes/core.c
# and populate_kprobe_blacklist() in kernel/kprobes.c.
_FORBIDDEN = (
    ("__kprobes_text_start", "__kprobes_text_end"),
    ("__entry_text_start", "__entry_text_end"),
    ("__noinstr_text_start", "__noinstr_text_end"),
)


def require(config: Path, options: Mapping[str, str], what: str) -> None:
    """Raise ``BadInput`` when the kernel was built without one of ``options``."""
    have = set(config.read_text("utf-8").splitlines())
    missing = [f"{name}: {why}" for name, why in options.items() if f"{name}=y" not in have]
    if missing:
        raise BadInput(
            f"{what}: this kernel was built without what it takes",
            "\n".join(missing),
            f"kernlab build --set {missing[0].split(':')[0]}=y, or --engine gdb",
        )


def check(plan: Plan, symbols: KernelSymbols, engine: str = "ftrace") -> None:
    """Refuse what this kernel cannot do. Raises ``BadInput``."""
    require(symbols.files.config, PROBES, f"--engine {engine}")
    known = symbols.map.all
    for probe in plan.probes:
        for first, last in _FORBIDDEN:
            if known.get(first, 0) <= probe.place.address < known.get(last, 0):
                raise BadInput(
                    f"--engine {engine}: the kernel lets nobody put a kprobe at {probe.name}",
                    "it is code that its tracers themselves run through (kernel/kprobes.c)",
                    f"kernlab trace {probe.name} --engine gdb",
                )
