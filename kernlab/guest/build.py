"""Guest programs from rootfs/guest, static, cached by their content."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from kernlab.config.needs import require
from kernlab.config.paths import arriving, home_dir, shipped
from kernlab.config.yaml import near
from kernlab.errors import BadInput, WeFailed
from kernlab.guest.needs import NEEDS
from kernlab.process import run, which
from kernlab.progress import Finished, Reporter, Started

_FLAGS = ("-static", "-O2", "-g0", "-Wall", "-Wextra", "-pthread")
_ERROR = re.compile(r"^.*\berror: .*$", re.MULTILINE)


def names() -> list[str]:
    """The programs there are; those of labs as ``labs/NAME``."""
    top = shipped("rootfs", "guest")
    return sorted(str(path.relative_to(top).with_suffix("")) for path in top.rglob("*.c"))


def program(name: str, report: Reporter) -> Path:
    """The built program ``name``. Raises ``BadInput``, ``HostLacks``, ``WeFailed``."""
    source = shipped("rootfs", "guest", f"{name}.c")
    if not source.is_file():
        close = near(name, names())
        raise BadInput(
            f"there is no guest program '{name}'",
            f"did you mean {close[0]}?" if close else f"there are: {', '.join(names())}",
            "ls rootfs/guest",
        )
    if which("gcc") is None:
        require(NEEDS)
    final = home_dir("images") / f"guest-{_key(source)}"
    built = final / source.stem
    if not built.is_file():
        require(NEEDS)
        report(Started(f"compile {name}"))
        with arriving(final) as temporary:
            _compile(source, temporary / source.stem)
        report(Finished(f"compile {name}"))
    return built


def _key(source: Path) -> str:
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    digest.update(run(20, ["gcc", "--version"]).stdout)
    for path in [source, *sorted(source.parent.glob("*.h"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _compile(source: Path, out: Path) -> None:
    said = run(120, ["gcc", *_FLAGS, "-o", str(out), str(source)], check=False, merge=True)
    if said.returncode != 0:
        first = _ERROR.search(said.text)
        raise WeFailed(
            f"{source.name} does not compile",
            first.group() if first else said.text[-1000:],
            f"gcc {' '.join(_FLAGS)} {source}",
        )
