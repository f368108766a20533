"""What running a machine needs on the host."""

from __future__ import annotations

from kernlab.config.needs import Need, require
from kernlab.process import which

QEMU = Need("qemu-system-x86", "runs the guest", program="qemu-system-x86_64")
SSH = Need("openssh-client", "makes the keys of boot --ssh", program="ssh-keygen")
NEEDS = (QEMU, SSH)


def require_qemu() -> str:
    """QEMU's path. Raises ``HostLacks`` with the command that installs it."""
    require([QEMU])
    found = which(QEMU.program or "")
    assert found is not None
    return found
