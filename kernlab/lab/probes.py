"""A lab's probes on one kernel."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from kernlab.config.paths import shipped
from kernlab.config.yaml import line_of
from kernlab.lessons.lab import Lab
from kernlab.lessons.problems import Problem
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.places import unknown

_WORD = re.compile(r"[A-Za-z_]\w+")


def lacking(path: Path, lab: Lab, symbols: KernelSymbols) -> tuple[list[Problem], list[str]]:
    """Probes of which a kernel has none: problems, for what no kernel that kernlab knows has
    either, and notes for what this one alone does not have."""
    wrong: list[Problem] = []
    notes = []
    text = path.read_text("utf-8")
    for number, row in enumerate(lab.probes):
        if any(":" in name or symbols.map.entries(name) for name in row.places):
            continue
        at = line_of(text, "probes", number, "at")
        for name in row.places:
            error = unknown(name, symbols, "kernlab trace")
            said = f"{error.what} ({error.why})" if error.why else error.what
            inlined = name.isidentifier() and symbols.dwarf.inlined_into(name)
            if name in _elsewhere() or inlined:
                notes.append(f"{path.stem}: probe {name} is left out: {said}")
            else:
                wrong.append(Problem(path, at, f"probes: {said}"))
    return wrong, notes


@cache
def _elsewhere() -> frozenset[str]:
    """Functions that the shipped files name: one that is not in a kernel is in another."""
    files = [
        shipped("configs", "sites.yaml"),
        *shipped("configs", "presets").glob("*.yaml"),
        *shipped("configs", "reasons").glob("*.yaml"),
        *shipped("configs", "labs").glob("*.yaml"),
    ]
    return frozenset(word for file in files for word in _WORD.findall(file.read_text("utf-8")))
