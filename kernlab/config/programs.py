"""Guest programs by name: a name in rootfs/guest, or a C file beside the file that names it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from kernlab.config.files import read_regular
from kernlab.config.paths import shipped

NAME = re.compile(r"[\w-]+(?:/[\w-]+)*", re.ASCII)
LONGEST = 16 << 20  # bytes of a program's source
_LIBBPF = ("bpf", "probe")  # directories of what kernlab.guest.bpf builds


def program_name(name: str) -> str:
    """The name. Raises ``ValueError`` for what names no program: a file from the internet says
    where its program lies, and must not lead to other files of the host."""
    if name.endswith(".c"):
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "~")) or ".." in parts or "\0" in name or len(name) > 200:
            raise ValueError(
                "a program must be beside its file or below it, and is named relative to it"
            )
    elif not NAME.fullmatch(name):
        raise ValueError("program must be a name in rootfs/guest, or a path that ends in .c")
    return name


Program = Annotated[str, AfterValidator(program_name)]


def names() -> list[str]:
    """The programs there are; those of labs as ``labs/NAME``."""
    top = shipped("rootfs", "guest")
    found = (path.relative_to(top) for path in top.rglob("*.c"))
    return sorted(str(path.with_suffix("")) for path in found if path.parts[0] not in _LIBBPF)


def source_of(name: str, beside: Path) -> Path:
    """The source of a lab's or a race's program (a ``Program``): a
    path ending in .c, in the directory ``beside`` or below it, or the name of one in rootfs/guest
    (``races/r1``) or in its labs."""
    if name.endswith(".c"):
        return beside / name
    folder = () if "/" in name else ("labs",)
    return shipped("rootfs", "guest", *folder, f"{name}.c")


def text_of(name: str, beside: Path) -> str | None:
    """A program's source; None where there is no such file, or a link leads to one elsewhere."""
    source = source_of(name, beside)
    try:
        data = read_regular(source, LONGEST, beside if name.endswith(".c") else None)
    except OSError:
        return None
    return data.decode("utf-8", "replace")
