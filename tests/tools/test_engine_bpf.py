"""The engine bpf's plan and records, against the compiler that builds the guest's program."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

from kernlab.trace.bpf import layout as packed
from kernlab.trace.bpf import records

ROOT = Path(__file__).resolve().parents[2]


def test_the_plan_is_as_the_program_has_it(tmp_path: Path) -> None:
    """gcc says how large the structures of probe.h are, and where their members lie."""
    members = [name for name, *_ in packed.PlanBytes._fields_]
    lines = "".join(f"P({name}) " for name in members)
    (tmp_path / "size.c").write_text(
        '#include <stdio.h>\n#include <stddef.h>\n#include "probe.h"\n'
        '#define P(m) printf("%zu ", offsetof(struct kl_plan, m));\n'
        f'int main(void) {{ {lines} printf("%zu %zu %zu", sizeof(struct kl_plan), '
        "sizeof(struct kl_place), sizeof(struct kl_record)); }\n"
    )
    argv = [
        "gcc",
        "-I",
        ROOT / "rootfs" / "guest" / "probe",
        "-o",
        tmp_path / "size",
        tmp_path / "size.c",
    ]
    subprocess.run(argv, check=True)
    said = subprocess.run([tmp_path / "size"], capture_output=True, text=True, check=True).stdout
    *offsets, plan, probe, record = map(int, said.split())
    assert offsets == [getattr(packed.PlanBytes, name).offset for name in members]
    assert plan == ctypes.sizeof(packed.PlanBytes)
    assert probe == ctypes.sizeof(packed._Place)
    assert record == records.SIZE
