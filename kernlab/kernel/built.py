"""Kernels that are built here already: nothing is fetched and nothing is made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from kernlab.config import sums
from kernlab.config.paths import home
from kernlab.decode.arch import ARCH
from kernlab.errors import HostLacks
from kernlab.kernel import catalogue
from kernlab.kernel.model import Kernel

_KEY = re.compile(r"\d[\w.]*-[0-9a-f]{12}")
# What a build keeps. Beside it lie caches, which carry their own sums.
FILES = (
    "kernel.json",
    ARCH.image,
    "vmlinux",
    "System.map",
    "config",
    "build.log",
    "vmlinux-gdb.py",
    "scripts",
    "build",
)
_SYMBOL = re.compile(rb"[0-9a-f]{16} \S \S+")
_OPTION = re.compile(rb"|#.*|CONFIG_\w+=.*")


def look(path: Path) -> tuple[Kernel | None, str]:
    """The kernel in a directory, or what is wrong with it; "" where there is nothing.

    One from before there were records is looked through once, and gets its record.
    """
    if not path.exists():
        return None, ""
    kernel = Kernel.load(path)
    if kernel is None:
        return None, "kernel.json cannot be read"
    said = sums.problem(path)
    if said == sums.UNKNOWN:
        said = _unlike(kernel)
        if not said:
            with suppress(OSError):  # a home that is not ours to write
                sums.record(path, FILES)
    return (None, said) if said else (kernel, "")


def _unlike(kernel: Kernel) -> str:
    """What of a kernel's files is not what its name says, as far as a look tells; "" if all is."""
    with suppress(OSError):
        with kernel.bzimage.open("rb") as file:
            offset, magic = ARCH.magic
            file.seek(offset)
            if file.read(len(magic)) != magic:
                return f"{ARCH.image} is not a kernel"
        if not _is_text(kernel.system_map, _SYMBOL):
            return "System.map is not a list of symbols"
        if not _is_text(kernel.config, _OPTION):
            return "config is not a configuration"
        if build_id(kernel.vmlinux) != kernel.build_id:
            return "vmlinux belongs to another kernel, or is cut short"
        return ""
    return "a file is missing"


def _is_text(path: Path, line: re.Pattern[bytes]) -> bool:
    """Whether a file has lines of this form and nothing else; its last one is whole."""
    data = path.read_bytes()
    return data.endswith(b"\n") and all(line.fullmatch(one) for one in data.splitlines())


def build_id(vmlinux: Path) -> str | None:
    """The build-id in an ELF file's notes; None where it has none or is not whole."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with vmlinux.open("rb") as file:
            elf: Any = ELFFile(file)
            notes = elf.get_section_by_name(".notes")
            for note in notes.iter_notes() if notes is not None else ():
                if note["n_type"] == "NT_GNU_BUILD_ID":
                    return str(note["n_desc"])
    except (ELFError, ValueError, KeyError, AttributeError, TypeError):
        pass
    return None


def every(kernels: Path) -> Iterator[Kernel]:
    """The kernels whose build in the directory ``kernels`` is complete and whole."""
    for path in kernels.glob("*/kernel.json"):
        kernel, _ = look(path.parent)
        if kernel is not None:
            yield kernel


def by_key(text: str) -> Kernel | None:
    """The built kernel that has the key ``text`` ("5.10.262-86c158ad7c71"), as `kernlab build`
    shows it: the way to one with other options than the shipped ones.

    Raises ``HostLacks`` for one that is damaged: what it was built with, its key does not tell.
    """
    if not _KEY.fullmatch(text):
        return None
    path = home() / "kernels" / text
    kernel, damage = look(path)
    if damage:
        raise HostLacks(
            f"kernel {text} is damaged",
            f"{damage}; give the build the options that it had, if any",
            f"kernlab build {text.rpartition('-')[0]}",
        )
    return kernel


def newest(version: str | None = None) -> Kernel | None:
    """The built kernel of a release or a series ("5.10.223", "5.10"; None for the default),
    of several the highest release and of that the latest build; None without one."""
    wanted = version or catalogue.read().default
    found = [
        kernel
        for kernel in every(home() / "kernels")
        if wanted in (kernel.version, catalogue.series(kernel.version))
    ]
    return max(
        found,
        key=lambda one: (catalogue.order_key(one.version), one.path.stat().st_mtime),
        default=None,
    )
