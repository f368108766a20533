"""Which shared libraries a program needs, found as ld.so finds them, without running it.

ld.so(8): DT_RPATH or DT_RUNPATH with $ORIGIN, then the directories of ld.so.conf, then
the default ones.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from kernlab.decode.arch import ARCH
from kernlab.errors import HostLacks


class Needed(NamedTuple):
    """What an ELF file's headers ask for."""

    interpreter: str | None
    libraries: tuple[str, ...]
    search: tuple[str, ...]


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def needed(path: Path) -> Needed:
    """PT_INTERP, DT_NEEDED and the run path of ``path``. Raises ``HostLacks`` when damaged."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    interpreter, libraries, search = None, [], []
    try:
        with path.open("rb") as file:
            elf: Any = ELFFile(file)
            for segment in elf.iter_segments("PT_INTERP"):
                interpreter = segment.get_interp_name()
            for section in elf.iter_sections("SHT_DYNAMIC"):
                for tag in section.iter_tags():
                    if tag.entry.d_tag == "DT_NEEDED":
                        libraries.append(tag.needed)
                    elif tag.entry.d_tag == "DT_RPATH":
                        search += tag.rpath.split(":")
                    elif tag.entry.d_tag == "DT_RUNPATH":
                        search += tag.runpath.split(":")
    except (ELFError, OSError) as error:
        raise HostLacks(
            f"{path} cannot be read as a program", str(error), f"file {path}"
        ) from error
    origin = str(path.resolve().parent)
    return Needed(
        interpreter,
        tuple(libraries),
        tuple(re.sub(r"\$ORIGIN|\$\{ORIGIN\}", origin, entry) for entry in search if entry),
    )


@lru_cache(maxsize=1)
def configured() -> tuple[str, ...]:
    """The directories of /etc/ld.so.conf and what it includes, in order."""
    found: list[str] = []
    _read_conf(Path("/etc/ld.so.conf"), found)
    return tuple(found)


def _read_conf(path: Path, found: list[str]) -> None:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    for raw in text.splitlines():
        line = raw.split("#")[0].strip()
        if line.startswith("include "):
            pattern = line.split(None, 1)[1]
            for included in sorted(Path("/").glob(pattern.lstrip("/"))):
                _read_conf(included, found)
        elif line:
            found.append(line)


def closure(programs: list[Path]) -> dict[str, Path]:
    """Guest path → host file of every library and interpreter the programs need.

    Raises ``HostLacks`` naming a library that is not on this host.
    """
    found: dict[str, Path] = {}
    todo = list(programs)
    seen: set[Path] = set()
    while todo:
        path = todo.pop().resolve()
        if path in seen:
            continue
        seen.add(path)
        wants = needed(path)
        if wants.interpreter is not None:
            found[wants.interpreter] = Path(wants.interpreter)
        for name in wants.libraries:
            guest, host = _find(name, wants.search, path)
            found[guest] = host
            todo.append(host)
    return found


def _find(name: str, search: tuple[str, ...], asked_by: Path) -> tuple[str, Path]:
    for directory in search:
        candidate = Path(directory, name)
        if candidate.is_file():
            return str(candidate), candidate
    for directory in (*configured(), *ARCH.libraries):
        candidate = Path(directory, name)
        if candidate.is_file():
            # The guest has no ld.so.cache: what is not in a default place is put into one.
            place = directory if directory in ARCH.libraries else "/usr/lib"
            return f"{place}/{name}", candidate
    raise HostLacks(
        f"{asked_by} needs {name}, which is not on this host",
        f"looked in {', '.join((*search, *configured(), *ARCH.libraries))}",
        f"apt-file search {name}",
    )
