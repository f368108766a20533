"""What reading symbols needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need

NEEDS = (
    Need("gdb", "reads DWARF", program="gdb"),
    Need("binutils", "addr2line names the frames of call stacks", program="addr2line"),
    Need("binutils", "objdump shows which line took a lock", program="objdump"),
)
