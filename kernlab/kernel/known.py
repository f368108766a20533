"""configs/known.yaml: combinations that are known not to work, and which of them are here.

The doctor asks for this host and the kernel that would be built, a build for the one it is
about to compile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from kernlab.config import packages
from kernlab.config.paths import config_file, expanded
from kernlab.config.yaml import Model, load
from kernlab.errors import BadInput
from kernlab.kernel import catalogue
from kernlab.kernel.fetch import one_source
from kernlab.kernel.model import SourceTree
from kernlab.kernel.sources import git, kept, local, unpack

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
    pahole: str = ""
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
    """The kernel that would be built: its place in the order, and its tree where it is here.

    ``look`` gives a file of it where there is no tree: a tarball's, or a git ref's; None for a
    file that is not there.
    """

    shown: str
    version: Version
    tree: Path | None = None
    look: Callable[[str], str | None] | None = None

    def has(self, text: InTree) -> bool:
        """Whether it is known to have the text; False also where nothing can be looked at."""
        if self.tree is not None:
            try:
                found: str | None = (self.tree / text.file).read_text("utf-8", "replace")
            except OSError:
                found = None
        else:
            found = self.look(text.file) if self.look is not None else None
        return found is not None and text.has in found


@dataclass(frozen=True)
class Hit:
    """A row that is true of this host; ``here`` names the versions that make it so. ``effect``
    is "mended" where ``kernlab build`` has the remedy: ``pahole`` is an option for it."""

    id: str
    title: str
    here: str
    effect: str
    symptom: str
    reason: str
    remedy: str
    pahole: str = ""


def table() -> KnownTable:
    """The user's own known.yaml or the shipped one."""
    return load(config_file("known.yaml"), KnownTable)


def chosen(kernel: str | None) -> Chosen:
    """What ``kernlab build`` would take for the same word: of a series a tree that is here, or
    the newest release; a tree, a tarball or a git ref as it is.

    Raises ``BadInput`` for what is none of these, and for a URL's ref that is not here.
    """
    text = kernel or catalogue.read().default
    source, wanted = one_source(text)
    if catalogue.is_release(wanted):
        return _release(wanted, source)
    path = expanded(wanted)
    if path.is_dir():
        return _at(local.tree_version(path), wanted, tree=path)
    if path.is_file():
        look = _in_tarball(path)
        return _at(local.version_in(look("Makefile"), str(path)), wanted, look=look)
    parts = git.split(wanted)
    if parts is not None:
        return _ref(*parts)
    if "/" not in wanted:
        catalogue.check(wanted)
    raise BadInput(f"{path} does not exist", "no such tree or tarball", "kernlab fetch")


def _at(
    version: str,
    name: str,
    tree: Path | None = None,
    look: Callable[[str], str | None] | None = None,
) -> Chosen:
    return Chosen(f"{version} ({name})", catalogue.order_key(version), tree, look)


def _release(wanted: str, sources: list[str]) -> Chosen:
    trees = {
        name: tree
        for name, tree in kept.named()
        if wanted in (name, catalogue.series(name))
        and (not sources or kept.source(tree) in sources)
    }
    if trees:
        newest = max(trees, key=catalogue.order_key)
        return Chosen(newest, catalogue.order_key(newest), trees[newest])
    version = catalogue.order_key(wanted)
    return Chosen(wanted, version if len(version) > 2 else (*version, _NEWEST))


def _ref(repository: str, ref: str) -> Chosen:
    name = f"{repository}@{ref}"
    if "://" in repository:
        tree = git.kept_of(repository, ref)
        if tree is None:
            raise BadInput(
                f"{name} is not here yet",
                "only the files of a ref tell which release it is",
                f"kernlab fetch {name}",
            )
        return _at(local.tree_version(tree), name, tree=tree)
    look = git.files(repository, ref)
    return _at(local.version_in(look("Makefile"), name), name, look=look)


def _in_tarball(path: Path) -> Callable[[str], str | None]:
    return lambda name: unpack.member(path, name)


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
            Hit(
                f"linux-{quirk.since}-{quirk.until}",
                quirk.what,
                f"kernel {kernel.shown}",
                "limits",
                "",
                "",
                quirk.remedy,
            )
        )
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
    return not (row.unless and kernel.has(row.unless))


def _hit(row: Known, versions: Mapping[str, str], kernel: Chosen) -> Hit:
    said = {**versions, "kernel": kernel.shown}
    here = " × ".join(said[n] if n == "accelerator" else f"{n} {said[n]}" for n in row.when)
    effect = "mended" if row.pahole else row.effect
    remedy = f"`kernlab build` starts pahole with {row.pahole}" if row.pahole else row.remedy
    return Hit(row.id, row.title, here, effect, row.symptom, row.reason, remedy, row.pahole)


def of_build(source: SourceTree, btf: bool) -> list[Hit]:
    """The rows that will keep ``source`` from being built here, or would without their remedy.

    ``btf``: whether the kernel is to have BTF; without it pahole is not used.
    """
    kernel = Chosen(source.version, catalogue.order_key(source.version), source.path)
    rows = [
        row
        for row in table().known
        if row.effect == "fails"
        and within(kernel.version, row.when.get("kernel", ".."))
        and "accelerator" not in row.when
        and (btf or "pahole" not in row.when)
    ]
    programs = {name for row in rows for name in row.when if name != "kernel"}
    versions = {name: packages.version_of(name) for name in sorted(programs)}
    return [_hit(row, versions, kernel) for row in rows if _true(row, versions, kernel)]


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
            + (f"- `kernlab build` gives pahole `{row.pahole}`, and it works\n" * bool(row.pahole))
            + f"- Seen: {', '.join(row.seen)}\n"
            f"- Row: `{row.id}`\n"
        )
    for quirk in catalogue.read().quirks:
        parts.append(
            f"### Linux {quirk.since} to {quirk.until}: {quirk.what}\n\n- Remedy: {quirk.remedy}\n"
        )
    return "\n".join(parts)
