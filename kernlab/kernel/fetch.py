"""From what a user calls a kernel to a source tree on this disk."""

from __future__ import annotations

from pathlib import Path

from kernlab.config.paths import expanded
from kernlab.errors import BadInput, HostLacks
from kernlab.kernel import catalogue
from kernlab.kernel.catalogue import Catalogue
from kernlab.kernel.model import SourceTree
from kernlab.kernel.sources import apt, git, kept, kernel_org, local
from kernlab.progress import Reporter, Said

_SERVE_RELEASES = ("kernel_org", "apt")


def fetch(version: str | None, report: Reporter, *, newest: bool = False) -> SourceTree:
    """The source tree for ``version`` (see ``BuildRequest.version``).

    A tree that is already here is used, without asking the network; ``newest`` asks for
    a newer release of a series. A source that cannot be reached or has no such release
    gives way to the next one, with a line that says so; one whose check failed does not.
    Raises ``BadInput``, ``HostLacks``, ``WeFailed``.
    """
    table = catalogue.read()
    wanted = version or table.default
    sources, wanted = one_source(wanted)
    if not sources and _is_path(wanted):
        if "local" in table.order and expanded(wanted).exists():
            return local.get(Path(wanted), report)
        found = git.split(wanted) if "git" in table.order else None
        if found is not None:
            return git.get(*found, report, newest=newest)
        return local.get(Path(wanted), report)
    catalogue.check(wanted)
    sources = sources or [name for name in table.order if name in _SERVE_RELEASES]
    here = kept.find(wanted, sources)
    if here is not None and not newest:
        return here
    return _first(sources, wanted, table, report)


def _first(sources: list[str], wanted: str, table: Catalogue, report: Reporter) -> SourceTree:
    """From the first source that has it."""
    problems: list[tuple[str, HostLacks]] = []
    for number, name in enumerate(sources, 1):
        try:
            if name == "kernel_org":
                return kernel_org.get(wanted, table.kernel_org, report)
            return apt.get(wanted, table.apt, report)
        except HostLacks as error:
            problems.append((name, error))
            if number < len(sources):
                why = "".join(f" ({line})" for line in error.why.splitlines()[:1])
                report(Said(f"{error.what}{why}; trying {sources[number]}"))
    if len(problems) == 1:
        raise problems[0][1]
    raise HostLacks(
        f"no source has {wanted}",
        "\n".join(f"{name}: {error.what}\n{error.why}".strip() for name, error in problems),
        problems[-1][1].next_step if problems else "edit configs/kernels.yaml: the key order",
    )


def one_source(wanted: str) -> tuple[list[str], str]:
    """The one source that "apt:5.10" names, and the rest; no source when it names none.
    Raises ``BadInput`` for one that there is not."""
    name, colon, rest = wanted.partition(":")
    if not colon or not catalogue.is_release(rest):
        return [], wanted
    if name not in _SERVE_RELEASES:
        raise BadInput(
            f"'{name}' is not a source of releases",
            f"there are: {', '.join(_SERVE_RELEASES)}",
            f"kernlab fetch {_SERVE_RELEASES[0]}:{rest}",
        )
    return [name], rest


def _is_path(text: str) -> bool:
    return not catalogue.is_release(text) and (
        "/" in text or Path(text).exists() or git.split(text) is not None
    )
