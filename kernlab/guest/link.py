"""Links a BPF loader with the host's libbpf, so that it runs in any guest.

A static program is one file and runs anywhere. Not every host can link one: Debian 13's
libelf.a (elfutils 0.192) calls functions that are in no archive of the package, and Arch has
no libbpf.a. There the program is linked with the shared libraries, and these go with it, the
dynamic linker included: the guest's own may be older, or of another distribution.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernlab.decode.arch import ARCH
from kernlab.errors import HostLacks
from kernlab.guest import elf
from kernlab.process import Completed, run

LIBRARIES = ".libs"  # after the program's name: the directory of what goes with it
SHARE = "/mnt/share"  # where a guest has its share
_LOADER = "ld.so"
_LIMIT = 120.0
_LIBS = ("bpf", "elf", "z")
# "…/libelf.a(elf_end.o): in function `elf_end':", with the reference in a line of its own or in
# the same one, as ld and gold and the newer ones write it.
_IN_ARCHIVE = re.compile(r"(?P<archive>lib[\w.+-]+\.a)\((?:[^()\n]+)\)")
_UNDEFINED = re.compile(r"undefined reference to [`'\"]?(?P<symbol>[\w.@]+)")
_NO_ARCHIVE = re.compile(r"cannot find -l:?(?P<name>[\w.+-]+)")


@dataclass(frozen=True)
class Fault:
    """Why no static program can be linked here: ``archive`` is the host's library that is at
    fault, ``symbols`` what it calls and no archive has; none where the archive is not there."""

    archive: str
    symbols: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.symbols:
            return f"this host has no {self.archive}"
        return f"this host's {self.archive} calls {', '.join(self.symbols)}, which is in no library"


def faults(said: str) -> list[Fault]:
    """What a linker says of the host's archives; empty where the program itself is at fault."""
    wanted: dict[str, dict[str, None]] = {}
    archive = ""
    for line in said.splitlines():
        found = _IN_ARCHIVE.search(line)
        missing = _UNDEFINED.search(line)
        if found:
            archive = found["archive"]
        elif "in function" in line or not missing:
            archive = ""  # an object of the program's own, or other words
        if missing and archive:
            wanted.setdefault(archive, {})[missing["symbol"]] = None
        elif missing:
            return []  # the program calls what is nowhere: no library is at fault
    absent = [Fault(f"lib{name}.a") for name in _NO_ARCHIVE.findall(said)]
    return absent + [Fault(name, tuple(symbols)) for name, symbols in wanted.items()]


def link(argv: Sequence[str], program: Path) -> tuple[Completed, list[Fault]]:
    """Link ``program`` by the compiler's ``argv`` (without libraries and -o): how that ended,
    and what is wrong with the host's archives where the program is not a static one.

    The libraries of one that is not are in ``program`` + ".libs" beside it. Raises
    ``HostLacks`` where neither way is open on this host.
    """
    static = run(_LIMIT, [*argv, "-static", "-o", str(program), *_archives()], check=False)
    if static.returncode == 0:
        return static, []
    found = faults(_words(static))
    if not found:
        return static, []
    place = f"{SHARE}/{program.name}{LIBRARIES}"
    # DT_RPATH, not DT_RUNPATH: it counts for the libraries' own libraries as well.
    loader = [
        f"-Wl,--dynamic-linker={place}/{_LOADER}",
        f"-Wl,-rpath,{place}",
        "-Wl,--disable-new-dtags",
    ]
    shared = run(
        _LIMIT, [*argv, *loader, "-o", str(program), *(f"-l{n}" for n in _LIBS)], check=False
    )
    if shared.returncode == 0:
        _bring(program)
        return shared, found
    if _NO_ARCHIVE.search(_words(shared)) or faults(_words(shared)):
        raise HostLacks(
            "no program that loads BPF can be linked with this host's libraries",
            "\n".join(str(one) for one in found)
            + f"\nwith shared libraries: {_words(shared).strip().splitlines()[0]}",
            "kernlab doctor --install",
        )
    return shared, []  # the program is at fault after all


def host_libraries() -> Iterator[tuple[str, int, int]]:
    """The archives that a static program takes, each by its path, size and time: what was
    linked with others is linked anew."""
    for name in (*_LIBS, "zstd"):
        path = Path(run(20, [ARCH.compiler, f"-print-file-name=lib{name}.a"]).text.strip())
        if path.is_absolute():
            is_there = path.stat()
            yield str(path), is_there.st_size, is_there.st_mtime_ns


def _words(said: Completed) -> str:
    return (said.stderr or said.stdout).decode("utf-8", "replace")


def _archives() -> Iterator[str]:
    yield from (f"-l{name}" for name in _LIBS)
    # libelf.a wants libzstd.a too where it was built with it (elfutils since 0.190).
    if run(20, [ARCH.compiler, "-print-file-name=libzstd.a"]).text.strip().startswith("/"):
        yield "-lzstd"


def _bring(program: Path) -> None:
    """Copy the shared libraries of a program; the dynamic linker, which libc asks for by its
    name, under the name that the program has it by."""
    place = Path(f"{program}{LIBRARIES}")
    place.mkdir()
    for guest, host in elf.closure([program]).items():
        name = Path(guest).name
        if not guest.startswith(SHARE):
            shutil.copy2(host.resolve(), place / (_LOADER if name.startswith("ld-") else name))
    if not (place / _LOADER).is_file():
        raise HostLacks(
            "this host's dynamic linker was not found",
            "its libc does not name one",
            "ldd $(which gcc)",
        )
