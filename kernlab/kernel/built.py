"""Kernels that are built here already: nothing is fetched and nothing is made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kernlab.config.paths import home
from kernlab.kernel import catalogue
from kernlab.kernel.model import Kernel

_KEY = re.compile(r"\d[\w.]*-[0-9a-f]{12}")


def every(kernels: Path) -> Iterator[Kernel]:
    """The kernels whose build in the directory ``kernels`` is complete."""
    for path in kernels.glob("*/kernel.json"):
        kernel = Kernel.load(path.parent)
        if kernel is not None:
            yield kernel


def by_key(text: str) -> Kernel | None:
    """The built kernel that has the key ``text`` ("5.10.262-86c158ad7c71"), as `kernlab build`
    shows it: the way to one with other options than the shipped ones."""
    return Kernel.load(home() / "kernels" / text) if _KEY.fullmatch(text) else None


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
