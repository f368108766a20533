"""Kernels that are built here already: nothing is fetched and nothing is made."""

from __future__ import annotations

from kernlab.config.paths import home
from kernlab.kernel import catalogue
from kernlab.kernel.model import Kernel


def newest(version: str | None = None) -> Kernel | None:
    """The built kernel of a release or a series ("5.10.223", "5.10"; None for the default),
    of several the highest release and of that the latest build; None without one."""
    wanted = version or catalogue.read().default
    found = [
        kernel
        for path in (home() / "kernels").glob("*/kernel.json")
        if (kernel := Kernel.load(path.parent)) is not None
        and wanted in (kernel.version, catalogue.series(kernel.version))
    ]
    return max(
        found,
        key=lambda one: (catalogue.order_key(one.version), one.path.stat().st_mtime),
        default=None,
    )
