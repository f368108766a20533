"""Guest programs from rootfs/guest, static, cached by their content."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from kernlab.config import sums
from kernlab.config.needs import require
from kernlab.config.paths import arriving, expanded, home_dir, shipped
from kernlab.config.yaml import unknown
from kernlab.errors import BadInput, WeFailed
from kernlab.guest.needs import PROGRAMS
from kernlab.process import run, which
from kernlab.progress import Finished, Reporter, Started

_FLAGS = ("-static", "-O2", "-g0", "-Wall", "-Wextra", "-pthread")
_LIBBPF = ("bpf", "probe")  # directories of what kernlab.guest.bpf builds
_ERROR = re.compile(r"^.*\berror: .*$", re.MULTILINE)


def names() -> list[str]:
    """The programs there are; those of labs as ``labs/NAME``."""
    top = shipped("rootfs", "guest")
    found = (path.relative_to(top) for path in top.rglob("*.c"))
    return sorted(str(path.with_suffix("")) for path in found if path.parts[0] not in _LIBBPF)


def source_of(name: str, beside: Path) -> Path:
    """The source of a lab's or a race's program: a path ending in .c, taken from the
    directory ``beside``, or the name of one in rootfs/guest (``races/r1``) or in its labs."""
    if name.endswith(".c"):
        return beside / expanded(name)
    folder = () if "/" in name else ("labs",)
    return shipped("rootfs", "guest", *folder, f"{name}.c")


def program(name: str, report: Reporter) -> Path:
    """The built program ``name``. Raises ``BadInput``, ``HostLacks``, ``WeFailed``."""
    source = shipped("rootfs", "guest", f"{name}.c")
    if not source.is_file():
        raise unknown(f"there is no guest program '{name}'", name, names(), "ls rootfs/guest")
    return compiled(source, report)


def compiled(source: Path, report: Reporter) -> Path:
    """The program made of one C file; it may include lab.h and tunpeer.h.

    Raises ``BadInput`` when there is no such file, ``HostLacks``, ``WeFailed``.
    """
    if not source.is_file():
        raise BadInput(f"there is no guest program {source}", "", f"ls {source.parent}")
    if which("gcc") is None:
        require(PROGRAMS)
    final = home_dir("images") / f"guest-{_key(source)}"
    built = final / source.stem
    if not sums.whole(final, f"guest program {source.stem}", report):
        require(PROGRAMS)
        report(Started(f"compile {source.stem}"))
        with arriving(final) as temporary:
            _compile(source, temporary / source.stem)
        report(Finished(f"compile {source.stem}"))
    return built


def _key(source: Path) -> str:
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    digest.update(run(20, ["gcc", "--version"]).stdout)
    headers = {path for folder in (source.parent, *_include()) for path in folder.glob("*.h")}
    for path in [source, *sorted(headers)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _include() -> list[Path]:
    """Where the headers for the programs of labs and races are."""
    return [shipped("rootfs", "guest", "labs"), shipped("rootfs", "guest", "races")]


def _compile(source: Path, out: Path) -> None:
    include = [word for folder in _include() for word in ("-I", str(folder))]
    argv = ["gcc", *_FLAGS, *include, "-o", str(out), str(source)]
    said = run(120, argv, check=False, merge=True)
    if said.returncode != 0:
        first = _ERROR.search(said.text)
        raise WeFailed(
            f"{source.name} does not compile",
            first.group() if first else said.text[-1000:],
            " ".join(argv),
        )
