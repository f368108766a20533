"""What driving GDB needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need

NEEDS = (Need("gdb", "drives the guest kernel and reads its debug info", program="gdb"),)
