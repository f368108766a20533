"""The architecture's seam: what is of x86-64 alone stands in one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kernlab.decode.arch import ARCH

ROOT = Path(__file__).resolve().parents[2]
SEAM = ROOT / "kernlab" / "decode" / "arch"
# What is written in code, not in prose or in the name of a kernel file.
OWN = [
    *(rf"['\"]%?{name}['\"]" for name in (*ARCH.remote, "eflags", *ARCH.kprobe.values())),
    re.escape(ARCH.console),
    re.escape(ARCH.qemu),
    re.escape(ARCH.image) + r"['\"]",
    re.escape(ARCH.boot),
    re.escape(ARCH.gdb),
    re.escape(ARCH.trace_clock),
    rf"['\"][^'\"]*arch/{ARCH.srcarch}/",
    "x86_64-linux-gnu",
    r"\bTARGET_ARCH_x86",
    *(rf"\b{name}\b" for name in ARCH.return_trampolines),
]


def sources() -> list[Path]:
    found = [*(ROOT / "kernlab").rglob("*.py"), *(ROOT / "gdb_scripts").rglob("*.py")]
    return [path for path in found if SEAM not in path.parents]


def code(text: str) -> str:
    """Without comments and docstrings."""
    text = re.sub(r'"""(?:[^"]|"(?!""))*"""', "", text)
    return re.sub(r"(?m)(?:^|\s)#.*$", "", text)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_elsewhere_names_what_is_of_one_architecture(path: Path) -> None:
    found = re.search("|".join(OWN), code(path.read_text()))
    assert found is None, found


def test_such_a_name_is_seen() -> None:
    for line in ('x = registers["rdi"]', '"console=ttyS0"', 'run(9, ["qemu-system-x86_64"])'):
        assert re.search("|".join(OWN), code(line))
    assert not re.search("|".join(OWN), code('x = 1  # arch/x86/kernel, "rdi"'))


def test_an_architecture_is_whole() -> None:
    assert {ARCH.pc, ARCH.sp, ARCH.fp, ARCH.result, *ARCH.arguments} <= set(ARCH.remote)
    assert {ARCH.result, *ARCH.arguments} <= set(ARCH.kprobe)
    assert {ARCH.pc, ARCH.sp, ARCH.fp} <= set(ARCH.saved)
