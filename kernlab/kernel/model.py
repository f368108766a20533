"""What the kernel room takes and gives."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kernlab.decode.arch import ARCH


@dataclass(frozen=True)
class BuildRequest:
    """A kernel as asked for.

    ``version`` is a series ("5.10"), a release ("5.10.223"), either with a source before it
    ("apt:5.10"), a path to a tree or a tarball, a ref of a git repository ("linux@v5.10.200"),
    the key of a kernel that is built here, or None for the default of configs/kernels.yaml.
    ``configs`` are Kconfig fragments and ``sets`` single options ("CONFIG_X=y"), later ones
    winning; ``patches`` are applied in order.
    """

    version: str | None = None
    configs: tuple[Path, ...] = ()
    sets: tuple[str, ...] = ()
    patches: tuple[Path, ...] = ()
    jobs: int | None = None


@dataclass(frozen=True)
class SourceTree:
    """A complete source tree; ``digest`` changes when its content does."""

    version: str
    path: Path
    origin: str
    digest: str


# What kernel.json holds.
_SHAPE = {
    "key": str,
    "version": str,
    "release": str,
    "source": str,
    "build_id": str,
    "objects": int,
    "cpu_seconds": float,
}


@dataclass(frozen=True)
class Kernel:
    """One built kernel, in ``$KERNLAB_HOME/kernels/<key>/``."""

    key: str
    version: str
    release: str
    path: Path
    source: Path
    build_id: str
    objects: int
    cpu_seconds: float

    @property
    def bzimage(self) -> Path:
        return self.path / ARCH.image

    @property
    def vmlinux(self) -> Path:
        return self.path / "vmlinux"

    @property
    def system_map(self) -> Path:
        return self.path / "System.map"

    @property
    def config(self) -> Path:
        return self.path / "config"

    def save(self, directory: Path) -> None:
        """Write kernel.json into ``directory`` (which becomes ``path`` by a rename)."""
        data = asdict(self)
        data.pop("path")
        data["source"] = str(self.source)
        (directory / "kernel.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Kernel | None:
        """The kernel in the directory ``path``, or None when there is none."""
        try:
            data = json.loads((path / "kernel.json").read_text("utf-8"))
            if {name: type(value) for name, value in data.items()} != _SHAPE:
                return None
            return cls(**{**data, "path": path, "source": Path(data["source"])})
        except (OSError, ValueError, AttributeError):
            return None
