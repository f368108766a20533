"""configs/packages.yaml: the host's package manager, and the names it has for what is needed."""

from __future__ import annotations

import os
import platform
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import lru_cache

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load
from kernlab.process import CommandFailed, run, which

_NUMBER = re.compile(rb"\d+(?:\.\d+)+")
_ASK = 10.0  # seconds for a program to say its version


class Manager(Model):
    """A package manager's commands; the packages' names go at the end of ``install``."""

    program: str
    distributions: list[str]
    refresh: list[str] = []
    install: list[str]
    unattended: list[str]
    environment: dict[str, str] = {}


class PackageTable(Model):
    """``packages``: Debian's name → family → the names there, none where it is not needed.
    ``lacking``: Debian's name → family → what to do where no package brings all of it."""

    managers: dict[str, Manager]
    packages: dict[str, dict[str, list[str]]]
    lacking: dict[str, dict[str, str]] = {}
    versions: dict[str, list[str] | None]


@lru_cache(maxsize=1)
def table() -> PackageTable:
    """The user's own packages.yaml or the shipped one."""
    return load(config_file("packages.yaml"), PackageTable)


def os_release() -> Mapping[str, str]:
    """/etc/os-release, empty where there is none."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def manager_name(system: Mapping[str, str]) -> str | None:
    """The key in ``managers`` for a host: by its distribution, or else by what is installed.

    A distribution's own manager that is not there (a stripped container) does not count.
    """
    managers = table().managers
    words = [system.get("ID", ""), *system.get("ID_LIKE", "").split()]
    said = [name for word in words for name, row in managers.items() if word in row.distributions]
    for name in [*said, *managers]:
        if which(managers[name].program) is not None:
            return name
    return None


def names(debian: str, manager: str | None) -> tuple[str, ...]:
    """What ``manager`` calls a Debian package: empty where its family does not need it.

    A package the table does not list keeps Debian's name: the best guess there is.
    """
    return tuple(table().packages.get(debian, {}).get(manager or "", [debian]))


def lacking(debian: str, manager: str | None) -> str:
    """What to do where ``manager`` has no package for it; empty where it has one."""
    return table().lacking.get(debian, {}).get(manager or "", "")


def closing_command(debian: Iterable[str]) -> str:
    """The one line to type that brings Debian packages, or what they are called here."""
    manager = manager_name(os_release())
    wanted = sorted({name for package in debian for name in names(package, manager)})
    if manager is None:
        return "install " + " ".join(wanted)
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    return shlex.join([*sudo, *table().managers[manager].install, *wanted])


def version_of(program: str) -> str:
    """The version a program says it has; empty where it says none."""
    path = which(program)
    asked = table().versions.get(program, ["--version"])
    if path is None or asked is None:
        return ""
    try:
        said = run(_ASK, [path, *asked], check=False, merge=True)
    except CommandFailed:
        return ""
    found = _NUMBER.search(said.stdout)
    return found[0].decode() if found else ""
