"""What a build costs, against the configuration people use otherwise.

Both builds take the same tree, compiler and targets, without ccache, in a directory that
is gone afterwards. CPU seconds are user + system time of every process of the build
(getrusage(2), RUSAGE_CHILDREN), so they hold on a loaded host too.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kernlab.config.paths import home_dir
from kernlab.decode.arch import ARCH
from kernlab.kernel import fragments
from kernlab.kernel.build import Make, children_cpu, configure
from kernlab.kernel.model import SourceTree
from kernlab.progress import Finished, Reporter, Started

# Debug info as distributions have it; the choice of DWARF is a question since v5.18.
_DEBUG_INFO = """
CONFIG_DEBUG_INFO=y
CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y
# CONFIG_DEBUG_INFO_NONE is not set
CONFIG_DEBUG_INFO_BTF=y
CONFIG_GDB_SCRIPTS=y
"""
_COMPILED = re.compile(rb"^  (?:CC|AS) ")


@dataclass(frozen=True)
class Cost:
    """One build: what it was, its CPU seconds and its object files."""

    name: str
    cpu_seconds: float
    objects: int


def ours(source: SourceTree, report: Reporter) -> Cost:
    """The shipped fragments. Raises ``BadInput``, ``WeFailed``."""
    wishes = fragments.gather((), ())
    return _measure("kernlab build", source, report, lambda m: configure(m, wishes, source.path))


def usual(source: SourceTree, report: Reporter) -> Cost:
    """defconfig + kvm_guest.config + debug info, BTF and GDB scripts. Raises ``WeFailed``."""

    def by_hand(make: Make) -> None:
        make.run(["defconfig"])
        make.run(["kvm_guest.config"])
        with (make.work / ".config").open("a", encoding="utf-8") as file:
            file.write(_DEBUG_INFO)
        make.run(["olddefconfig"])

    return _measure("defconfig + kvm_guest.config + debug info", source, report, by_hand)


def _measure(
    name: str, source: SourceTree, report: Reporter, set_up: Callable[[Make], None]
) -> Cost:
    report(Started(name))
    with tempfile.TemporaryDirectory(prefix=".cost-", dir=home_dir("kernels")) as place:
        work = Path(place, "work")
        work.mkdir()
        make = Make(source.path, work, work, Path(place, "log"), os.cpu_count() or 1)
        make.env["CCACHE_DISABLE"] = "1"
        set_up(make)
        objects = 0

        def count(line: bytes) -> None:
            nonlocal objects
            objects += _COMPILED.match(line) is not None

        before = children_cpu()
        make.run([ARCH.image, "scripts_gdb"], count)
        cost = Cost(name, round(children_cpu() - before, 1), objects)
    report(Finished(name, f"{cost.cpu_seconds:.0f} CPU s, {cost.objects} objects"))
    return cost
