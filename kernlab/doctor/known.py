"""configs/known.yaml: combinations that are known not to work, and which of them are here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load
from kernlab.kernel import catalogue
from kernlab.kernel.sources import kept

Version = tuple[int, ...]
_NEWEST = 1 << 30  # the patch level of a series' newest release, whatever it is
_BOUND = r"\d+(?:\.\d+)*"
_RANGE = re.compile(rf"({_BOUND})?\.\.({_BOUND})?|({_BOUND})")
_ACCELERATORS = ("tcg", "kvm")


class InTree(Model):
    """A text in a file of a kernel's source tree."""

    file: str
    has: str


class Known(Model):
    """A row: see the head of known.yaml."""

    id: str
    title: str
    when: dict[str, str]
    unless: InTree | None = None
    effect: Literal["fails", "limits"]
    symptom: str
    reason: str
    remedy: str
    seen: list[str]

    @field_validator("when")
    @classmethod
    def _readable(cls, when: dict[str, str]) -> dict[str, str]:
        for name, ranges in when.items():
            if name == "accelerator":
                if ranges not in _ACCELERATORS:
                    raise ValueError(f"accelerator is one of {', '.join(_ACCELERATORS)}")
            elif not all(_RANGE.fullmatch(part.strip()) for part in ranges.split(",")):
                raise ValueError(f"{name}: '{ranges}' is not FIRST..LAST, with commas between")
        return when


class KnownTable(Model):
    known: list[Known]


@dataclass(frozen=True)
class Chosen:
    """The kernel that would be built: its place in the order, and its tree where it is here."""

    shown: str
    version: Version
    tree: Path | None


@dataclass(frozen=True)
class Hit:
    """A row that is true of this host; ``here`` names the versions that make it so."""

    id: str
    title: str
    here: str
    effect: str
    symptom: str
    reason: str
    remedy: str


def table() -> KnownTable:
    """The user's own known.yaml or the shipped one."""
    return load(config_file("known.yaml"), KnownTable)


def chosen(kernel: str | None) -> Chosen:
    """What ``kernlab build`` would take: a tree of the series that is here, or the newest."""
    wanted = kernel or catalogue.read().default
    catalogue.check(wanted)
    trees = dict(kept.named())
    fitting = [name for name in trees if wanted in (name, catalogue.series(name))]
    if fitting:
        newest = max(fitting, key=catalogue.order_key)
        return Chosen(newest, catalogue.order_key(newest), trees[newest])
    version = catalogue.order_key(wanted)
    return Chosen(wanted, version if len(version) > 2 else (*version, _NEWEST), None)


def within(version: Version, ranges: str) -> bool:
    """Whether a version lies in one of the ranges. A LAST of two numbers takes in its third."""
    for part in ranges.split(","):
        match = _RANGE.fullmatch(part.strip())
        assert match is not None, part
        first, last, only = (catalogue.order_key(text or "") for text in match.groups())
        first, last = first or only, last or only
        if version >= first and (not last or version[: len(last)] <= last):
            return True
    return False


def hits(rows: Iterable[Known], versions: Mapping[str, str], kernel: Chosen) -> list[Hit]:
    """The rows that are true of these programs and this kernel, and the kernel's own quirks."""
    found = [_hit(row, versions, kernel) for row in rows if _true(row, versions, kernel)]
    for quirk in catalogue.quirks(".".join(map(str, kernel.version))):
        found.append(
            Hit(f"linux-{quirk.since}-{quirk.until}", quirk.what, f"kernel {kernel.shown}",
                "limits", "", "", quirk.remedy)
        )  # fmt: skip
    return found


def _true(row: Known, versions: Mapping[str, str], kernel: Chosen) -> bool:
    for name, ranges in row.when.items():
        if name == "kernel":
            if not within(kernel.version, ranges):
                return False
        elif name == "accelerator":
            if versions.get(name) != ranges:
                return False
        else:
            version = versions.get(name, "")
            # A program that is missing, or does not say its version, makes nothing true.
            if not version[:1].isdigit() or not within(catalogue.order_key(version), ranges):
                return False
    return not (row.unless and kernel.tree and _has(kernel.tree, row.unless))


def _has(tree: Path, text: InTree) -> bool:
    try:
        return text.has in (tree / text.file).read_text("utf-8", "replace")
    except OSError:
        return False


def _hit(row: Known, versions: Mapping[str, str], kernel: Chosen) -> Hit:
    said = {**versions, "kernel": kernel.shown}
    here = " × ".join(said[n] if n == "accelerator" else f"{n} {said[n]}" for n in row.when)
    return Hit(row.id, row.title, here, row.effect, row.symptom, row.reason, row.remedy)


def page(rows: Iterable[Known]) -> str:
    """The rows as Markdown, for docs/troubleshooting.md and for reading."""
    parts = []
    for row in rows:
        when = " and ".join(f"{name} {ranges}" for name, ranges in row.when.items())
        effect = "does not work" if row.effect == "fails" else "works, with this drawback"
        parts.append(
            f"### {row.title}\n\n"
            f"    {row.symptom}\n\n"
            f"- When: {when} ({effect})\n"
            f"- Why: {row.reason}\n"
            f"- Remedy: {row.remedy}\n"
            f"- Seen: {', '.join(row.seen)}\n"
            f"- Row: `{row.id}`\n"
        )
    for quirk in catalogue.read().quirks:
        parts.append(
            f"### Linux {quirk.since} to {quirk.until}: {quirk.what}\n\n- Remedy: {quirk.remedy}\n"
        )
    return "\n".join(parts)
