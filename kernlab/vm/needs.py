"""What running a machine needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need, require
from kernlab.process import which

QEMU = Need("qemu-system-x86", "runs the guest", program="qemu-system-x86_64")
NEEDS = (QEMU,)


def require_qemu() -> str:
    """QEMU's path. Raises ``HostLacks`` with the command that installs it."""
    require(NEEDS)
    found = which(QEMU.program or "")
    assert found is not None
    return found
