"""How long until there is something to see: a warm trace, and a boot against virtme-ng's."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from kernlab.bench.model import Comparison, contender
from kernlab.errors import WeFailed
from kernlab.image.model import Image
from kernlab.kernel.model import Kernel
from kernlab.pipeline import MachineOptions, Setting, machine_for
from kernlab.process import need, run, which
from kernlab.progress import Finished, Reporter, Said, Started
from kernlab.record.rundir import RunDir

_LIMIT = 180.0
_KERNLAB = [sys.executable, "-m", "kernlab"]


def warm_trace(kernel: Kernel, image: Image, rounds: int, report: Reporter) -> Comparison:
    """``trace tcp_v4_rcv --count 1`` against its parts: a boot, and GDB reading vmlinux."""
    parts, ours = [], []
    words = ["trace", "tcp_v4_rcv", "--count", "1", "--kernel", kernel.version]
    for number in range(1, rounds + 1):
        stage = f"warm trace, round {number} of {rounds}"
        report(Started(stage))
        parts.append(_boot(kernel, image) + _gdb_loads(kernel.vmlinux))
        ours.append(_kernlab(words))
        report(Finished(stage, f"{parts[-1]:.1f} s, {ours[-1]:.1f} s"))
    return Comparison(
        "first event of a warm trace",
        "s",
        (
            contender("guest boot + gdb loading vmlinux", parts),
            contender("kernlab trace tcp_v4_rcv --count 1", ours),
        ),
    )


def boots(kernel: Kernel, rounds: int, report: Reporter) -> Comparison | None:
    """``run -- uname -r`` against virtme-ng's on the same kernel; None where it is not here."""
    vng = which("vng") or _beside_python("vng")
    if vng is None:
        report(Said("virtme-ng is not installed: no comparison of boots (pip install virtme-ng)"))
        return None
    theirs, ours = [], []
    for number in range(1, rounds + 1):
        stage = f"uname -r, round {number} of {rounds}"
        report(Started(stage))
        theirs.append(_virtme(vng, kernel))
        ours.append(_kernlab(["run", "--kernel", kernel.version, "--", "uname", "-r"]))
        report(Finished(stage, f"{theirs[-1]:.1f} s, {ours[-1]:.1f} s"))
    return Comparison(
        "command line to uname -r and back",
        "s",
        (
            contender("vng --run bzImage -- uname -r", theirs),
            contender("kernlab run -- uname -r", ours),
        ),
    )


def _beside_python(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent))


def _virtme(vng: str, kernel: Kernel) -> float:
    """As its users type it; it looks for modules beside a kernel, and there are none."""
    with tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
        # It calls programs of its own by name; in a virtual environment they lie beside it.
        path = f"PATH={Path(vng).parent}:{os.environ.get('PATH', '')}"
        # Without udev on the host its quiet way has no port to print to: hence --verbose.
        argv = [
            "env",
            path,
            vng,
            "--verbose",
            "--run",
            str(kernel.bzimage),
            "--disable-kvm",
            "--cpus",
            "2",
            "--memory",
            "512M",
            "--cwd",
            scratch,
            "--",
            "uname",
            "-r",
        ]
        started = time.monotonic()
        said = run(_LIMIT, ["script", "-qec", shlex.join(argv), "/dev/null"], check=False)
        spent = time.monotonic() - started
    if kernel.release not in said.text:
        raise WeFailed("virtme-ng did not run the kernel", said.text[-800:], "kernlab bench")
    return spent


def _kernlab(words: list[str]) -> float:
    started = time.monotonic()
    run(_LIMIT, [*_KERNLAB, *words])
    return time.monotonic() - started


def _boot(kernel: Kernel, image: Image) -> float:
    with tempfile.TemporaryDirectory(prefix="kernlab-") as scratch:
        directory = RunDir.create({}, Path(scratch, "run"))
        started = time.monotonic()
        with machine_for(Setting(kernel, image, MachineOptions(), directory)) as machine:
            machine.wait_ready()
            return time.monotonic() - started


def _gdb_loads(vmlinux: Path) -> float:
    gdb = need("gdb", "is measured", "gdb")
    started = time.monotonic()
    run(_LIMIT, [gdb, "-nx", "-q", "-batch", "-iex", "set auto-load no", str(vmlinux)])
    return time.monotonic() - started
