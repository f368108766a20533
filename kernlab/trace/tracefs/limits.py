"""What a kernel must have for its tracers, and where it lets nobody put a probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kernlab.errors import BadInput
from kernlab.symbols import blacklist
from kernlab.symbols.dwarf import Function
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe
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
_NOTRACE = "CONFIG_KPROBE_EVENTS_ON_NOTRACE"
_ENDBR = 4  # bytes of an ENDBR64, which ftrace's place comes after


def has(config: Path, option: str) -> bool:
    """Whether the kernel with this .config has an option built in."""
    return f"{option}=y" in config.read_text("utf-8").splitlines()


def require(config: Path, options: Mapping[str, str], what: str) -> None:
    """Raise ``BadInput`` when the kernel was built without one of ``options``."""
    missing = [f"{name}: {why}" for name, why in options.items() if not has(config, name)]
    if missing:
        raise BadInput(
            f"{what}: this kernel was built without the options that it needs",
            "\n".join(missing),
            f"kernlab build --set {missing[0].split(':')[0]}=y",
        )


def check(plan: Plan, symbols: KernelSymbols, engine: str = "ftrace") -> None:
    """Refuse what this kernel cannot do. Raises ``BadInput``."""
    require(symbols.files.config, PROBES, f"--engine {engine}")
    for probe in plan.probes:
        if plan.request.returns and len(symbols.map.text.get(probe.place.symbol, ())) > 1:
            raise BadInput(
                f"--return: this kernel has more than one {probe.place.symbol}",
                "a kretprobe is set by name, and the name does not tell which one is meant",
                f"kernlab trace {probe.name} --return --engine gdb",
            )
    possible = _possible(plan, symbols)
    for probe in plan.probes:
        if probe not in possible and (probe.name in plan.request.functions or not possible):
            raise BadInput(
                f"--engine {engine}: the kernel allows no kprobe at {probe.name}",
                "it is code that its tracers run through (kernel/kprobes.c) or leave alone "
                "(notrace), or gone when the boot is over",
                f"kernlab trace {probe.name} --engine gdb",
            )


def allowed(plan: Plan, symbols: KernelSymbols) -> tuple[Plan, list[str]]:
    """The plan's probes where the kernel lets us, and what to tell of the others: a glob may
    also stand for such."""
    probes = _possible(plan, symbols)
    names = ", ".join(probe.name for probe in plan.probes if probe not in probes)
    notes = [f"left out, because no kprobe is possible there: {names}"] if names else []
    return replace(plan, probes=tuple(probes)), notes


def _possible(plan: Plan, symbols: KernelSymbols) -> list[Probe]:
    """Where there is code when the boot is over (kernel_text_address()), where kprobes work,
    and where a kprobe event is let (within_notrace_func() in kernel/trace/trace_kprobe.c)."""
    known, files = symbols.map.all, symbols.files
    ranges = [(known.get(first, 0), known.get(last, 0)) for first, last in _FORBIDDEN]
    refused = blacklist.find(files.vmlinux, known)
    traceable = None if has(files.config, _NOTRACE) else blacklist.traceable(files.vmlinux, known)

    def possible(probe: Probe) -> bool:
        place, address = probe.place, probe.place.address
        entry = address if isinstance(place, Function) else known.get(place.symbol, 0)
        return (
            known.get("_stext", 0) <= address < known.get("_etext", 1 << 64)
            and entry not in refused
            and not any(first <= address < last for first, last in ranges)
            and (not traceable or entry in traceable or entry + _ENDBR in traceable)
        )

    return [probe for probe in plan.probes if possible(probe)]
