"""Source `kernel_org`: release tarballs from kernel.org and its mirrors.

Each release directory has ``sha256sums.asc``, signed by kernel.org's checksum autosigner.
From the list a series gets its newest release and a tarball its SHA-256; a pin in
configs/kernels.yaml stands in for the list, and outranks it. A list is kept once it was
verified, so that a release it names can be unpacked again without the network.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from kernlab.config.needs import require
from kernlab.config.paths import arriving_file, home_dir
from kernlab.errors import HostLacks, WeFailed
from kernlab.kernel.catalogue import KernelOrg, order_key, series
from kernlab.kernel.model import SourceTree
from kernlab.kernel.needs import KERNEL_ORG, UNPACK
from kernlab.kernel.sources import download, kept, signed
from kernlab.kernel.sources.local import tree_version
from kernlab.kernel.sources.unpack import arriving_tree, unpack
from kernlab.progress import Finished, Reporter, Said, Started, Stopped

_TRIES = 5  # releases of a series that are asked for where the newest are not there
_LIST = "sha256sums.asc"
_LINE = re.compile(r"^([0-9a-f]{64})  linux-(\d+\.\d+(?:\.\d+)?)\.tar\.xz$", re.MULTILINE)


def tarball_of(release: str) -> str:
    """ "linux-5.10.tar.xz" of 5.10.0: a series' first release has no third number there."""
    short = release.removesuffix(".0") if release.count(".") == 2 else release
    return f"linux-{short}.tar.xz"


def releases(listing: str) -> dict[str, str]:
    """Release → SHA-256 of its tarball, of the signed part of a list."""
    return {
        name if name.count(".") == 2 else f"{name}.0": sha256
        for sha256, name in _LINE.findall(listing)
    }


def get(version: str, table: KernelOrg, report: Reporter) -> SourceTree:
    """The source tree of a release, or of a series' newest one.

    Raises ``HostLacks`` when no mirror can be reached or none has it, ``WeFailed`` when a
    check failed.
    """
    require(KERNEL_ORG + UNPACK)
    limits = download.Limits(table.connect, table.stall)
    found = _resolve(version, table, limits, report)[:_TRIES]
    for number, (release, sha256, checked_by) in enumerate(found, 1):
        _agree(release, sha256, table)
        final = home_dir("sources") / f"kernel_org-{release}"
        if kept.here(final, report):
            return kept.read(final)
        name = tarball_of(release)
        urls = [f"{_directory(mirror, release)}/{name}" for mirror in table.mirrors]
        try:
            tarball = download.large(
                urls, home_dir("downloads") / name, sha256, checked_by, limits, report
            )
        except download.Absent:
            if number == len(found):
                raise
            report(
                Said(f"{release} is in the list but not on the mirror; trying the one before it")
            )
            continue
        _unpack(tarball, release, sha256, final, report)
        return kept.read(final)
    raise AssertionError(found)  # _resolve() gives one at least


def _directory(mirror: str, release: str) -> str:
    return f"{mirror.rstrip('/')}/v{release.split('.')[0]}.x"


def _resolve(
    version: str, table: KernelOrg, limits: download.Limits, report: Reporter
) -> list[tuple[str, str, str]]:
    """Release, SHA-256, and who says so; of a series all its releases, the newest first."""
    if version != series(version) and version in table.pins:
        return [(version, table.pins[version], "the pin in kernels.yaml")]
    copy = home_dir("downloads") / f"kernel_org-v{version.split('.')[0]}.x-{_LIST}"
    if version != series(version) and copy.is_file():
        known = {}
        with suppress(WeFailed):  # damaged since it was kept: the network has it
            known = releases(signed.text(copy.read_bytes(), table.signer, str(copy)))
        if version in known:
            return [(version, known[version], f"the signed {_LIST}")]
    known = releases(_listing(version, table, limits, copy, report))
    same = sorted((r for r in known if series(r) == series(version)), key=order_key)
    if not same or (version != series(version) and version not in known):
        raise HostLacks(
            f"kernel.org has no {version}",
            f"the newest of its series is {same[-1]}" if same else "it has none of its series",
            f"kernlab fetch {same[-1] if same else ''}".rstrip(),
        )
    wanted = [version] if version in known else same[::-1]
    return [(release, known[release], f"the signed {_LIST}") for release in wanted]


def _agree(release: str, sha256: str, table: KernelOrg) -> None:
    pin = table.pins.get(release, sha256)
    if pin != sha256:
        raise WeFailed(
            f"the signed {_LIST} and the pin for {release} disagree",
            f"the list says  {sha256}\nthe pin says   {pin}\none of them is wrong",
            "edit the pin in configs/kernels.yaml if it is the wrong one",
        )


def _listing(
    version: str, table: KernelOrg, limits: download.Limits, copy: Path, report: Reporter
) -> str:
    """The first list a mirror gives, verified. Raises ``Unreached`` when none does."""
    problems = []
    for mirror in table.mirrors:
        host = urlsplit(mirror).netloc
        problem = download.reachable(mirror, limits)
        if problem:
            problems.append(f"{host}: {problem}")
            continue
        stage = f"look for releases at {host}"
        report(Started(stage))
        try:
            data = download.small(f"{_directory(mirror, version)}/{_LIST}", limits)
            if not signed.is_signed(data):
                raise download.Unreached(f"what it sends as {_LIST} is not signed")
        except download.Unreached as error:
            report(Stopped(stage, error.what))
            problems.append(f"{host}: {error.what}")
            continue
        listing = signed.text(data, table.signer, f"{_LIST} from {host}")
        report(Finished(stage, f"list signed by {table.signer[-16:]}"))
        with arriving_file(copy) as temporary:
            temporary.write_bytes(data)
        return listing
    raise download.Unreached(
        "kernel.org cannot be reached",
        "\n".join(problems),
        "edit configs/kernels.yaml: a mirror under kernel_org",
    )


def _unpack(tarball: Path, release: str, sha256: str, final: Path, report: Reporter) -> None:
    stage = f"unpack {tarball.name}"
    report(Started(stage))
    with arriving_tree(final) as tree:
        unpack(tarball, tree, report)
        version = tree_version(tree)
        if version != release:
            raise WeFailed(
                f"{tarball.name} holds {version}", f"its name says {release}", f"rm {tarball}"
            )
        kept.mark(tree, "kernel_org", tarball.name, sha256)
    report(Finished(stage, version))
