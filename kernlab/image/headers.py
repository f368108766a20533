"""A kernel's headers as a disk: what bcc's Python tools compile against in the guest.

bcc looks for /lib/modules/RELEASE/build (src/cc/frontends/clang/kbuild_helper.cc). The
headers a build made and those of its source are laid into one tree; the guest reads them from
a disk of its own, several times faster than over 9p.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock

from kernlab.config import sums
from kernlab.config.needs import require
from kernlab.config.paths import arriving, home_dir
from kernlab.decode.arch import ARCH
from kernlab.image import ext4
from kernlab.image.needs import DISK
from kernlab.kernel.model import Kernel
from kernlab.process import run
from kernlab.progress import Finished, Reporter, Said, Started

_LIMIT = 300.0
_TREES = ("include", f"arch/{ARCH.srcarch}/include")


def headers(kernel: Kernel, report: Reporter) -> Path | None:
    """The disk of a kernel's headers, made once; None when its source is not there any more."""
    final = home_dir("images") / f"headers-{kernel.key}"
    made = final / "headers.img"
    if sums.whole(final, f"disk {final.name}", report):
        return made
    if not (kernel.source / "include").is_dir():
        report(Said(f"bcc's tools have no headers: {kernel.source} is gone (kernlab fetch)"))
        return None
    require(DISK)
    with FileLock(f"{final}.lock", timeout=_LIMIT):
        if sums.problem(final):
            report(Started("pack the kernel's headers"))
            with arriving(final) as temporary:
                size = _pack(kernel, temporary)
            report(Finished("pack the kernel's headers", f"{size} MB"))
    return made


def _pack(kernel: Kernel, out: Path) -> int:
    tree = out / "tree"
    for place in _TREES:
        for origin in (kernel.source, kernel.path / "build"):
            if (origin / place).is_dir():
                shutil.copytree(origin / place, tree / place, dirs_exist_ok=True, symlinks=True)
    size = sum(max(path.lstat().st_size, 4096) for path in tree.rglob("*")) // 1_000_000
    mke2fs = ext4.command(tree, out / "headers.img", "headers", size * 5 // 4 + 16, 4096)
    run(_LIMIT, ["fakeroot", *mke2fs], tree=True)
    shutil.rmtree(tree)
    return size
