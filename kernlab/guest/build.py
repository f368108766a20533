"""Guest programs from rootfs/guest, static, cached by their content."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from kernlab.config import sums
from kernlab.config.files import is_regular, read_regular
from kernlab.config.needs import require
from kernlab.config.paths import arriving, home_dir, shipped
from kernlab.config.programs import LONGEST, NAME, names
from kernlab.config.yaml import unknown
from kernlab.decode.arch import ARCH
from kernlab.errors import BadInput, WeFailed
from kernlab.guest.needs import PROGRAMS
from kernlab.guest.strangers import assembly
from kernlab.process import run, which
from kernlab.progress import Finished, Reporter, Started

_FLAGS = ("-static", "-O2", "-g0", "-Wall", "-Wextra", "-pthread")
NAMELESS = "-ffile-prefix-map"
_ERROR = re.compile(r"^.*\berror: .*$", re.MULTILINE)


def program(name: str, report: Reporter) -> Path:
    """The built program ``name``. Raises ``BadInput``, ``HostLacks``, ``WeFailed``."""
    source = shipped("rootfs", "guest", f"{name}.c")
    if not NAME.fullmatch(name) or not source.is_file():
        raise unknown(f"there is no guest program '{name}'", name, names(), "ls rootfs/guest")
    return compiled(source, report)


def compiled(source: Path, report: Reporter, below: Path | None = None) -> Path:
    """The program made of one C file; it may include lab.h and tunpeer.h. Of one that does not
    come with kernlab, ``below`` is the directory outside which nothing of it may lie.

    Raises ``BadInput`` when there is no such file, ``HostLacks``, ``WeFailed``.
    """
    ours = source.is_relative_to(shipped("rootfs", "guest"))
    inside = None if ours else below or source.parent
    if not is_regular(source, inside):
        why = "" if ours else "a program must be a file, not a link"
        raise BadInput(f"there is no guest program {source}", why, f"ls -l {source.parent}")
    if which(ARCH.compiler) is None:
        require(PROGRAMS)
    final = home_dir("images") / f"guest-{_key(source)}"
    built = final / source.stem
    if not sums.whole(final, f"guest program {source.stem}", report):
        require(PROGRAMS)
        report(Started(f"compile {source.stem}"))
        with arriving(final) as temporary:
            _compile(source, temporary / source.stem, inside)
        report(Finished(f"compile {source.stem}"))
    return built


def nameless(*folders: Path, option: str = NAMELESS) -> list[str]:
    """Flags for gcc and clang by which a program names its sources (``__FILE__``, a failed
    assertion, BTF's lines) as they lie in these folders: one checkout's program is another's."""
    return [f"{option}={folder}/=" for folder in dict.fromkeys(folders)]


def _key(source: Path) -> str:
    digest = hashlib.sha256(" ".join((*_FLAGS, NAMELESS)).encode())
    digest.update(run(20, [ARCH.compiler, "--version"]).stdout)
    headers = {path for folder in (source.parent, *_include()) for path in folder.glob("*.h")}
    for path in [source, *sorted(headers)]:
        if is_regular(path):
            data = read_regular(path, LONGEST)
            digest.update(os.fsencode(path.name) + b"\0" + data + b"\0")
    return digest.hexdigest()[:16]


def _include() -> list[Path]:
    """Where the headers for the programs of labs and races are."""
    return [shipped("rootfs", "guest", "labs"), shipped("rootfs", "guest", "races")]


def _compile(source: Path, out: Path, inside: Path | None) -> None:
    include = [word for folder in _include() for word in ("-I", str(folder))]
    # Of several that fit, the last is taken.
    include += nameless(source.parent, shipped("rootfs", "guest"), *_include())
    argv = [ARCH.compiler, *_FLAGS, *include, "-o", str(out), str(source)]
    text = out.with_name(f"{out.name}.s")
    said, given = "", source
    if inside is not None:
        flags = [*_FLAGS, *include]
        said, given = assembly(source, inside, flags, [shipped("rootfs", "guest")], text), text
    if not said:
        ended = run(120, [*argv[:-1], str(given)], check=False, merge=True)
        said = ended.text if ended.returncode else ""
    text.unlink(missing_ok=True)
    if said:
        first = _ERROR.search(said)
        raise WeFailed(
            f"{source.name} does not compile",
            first.group() if first else said[-1000:],
            " ".join(argv),
        )
