"""What a kernel must have for its tracers, and where it lets nobody put a probe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernlab.errors import BadInput
from kernlab.symbols import blacklist
from kernlab.symbols.kernel import KernelSymbols
from kernlab.trace.plan import Plan, Probe

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
    ("_sinittext", "_einittext"),  # freed
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
    for probe in plan.probes:
        if plan.request.returns and len(symbols.map.text.get(probe.place.symbol, ())) > 1:
            raise BadInput(
                f"--return: this kernel has more than one {probe.place.symbol}",
                "a kretprobe is set by name, and the name alone does not tell which",
                f"kernlab trace {probe.name} --return --engine gdb",
            )
    possible = allowed(plan, symbols)
    for probe in plan.probes:
        if probe not in possible and (probe.name in plan.request.functions or not possible):
            raise BadInput(
                f"--engine {engine}: the kernel lets nobody put a kprobe at {probe.name}",
                "it is code that its tracers themselves run through (kernel/kprobes.c), "
                "or gone when the boot is over",
                f"kernlab trace {probe.name} --engine gdb",
            )


def allowed(plan: Plan, symbols: KernelSymbols) -> list[Probe]:
    """The probes where the kernel lets us; a glob may also stand for others."""
    known = symbols.map.all
    ranges = [(known.get(first, 0), known.get(last, 0)) for first, last in _FORBIDDEN]
    refused = blacklist.find(symbols.files.vmlinux, known)
    return [
        probe
        for probe in plan.probes
        if known.get(probe.place.symbol) not in refused
        and not any(first <= probe.place.address < last for first, last in ranges)
    ]
