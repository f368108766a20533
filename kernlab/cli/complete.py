"""What a shell offers for a value. Called at each TAB: reads little, imports little, and says
nothing when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MOST = 400  # names a shell is given; more is no help


def functions(incomplete: str) -> list[str]:
    """Functions of the newest kernel that is built here, as System.map names them."""
    from kernlab.config.paths import home

    built = sorted((home() / "kernels").glob("*/System.map"), key=_modified)
    if not built or len(incomplete) < 2:
        return []  # fifty thousand names are no choice
    return sorted(dict.fromkeys(_named(built[-1], incomplete)))[:_MOST]


def _named(system_map: Path, prefix: str) -> Iterator[str]:
    wanted = f" {prefix}"
    for line in system_map.read_text("utf-8", "replace").splitlines():
        # "ffffffff81000000 T name", a clone being "name.isra.0"
        if line.startswith(wanted, 18) and line[17] in "tTwW":
            yield line[19:].split(".")[0]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def kernels(incomplete: str) -> list[str]:
    """Releases whose trees or builds are here, and the series that sources have."""
    from kernlab.config.paths import home
    from kernlab.errors import KernlabError
    from kernlab.kernel import catalogue

    names = {path.name.split("-")[1] for path in (home() / "sources").glob("*-*/")}
    names |= {path.parent.name.split("-")[0] for path in home().glob("kernels/*/kernel.json")}
    with suppress(KernlabError):  # a malformed table is told by the command itself
        names |= {row.series for row in catalogue.read().apt}
    known = [name for name in names if catalogue.is_release(name) and name.startswith(incomplete)]
    return sorted(known, key=catalogue.order_key)


def workloads(incomplete: str) -> list[str]:
    """Names in workloads.yaml."""
    from kernlab.errors import KernlabError
    from kernlab.trace.workloads import table

    try:
        return [name for name in table() if name.startswith(incomplete)]
    except KernlabError:
        return []


def presets(incomplete: str) -> list[str]:
    """The files in configs/presets, the user's own included."""
    from kernlab.trace.presets import names

    return [name for name in names() if name.startswith(incomplete)]


def bpf_programs(incomplete: str) -> list[str]:
    """The BPF programs that are shipped."""
    from kernlab.guest.bpf import shipped_programs

    return [one.name for one in shipped_programs() if one.name.startswith(incomplete)]


def bpf_runs(incomplete: str) -> list[str]:
    """What ``kernlab bpf run`` runs: programs, and recipes."""
    from kernlab.bpf.recipe import PREFIX, names

    recipes = [f"{PREFIX}{name}" for name in names()]
    return bpf_programs(incomplete) + [one for one in recipes if one.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Runs that are kept, newest first, and "latest"."""
    from kernlab.config.paths import home

    names = sorted((path.parent.name for path in home().glob("runs/*/run.json")), reverse=True)
    return [name for name in ["latest", *names] if name.startswith(incomplete)]


def schemas(incomplete: str) -> list[str]:
    """What ``kernlab config schema`` can print."""
    from kernlab.cli.schemas import schemas as known

    return [name for name in known() if name.startswith(incomplete)]


def kinds(incomplete: str) -> list[str]:
    """What ``kernlab clean`` can free."""
    from kernlab.record.clean import KINDS

    return [name for name in [*KINDS, "all"] if name.startswith(incomplete)]


def labs(incomplete: str) -> list[str]:
    """Labs by id."""
    from kernlab.lessons.lab import ids

    return [name for name in ids() if name.lower().startswith(incomplete.lower())]


def races(incomplete: str) -> list[str]:
    """Races by id."""
    from kernlab.lessons.race import ids

    return [name for name in ids() if name.lower().startswith(incomplete.lower())]


def races_and_runs(incomplete: str) -> list[str]:
    """Races by id, then runs."""
    return races(incomplete) + runs(incomplete)


def images(incomplete: str) -> list[str]:
    """What a guest boots into."""
    from kernlab.pipeline import image_kinds

    return [name for name in image_kinds() if name.startswith(incomplete)]


def engines(incomplete: str) -> list[str]:
    """What can carry a trace out."""
    from kernlab.trace.choice import AUTO, ENGINES

    return [name for name in (*ENGINES, AUTO) if name.startswith(incomplete)]
