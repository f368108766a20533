"""Running the package manager, with sudo only where it takes root's rights."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import IO, Any

from kernlab.config import packages
from kernlab.errors import HostLacks
from kernlab.process import Child, run, which

_LIMIT = 3600.0  # seconds for one command: a slow mirror is no failure


def commands(names: Sequence[str], manager: str) -> list[list[str]]:
    """What installs packages without asking, as root: a refresh of the lists, then the rest."""
    row = packages.table().managers[manager]
    install = [*row.install, *row.unattended, *names]
    if row.environment:
        install = ["env", *(f"{key}={value}" for key, value in row.environment.items()), *install]
    return [row.refresh, install] if row.refresh else [install]


def shown(names: Sequence[str], manager: str) -> str:
    """The line a person types for the same."""
    row = packages.table().managers[manager]
    steps = [row.refresh] if row.refresh else []
    steps.append([*row.install, *names])
    rights = [] if os.geteuid() == 0 else ["sudo"]
    return " && ".join(shlex.join([*rights, *step]) for step in steps)


def install(names: Sequence[str], manager: str | None, *, asking: bool, out: IO[Any]) -> None:
    """Install packages; the manager's own words go to ``out``.

    ``asking``: there is a terminal at which sudo may ask for a password. Raises
    ``HostLacks`` without rights, without a manager, or when the manager fails.
    """
    if manager is None:
        raise HostLacks(
            "this host has no known package manager",
            f"known are {', '.join(packages.table().managers)}",
            "install by hand: " + " ".join(names),
        )
    rights = _rights(asking)
    if rights is None:
        raise HostLacks(
            "only root can install packages",
            "you are not root, and sudo does not work without a password",
            shown(names, manager),
        )
    for argv in commands(names, manager):
        # In the terminal's group, so that sudo can ask there.
        with Child([*rights, *argv], stdin=None, stdout=out, stderr=out, foreground=True) as child:
            status = child.wait(_LIMIT)
        if status != 0:
            raise HostLacks(
                f"{shlex.join(argv)} failed",
                f"exit status {status}; its output is above",
                shown(names, manager),
            )


def _rights(asking: bool) -> list[str] | None:
    """What goes before a command to run it as root; None where nothing helps."""
    if os.geteuid() == 0:
        return []
    sudo = which("sudo")
    if sudo is None:
        return None
    if asking or run(20, [sudo, "-n", "true"], check=False).returncode == 0:
        return [sudo]
    return None
