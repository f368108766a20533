"""Which accelerator runs guests here: tried once, remembered, never assumed.

``/dev/kvm`` may open and still not run a guest (nested hosts, containers). A self-test
boots the lab kernel with KVM; what it showed is kept for this host, QEMU and kernel
module, so it costs time once.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from contextlib import suppress
from pathlib import Path

from kernlab.config.paths import arriving_file, home, home_dir
from kernlab.errors import KernlabError
from kernlab.process import run
from kernlab.progress import Finished, Reporter, Said, Started
from kernlab.vm.needs import has_sandbox, require_qemu

_KVM = Path("/dev/kvm")
_MEMO = "accelerator.json"


def accelerator(bzimage: Path, initramfs: Path, report: Reporter,
                disks: tuple[Path, ...] = ()) -> str:  # fmt: skip
    """ "kvm" where a guest has been seen to boot with it, otherwise "tcg".

    ``KERNLAB_ACCEL`` overrides the probe.
    """
    known = remembered()
    if known is not None:
        return known
    report(Started("try KVM"))
    found = "kvm" if _boots(bzimage, initramfs, disks) else "tcg"
    report(Finished("try KVM", "works" if found == "kvm" else "does not run a guest"))
    if found == "tcg":
        report(Said("KVM does not work on this host: guests run under TCG, several times slower"))
    with arriving_file(home_dir("images") / _MEMO) as temporary:
        temporary.write_text(json.dumps({"key": _key(), "accelerator": found}), "utf-8")
    return found


def remembered() -> str | None:
    """What ``accelerator`` would answer without booting; None where it has to try KVM."""
    told = os.environ.get("KERNLAB_ACCEL")
    if told in ("kvm", "tcg"):
        return told
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return "tcg"
    with suppress(OSError, ValueError):
        known = json.loads((home() / "images" / _MEMO).read_text("utf-8"))
        if known.get("key") == _key():
            return str(known["accelerator"])
    return None


def _key() -> str:
    version = run(10, [require_qemu(), "--version"]).text.splitlines()[0]
    status = _KVM.stat()
    return f"{platform.node()} {platform.release()} {version} {status.st_rdev} {os.geteuid()}"


def _boots(bzimage: Path, initramfs: Path, disks: tuple[Path, ...]) -> bool:
    from kernlab.vm.machine import start
    from kernlab.vm.share import model
    from kernlab.vm.spec import MachineSpec

    with tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
        share = Path(scratch, "share")
        share.mkdir()
        spec = MachineSpec(
            bzimage, initramfs, share, Path(scratch, "console.log"), accelerator="kvm",
            disks=disks, share_model=model(share), sandbox=has_sandbox(),
        )  # fmt: skip
        try:
            with start(spec, Path(scratch)) as machine:
                machine.wait_ready(silent_wall=8.0)
                return machine.channel.run(5.0, ["true"]).returncode == 0
        except (KernlabError, TimeoutError):
            return False
