"""``--add PATH[:GUESTPATH]``: a user's own files in the image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from kernlab.config.paths import expanded
from kernlab.errors import BadInput
from kernlab.image.cpio import Entry, directory, regular, symlink


def entries(argument: str) -> tuple[list[Entry], list[Path]]:
    """The entries of one ``--add``, and the programs among them (their libraries follow).

    Without GUESTPATH an executable goes to /usr/local/bin and anything else to /root.
    Raises ``BadInput`` naming the option.
    """
    host, guest, _ = where(argument)
    if not os.path.lexists(host):
        raise BadInput(f"--add {argument}: {host} does not exist", "", f"ls -l {host.parent}")
    target = PurePosixPath(guest)
    if not target.is_absolute() or ".." in target.parts or len(target.parts) < 2:
        raise BadInput(
            f"--add {argument}: '{guest}' is not a path in the guest",
            "an absolute path without .. is needed",
            f"--add {host}:/root/{host.name}",
        )
    found: list[Entry] = []
    programs: list[Path] = []
    _add(host, str(target).lstrip("/"), found, programs, argument)
    return found, programs


def where(argument: str) -> tuple[Path, str, bool]:
    """The file on the host, its place in the guest, and whether the argument names that."""
    host, guest = _split(argument)
    if guest:
        return host, guest, True
    program = host.is_file() and os.access(host, os.X_OK)
    return host, f"/usr/local/bin/{host.name}" if program else f"/root/{host.name}", False


def sources(arguments: Iterable[str]) -> list[Path]:
    """Every file that the arguments name: what a change of is a change of the image."""
    found: list[Path] = []
    for argument in arguments:
        host, _ = _split(argument)
        found += sorted(host.rglob("*")) if host.is_dir() else [host]
    return found


def _split(argument: str) -> tuple[Path, str]:
    if os.path.lexists(expanded(argument)):
        return expanded(argument).absolute(), ""
    host, _, guest = argument.rpartition(":")
    return (expanded(host).absolute(), guest) if host else (Path(argument), "")


def _add(host: Path, guest: str, found: list[Entry], programs: list[Path], argument: str) -> None:
    try:
        status = host.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode) and found:
            found.append(symlink(guest, os.readlink(host)))
        elif host.is_dir():
            found.append(directory(guest, mode if not host.is_symlink() else 0o755))
            for child in sorted(host.iterdir()):
                _add(child, f"{guest}/{child.name}", found, programs, argument)
        elif host.is_file():
            data = host.read_bytes()
            found.append(regular(guest, data, stat.S_IMODE(host.stat().st_mode)))
            if data[:4] == b"\x7fELF":
                programs.append(host)
        else:
            raise BadInput(
                f"--add {argument}: {host} is neither a file nor a directory", "", "without --add"
            )
    except OSError as error:
        raise BadInput(
            f"--add {argument}: {host} cannot be read", str(error), f"ls -l {host}"
        ) from error
