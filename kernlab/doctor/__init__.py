"""What this host has of what kernlab needs, what is known to go wrong with it, and the
commands that close the gaps.

Rooms declare their needs beside their code (``kernlab/*/needs.py``); this collects them.
Looking boots, builds and fetches nothing, and writes nothing that stays.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

import kernlab
from kernlab.config import packages
from kernlab.config.needs import Need
from kernlab.doctor import host
from kernlab.doctor.model import Check
from kernlab.kernel import known


@dataclass(frozen=True)
class Report:
    """What was found. ``manager`` is a key of packages.yaml, None on a host without any."""

    system: str
    manager: str | None
    kernel: str
    checks: list[Check]
    combinations: list[known.Hit]
    rows: int

    @property
    def missing_packages(self) -> list[str]:
        """What the package manager is to install, by its own names."""
        return sorted({name for check in self.gaps for name in check.packages})

    @property
    def gaps(self) -> list[Check]:
        return [check for check in self.checks if check.state == "missing"]

    @property
    def complete(self) -> bool:
        """Whether nothing that is needed is missing or known not to work."""
        return not self.gaps and all(hit.effect != "fails" for hit in self.combinations)


def collect() -> dict[str, list[Need]]:
    """Room → what it declares, for each room that has a needs.py."""
    found = {}
    for room in pkgutil.iter_modules(kernlab.__path__):
        name = f"kernlab.{room.name}.needs"
        if room.ispkg and room.name != "config" and importlib.util.find_spec(name):
            found[room.name] = list(importlib.import_module(name).NEEDS)
    return found


def examine(kernel: str | None = None) -> Report:
    """Look at this host, for building ``kernel`` (a series or a release, else the default).

    Raises ``BadInput`` for a ``kernel`` that is neither, or a table that is malformed.
    """
    built = known.chosen(kernel)
    system = packages.os_release()
    manager = packages.manager_name(system)
    checks = [*host.checks(manager), *programs(collect(), manager)]
    versions = {check.name: check.found for check in checks if check.state != "missing"}
    rows = known.table().known
    return Report(
        system.get("PRETTY_NAME", "an unnamed Linux"),
        manager,
        built.shown,
        checks,
        known.hits(rows, versions, built),
        len(rows),
    )


def programs(rooms: dict[str, list[Need]], manager: str | None) -> Iterator[Check]:
    """A check for each program or file, whichever rooms ask for it."""
    merged: dict[tuple[str, str], tuple[Need, list[str], list[str]]] = {}
    for room, needs in rooms.items():
        for need in needs:
            _, asking, reasons = merged.setdefault((need.name, need.package), (need, [], []))
            asking += [room] if room not in asking else []
            reasons += [need.why] if need.why not in reasons else []
    for need, asking, reasons in merged.values():
        names = packages.names(need.package, manager)
        if not names:
            continue  # this family of distributions does not need it
        where = need.found()
        version = packages.version_of(need.program) if where and need.program else ""
        without = "" if where else need.without or packages.lacking(need.package, manager)
        yield Check(
            need.name,
            "ok" if where else "note" if without else "missing",
            version or ("found" if where else ""),
            "; ".join(reasons),
            tuple(asking),
            () if where or without else names,
            without,
        )
