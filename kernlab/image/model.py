"""What the image room takes and gives, and its tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load


@dataclass(frozen=True)
class ImageRequest:
    """An image as asked for. Each of ``add`` is "PATH" or "PATH:GUESTPATH"; ``packages`` are
    wanted beside those of image-debian.yaml."""

    kind: str = "busybox"
    add: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """A built image in ``$KERNLAB_HOME/images/<key>/``; ``disk`` is what its initramfs mounts,
    read-only, None for an image that is an initramfs alone."""

    key: str
    kind: str
    path: Path
    disk: Path | None = None

    @property
    def initramfs(self) -> Path:
        return self.path / "initramfs.cpio"

    def complete(self) -> bool:
        """Whether its files are there: a user may have removed some."""
        return self.initramfs.is_file() and (self.disk is None or self.disk.is_file())


class ProgramRow(Model):
    """A host program; ``sbin``: it goes to /usr/sbin, where scripts look for it."""

    name: str
    package: str
    why: str
    sbin: bool = False


class PluginRow(Model):
    """Host files by a glob; ``{name}`` in it stands for each of ``names``."""

    glob: str
    names: list[str] = []
    why: str

    def paths(self) -> list[Path]:
        patterns = [self.glob.replace("{name}", name) for name in self.names or [""]]
        return sorted(p for pattern in patterns for p in Path("/").glob(pattern.lstrip("/")))


class FileRow(Model):
    """A file of rootfs/busybox, or of rootfs/ with its directory; ``mode`` in octal."""

    name: str
    to: str
    mode: str


class BusyboxTable(Model):
    programs: list[ProgramRow]
    links: dict[str, str]
    plugins: list[PluginRow]
    files: list[FileRow]
    directories: list[str]


def table() -> BusyboxTable:
    """The user's own image-busybox.yaml or the shipped one."""
    return load(config_file("image-busybox.yaml"), BusyboxTable)


class SuiteRow(Model):
    """A suite of an archive that the host uses; "{codename}" is the host's own."""

    suite: str
    archive: Literal["main", "security"]


class ArchiveRow(Model):
    """What one distribution's archives give: ``components`` with blanks between."""

    components: str
    suites: list[SuiteRow]


class PackageRow(Model):
    """A package; ``only`` for one distribution, by its ID of /etc/os-release."""

    name: str
    why: str
    only: str | None = None


class LaterRow(Model):
    """A package of a newer suite of which ``programs`` alone are taken."""

    name: str
    distribution: str
    suite: str
    archive: Literal["main", "security"]
    programs: list[str]
    why: str


class DebianTable(Model):
    """``leave_out``: path-exclude patterns of dpkg(1); ``scratch`` in MB."""

    archives: dict[str, ArchiveRow]
    packages: list[PackageRow]
    later: list[LaterRow]
    leave_out: list[str]
    scratch: int
    files: list[FileRow]


def debian_table() -> DebianTable:
    """The user's own image-debian.yaml or the shipped one."""
    return load(config_file("image-debian.yaml"), DebianTable)
