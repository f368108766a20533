"""What both images hold alike: kernlab's files, the agent, busybox, what a user adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from kernlab.config.packages import closing_command
from kernlab.config.paths import shipped
from kernlab.errors import HostLacks
from kernlab.guest import elf
from kernlab.image import added, cpio
from kernlab.image.model import FileRow
from kernlab.process import need, run

MERGED = ("bin", "sbin", "lib", "lib64")  # symlinks into /usr, as on every current distribution
_SYSTEM = ("init", "poweroff", "reboot", "halt")


def merged(path: str) -> str:
    """A path as it is stored: under usr/, where the top directories are symlinks to."""
    path = path.lstrip("/")
    return f"usr/{path}" if path.split("/")[0] in MERGED else path


def files(rows: Iterable[FileRow], *place: str) -> list[cpio.Entry]:
    """kernlab's own files, from rootfs/ or a directory in it."""
    return [
        cpio.regular(
            row.to.lstrip("/"), shipped("rootfs", *place, row.name).read_bytes(), int(row.mode, 8)
        )
        for row in rows
    ]


def agent(path: Path) -> cpio.Entry:
    return cpio.regular("usr/sbin/kernlab-agent", path.read_bytes(), 0o755)


def libraries(programs: list[Path], has: Callable[[str], bool]) -> list[cpio.Entry]:
    """The libraries that programs need, but for those at paths that the image ``has``."""
    return [
        cpio.regular(merged(guest), host.read_bytes(), 0o755)
        for guest, host in sorted(elf.closure(programs).items())
        if not has(merged(guest))
    ]


def additions(arguments: Iterable[str]) -> tuple[list[cpio.Entry], list[Path]]:
    """Each ``--add``'s entries, and the programs among them."""
    entries: list[cpio.Entry] = []
    programs: list[Path] = []
    for argument in arguments:
        made, more = added.entries(argument)
        entries += made
        programs += more
    return entries, programs


def static_busybox() -> Path:
    """The host's busybox. Raises ``HostLacks`` for none, or one that is not static."""
    path = Path(need("busybox", "has the image's small tools", "busybox-static"))
    if elf.needed(path).interpreter is not None:
        raise HostLacks(
            f"{path} is not static",
            "the image's init runs when no library may be there",
            closing_command(["busybox-static"]),
        )
    return path


def applets(busybox: Path, taken: set[str], directory: str) -> Iterable[cpio.Entry]:
    """A symlink in ``directory`` for each applet that no real program stands for; what shuts
    the guest down lies where init looks for it."""
    for name in run(10, [str(busybox), "--list"]).text.split():
        if name not in taken and name != "busybox":
            place = "usr/sbin" if name in _SYSTEM else directory
            yield cpio.symlink(f"{place}/{name}", "/usr/bin/busybox")
