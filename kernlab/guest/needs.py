"""What building guest programs needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need

NEEDS = (
    Need("gcc", "compiles guest programs", program="gcc"),
    Need("libc6-dev", "static libc for them", file="/usr/lib/*/libc.a",
         elsewhere=("/usr/lib64/libc.a", "/usr/lib/libc.a")),  # fmt: skip
)
