"""configs/kernels.yaml: which kernels there are, where from, and what is known of them."""

from __future__ import annotations

import re
from typing import Literal

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load
from kernlab.errors import BadInput
from kernlab.progress import Reporter, Said

_RELEASE = re.compile(r"^\d+\.\d+(\.\d+)?$")


class AptRow(Model):
    """A suite that serves a series as a source package."""

    series: str
    distribution: str
    package: str
    suite: str
    archive: Literal["main", "security"]
    why: str


class KernelOrg(Model):
    """kernel.org's releases: ``signer`` is the fingerprint of the key that signs the lists,
    ``connect`` and ``stall`` are seconds, ``pins`` give a release's tarball its SHA-256."""

    mirrors: list[str]
    signer: str
    connect: float
    stall: float
    pins: dict[str, str]


class Quirk(Model):
    """What leaves no trace in a tree: releases from ``since`` to ``until``, and the remedy.

    ``kcflags`` are the remedy where it is a compiler's option: every build gets them.
    """

    since: str
    until: str
    what: str
    remedy: str
    kcflags: str = ""


class Catalogue(Model):
    default: str
    order: list[Literal["local", "git", "kernel_org", "apt"]]
    kernel_org: KernelOrg
    apt: list[AptRow]
    quirks: list[Quirk]


def read() -> Catalogue:
    """The user's own kernels.yaml or the shipped one."""
    return load(config_file("kernels.yaml"), Catalogue)


def is_release(text: str) -> bool:
    """Whether ``text`` is a series or a release, rather than a path."""
    return _RELEASE.match(text) is not None


def series(version: str) -> str:
    """ "5.10" of "5.10.223"."""
    return ".".join(version.split(".")[:2])


def order_key(version: str) -> tuple[int, ...]:
    """Releases in order: 5.9 before 5.10, 5.10.99 before 5.10.223."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def quirks(version: str) -> list[Quirk]:
    """What is known of a release: rows from ``since`` to ``until``, both included; an ``until``
    of two numbers means the whole series."""
    at = order_key(version)
    return [
        row
        for row in read().quirks
        if order_key(row.since) <= at and at[: len(order_key(row.until))] <= order_key(row.until)
    ]


def say_known(version: str, report: Reporter) -> None:
    """Tell a user what the table knows of a release."""
    for row in quirks(version):
        report(Said(f"known of {version}: {row.what}; {row.remedy}"))


def kcflags(version: str) -> tuple[str, ...]:
    """Compiler options that a build of ``version`` gets as a remedy."""
    return tuple(row.kcflags for row in quirks(version) if row.kcflags)


def check(version: str) -> None:
    """Raise ``BadInput`` for a text that is neither a series nor a release."""
    if not is_release(version):
        raise BadInput(
            f"'{version}' is not a kernel version",
            "a series (5.10), a release (5.10.223), a path to a tree or tarball, or REPOSITORY@REF",
            "kernlab fetch 5.10",
        )
