"""What running a machine needs on the host."""

from __future__ import annotations

from functools import lru_cache

from kernlab.config.needs import Need, require
from kernlab.decode.arch import ARCH
from kernlab.process import run, which
from kernlab.vm.spec import SANDBOX

QEMU = Need(ARCH.qemu_package, "runs the guest", program=ARCH.qemu)
SSH = Need("openssh-client", "makes the keys of boot --ssh", program="ssh-keygen")
NEEDS = (QEMU, SSH)


def require_qemu() -> str:
    """QEMU's path. Raises ``HostLacks`` with the command that installs it."""
    require([QEMU])
    found = which(QEMU.program or "")
    assert found is not None
    return found


@lru_cache(maxsize=1)
def has_sandbox() -> bool:
    """Whether this QEMU can be put under seccomp here: tried, since it may have been built
    without, and a container may not let it."""
    argv = [
        require_qemu(),
        "-sandbox",
        SANDBOX,
        "-machine",
        "none",
        "-nodefaults",
        "-display",
        "none",
        "-S",
        "-monitor",
        "stdio",
    ]
    return run(20, argv, input=b"quit\n", check=False).returncode == 0
