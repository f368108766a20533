"""What the image room takes and gives, and its table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load


@dataclass(frozen=True)
class ImageRequest:
    """An image as asked for. Each of ``add`` is "PATH" or "PATH:GUESTPATH"."""

    kind: str = "busybox"
    add: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """A built image in ``$KERNLAB_HOME/images/<key>/``."""

    key: str
    kind: str
    path: Path

    @property
    def initramfs(self) -> Path:
        return self.path / "initramfs.cpio"


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
    """A file of rootfs/busybox; ``mode`` in octal."""

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
