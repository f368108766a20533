"""What is looked at beside programs: Python, room on disk and in memory, rights, KVM."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from kernlab.config import packages
from kernlab.config.paths import home
from kernlab.doctor.model import Check
from kernlab.errors import KernlabError
from kernlab.guest import elf
from kernlab.process import run, which
from kernlab.vm import accel
from kernlab.vm.mechanisms import TITLES
from kernlab.vm.needs import has_sandbox

_GB = 1 << 30
# A source tree takes 1.1 GB and its package 0.1; kernlab build refuses to begin below 3.
_DISK_FIRST, _DISK_LATER = 5 * _GB, 1 * _GB
# A guest takes 512 MiB, and GDB with a kernel's debug info as much again.
_MEMORY = 3 * _GB // 2
_GDB_PYTHON = (3, 9)  # what kernlab.decode and gdb_scripts are written for
_KVM = Path("/dev/kvm")
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def checks(manager: str | None) -> list[Check]:
    """All of them, in the order they are shown."""
    found = [_python(), _home(), _disk(), _memory(), _accelerator(), *_sandbox()]
    return [*found, *_gdb_python(manager), *_static_busybox(manager)]


def _python() -> Check:
    # An older one would not have come as far as this.
    return Check("python", "ok", platform.python_version(), "runs kernlab: 3.10 or newer")


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _home() -> Check:
    place = home()
    why = f"{place}: holds sources, kernels, images and runs"
    remedy = "set KERNLAB_HOME to a directory you can write to"
    try:
        # Tried, because rights do not tell of a read-only or a full file system.
        with tempfile.TemporaryFile(dir=_existing(place)) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        why += f"; {error.strerror}"
        return Check("KERNLAB_HOME", "missing", "not writable", why, remedy=remedy)
    return Check("KERNLAB_HOME", "ok", "writable", why)


def _disk() -> Check:
    free = shutil.disk_usage(_existing(home())).free
    first = not any((home() / "kernels").glob("*/kernel.json"))
    wanted = _DISK_FIRST if first else _DISK_LATER
    what = "fetching and building the first kernel" if first else "images and runs"
    why = f"{what}: {wanted / _GB:.0f} GB"
    if free < wanted:
        remedy = "kernlab clean runs; or set KERNLAB_HOME to a larger disk"
        return Check("disk", "missing", f"{free / _GB:.1f} GB free", why, remedy=remedy)
    return Check("disk", "ok", f"{free / _GB:.1f} GB free", why)


def _memory() -> Check:
    available = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # no cgroup v2, or "max"
        available = min(available, int(_CGROUP.read_text("ascii")))
    why = f"a guest and GDB with its debug info: {_MEMORY / _GB:.1f} GB"
    amount = f"{available / _GB:.1f} GB free"
    if available < _MEMORY:
        return Check(
            "memory", "note", amount, why, remedy="close other programs, or use --memory 256"
        )
    return Check("memory", "ok", amount, why)


def _accelerator() -> Check:
    """Never missing: without KVM guests run under TCG."""
    try:
        known = accel.remembered()
    except KernlabError:
        known = None  # no QEMU to ask
    slower = "guests run under TCG, several times slower"
    if known == "kvm":
        return _mechanisms()
    if known is None:
        return Check("accelerator", "ok", "untested", "KVM will be tried at the first boot")
    if os.environ.get("KERNLAB_ACCEL") == "tcg":
        return Check("accelerator", "note", "tcg", f"KERNLAB_ACCEL says so: {slower}")
    if not _KVM.exists():
        why, remedy = (
            f"no /dev/kvm: {slower}",
            "enable virtualisation in the firmware, if the machine has it",
        )
    elif not os.access(_KVM, os.R_OK | os.W_OK):
        why = f"you may not open /dev/kvm: {slower}"
        remedy = "sudo usermod -aG kvm $USER, then log in again"
    else:
        why, remedy = f"/dev/kvm opens, but no guest ran with it: {slower}", ""
    return Check("accelerator", "note", "tcg", why, remedy=remedy)


def _sandbox() -> Iterator[Check]:
    """Distributions build QEMU with seccomp; a container may forbid its use."""
    try:
        good = has_sandbox()
    except KernlabError:
        return  # no QEMU to ask: its own row says so
    why = "QEMU drops the rights that it does not need before the guest runs (qemu -sandbox)"
    if good:
        yield Check("QEMU's seccomp", "ok", "works", why)
        return
    why = "a guest that breaks out of QEMU has all your rights: boot only kernels and programs "
    why += "that you trust"
    yield Check(
        "QEMU's seccomp", "note", "none", why, remedy="install a QEMU that is built with seccomp"
    )


def _mechanisms() -> Check:
    """What was seen of KVM; commands that need what fails run under TCG."""
    seen = accel.seen() if os.environ.get("KERNLAB_ACCEL") != "kvm" else None
    if seen is None:
        return Check("accelerator", "ok", "kvm", "KERNLAB_ACCEL says so: nothing was tried")
    good = ", ".join(name for name, why in seen.items() if not why)
    bad = [f"{TITLES[name]}: {why}" for name, why in seen.items() if why]
    if not bad:
        return Check("accelerator", "ok", "kvm", f"tried on a guest: {good}")
    why = f"works: {good}; under TCG goes what needs: {'; '.join(bad)}"
    return Check("accelerator", "note", "kvm in part", why)


def _gdb_python(manager: str | None) -> Iterator[Check]:
    """GDB may have been built without Python, or with another one than the host's."""
    gdb = which("gdb")
    if gdb is None:
        return  # its own row says so
    script = "python import sys; print('python', *sys.version_info[:3])"
    said = run(20, [gdb, "-nx", "-batch", "-ex", script], check=False, merge=True).text.split()
    numbers = [int(word) for word in said[1:4]] if said[:1] == ["python"] else []
    version = ".".join(map(str, numbers))
    good = tuple(numbers) >= _GDB_PYTHON
    yield Check(
        "GDB's Python",
        "ok" if good else "missing",
        version or "none",
        "reads packets inside GDB: 3.9 or newer",
        ("debugger",),
        () if good else packages.names("gdb", manager),
        "" if good else "put a GDB with Python 3.9 or newer first in PATH",
    )


def _static_busybox(manager: str | None) -> Iterator[Check]:
    """Debian's plain busybox package brings a dynamic one, which an image cannot begin with."""
    path = which("busybox")
    if path is None:
        return
    good = elf.needed(Path(path)).interpreter is None
    yield Check(
        "static busybox",
        "ok" if good else "missing",
        "yes" if good else f"{path} is dynamic",
        "the image's init runs when no library may be there",
        ("image",),
        () if good else packages.names("busybox-static", manager),
    )
