"""Source `apt`: the distributions' source packages, by the host's mirror and keyring.

A private apt state is used (own lists, cache and sources), so nothing of the host's is
touched and no right is needed. apt checks the Release file's signature, the index's
hash and the package's hash; the package's hash is checked here once more before each
unpacking, because the file may have been damaged since.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from filelock import FileLock

from kernlab.config.needs import require
from kernlab.config.paths import home_dir
from kernlab.errors import HostLacks, WeFailed
from kernlab.kernel.catalogue import AptRow, order_key, series
from kernlab.kernel.model import SourceTree
from kernlab.kernel.needs import FETCH
from kernlab.kernel.sources import kept
from kernlab.kernel.sources.download import sha256_of
from kernlab.kernel.sources.host_apt import Archive, archives, choose, os_release
from kernlab.kernel.sources.local import tree_version
from kernlab.kernel.sources.unpack import arriving_tree, unpack
from kernlab.process import PIPE, Child, CommandFailed, run
from kernlab.progress import Advanced, Finished, Reporter, Said, Started, Stopped

_LIMIT = 900.0
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


# What apt says of a file that its index names and its archive has not, by http and by file:.
_GONE = re.compile(r"\b(?:404|410)\b|File not found")
_UNREACHED = re.compile(r"Could not (?:resolve|connect)|Temporary failure|timed out|Unable to conn")


class Gone(HostLacks):
    """The mirror's index lists a version that its pool no longer has, or not yet."""


@dataclass(frozen=True)
class Package:
    """One version of a source package, as the signed index has it. ``size`` in bytes."""

    name: str
    package_version: str
    sha256: str
    size: int

    @property
    def release(self) -> str:
        """The kernel release in a Debian version: "5.10.223" of "5.10.223-1"."""
        return re.split(r"[-~+]", self.package_version.split(":")[-1])[0]


class PrivateApt:
    """apt with all its state in one directory of ours."""

    def __init__(self, directory: Path, sources: str) -> None:
        self.directory = directory
        self._prepare()
        (directory / "etc" / "kernlab.sources").write_text(sources, "utf-8")

    def _prepare(self) -> None:
        for part in ("lists/partial", "cache/archives/partial", "etc"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").write_bytes(b"")

    def options(self) -> list[str]:
        here = self.directory
        options = {
            "Dir::Etc::sourcelist": here / "etc" / "kernlab.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": here,
            "Dir::State::Lists": here / "lists",
            "Dir::State::status": here / "status",
            "Dir::Cache": here / "cache",
            "Dir::Log": here,
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "30",
            "Acquire::https::Timeout": "30",
            "APT::Get::List-Cleanup": "true",
        }
        if os.geteuid() == 0:
            # apt would drop to the user _apt, who cannot read a private directory.
            options["APT::Sandbox::User"] = "root"
        return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]

    def forget(self) -> None:
        """Remove what was fetched of the indices."""
        for part in ("lists", "cache"):
            shutil.rmtree(self.directory / part, ignore_errors=True)
        self._prepare()

    def update(self) -> str:
        """Fetch the indices; what apt said. A suite that fails does not stop the others."""
        said = run(_LIMIT, ["apt-get", *self.options(), "update"], check=False, merge=True)
        return said.text

    def packages(self, name: str) -> list[Package]:
        """The versions there are. Raises nothing: no version is an empty list."""
        said = run(60, ["apt-cache", *self.options(), "show", name], check=False)
        found = []
        for stanza in said.text.split("\n\n"):
            fields = dict(re.findall(r"^(Version|SHA256|Size): (.*)$", stanza, re.MULTILINE))
            if len(fields) == 3:
                found.append(
                    Package(name, fields["Version"], fields["SHA256"], int(fields["Size"]))
                )
        return found

    def download(self, package: Package, into: Path, report: Reporter) -> Path:
        """The .deb, complete and with the hash of the signed index."""
        here = next(iter(into.glob(f"{package.name}_*{package.sha256[:12]}.deb")), None)
        if here is not None:
            if sha256_of(here) == package.sha256:
                return here
            here.unlink()  # truncated or altered since: fetch it anew
        stage = f"download {package.name} {package.package_version}"
        report(Started(stage, package.size, "B"))
        fetched = into / "incoming"
        fetched.mkdir(exist_ok=True)
        for stale in fetched.iterdir():
            stale.unlink()
        self._fetch(package, fetched, stage, report)
        files = list(fetched.glob("*.deb"))
        if not files or sha256_of(files[0]) != package.sha256:
            for file in files:
                file.unlink()
            raise WeFailed(
                f"{package.name} {package.package_version} arrived damaged",
                "its SHA-256 is not the one in the signed index",
                "kernlab fetch",
            )
        final = into / f"{package.name}_{package.release}_{package.sha256[:12]}.deb"
        files[0].rename(final)
        report(Finished(stage, f"{package.size >> 20} MB, SHA-256 verified"))
        return final

    def _fetch(self, package: Package, into: Path, stage: str, report: Reporter) -> None:
        status, theirs = os.pipe()
        argv = [
            "apt-get",
            *self.options(),
            "-q",
            "-o",
            f"APT::Status-Fd={theirs}",
            "download",
            f"{package.name}={package.package_version}",
        ]
        with (
            open(status, "rb") as lines,
            Child(argv, cwd=into, stdout=PIPE, stderr=PIPE, pass_fds=(theirs,), tree=True) as child,
        ):
            os.close(theirs)
            for line in lines:  # dlstatus:<n>:<percent>:<text>
                words = line.decode("utf-8", "replace").split(":")
                if words[0] == "dlstatus" and len(words) > 2:
                    done = int(float(words[2]) / 100 * package.size)
                    report(Advanced(stage, done, package.size))
            code = child.wait(_LIMIT)
            assert child.stderr is not None
            said = child.stderr.read().decode("utf-8", "replace").strip()
        if code != 0:
            name = f"{package.name} {package.package_version}"
            if _GONE.search(said):
                step = "sudo apt-get update"
                raise Gone(f"the mirror lists {name} but does not have it", said[-500:], step)
            if _UNREACHED.search(said):
                raise HostLacks(f"{name} cannot be fetched", said[-500:], "sudo apt-get update")
            raise CommandFailed(argv, said[-1500:])


class Suite(Protocol):
    """A row that names a suite: of kernels.yaml, or of an image's table."""

    @property
    def suite(self) -> str: ...

    @property
    def archive(self) -> Literal["main", "security"]: ...


def sources_text(
    rows: Sequence[Suite],
    found: list[Archive],
    codename: str,
    distribution: str = "debian",
    components: str = "main",
) -> str:
    """The deb822 file that gives apt these rows' suites from the host's archives."""
    stanzas = []
    for row in rows:
        for archive in choose(found, codename, row.archive):
            suite = row.suite.format(codename=codename)
            lines = [
                "Types: deb",
                f"URIs: {archive.uri}",
                f"Suites: {suite}",
                f"Components: {components}",
            ]
            options = dict(archive.options)
            if "Signed-By" not in options and _KEYRING.exists() and distribution == "debian":
                options["Signed-By"] = str(_KEYRING)
            for key, value in options.items():
                lines.append(f"{key}: " + value.replace("\n", "\n "))
            stanzas.append("\n".join(lines))
    return "\n\n".join(dict.fromkeys(stanzas)) + "\n"


def available(
    version: str, rows: Sequence[AptRow], state: Path
) -> tuple[PrivateApt, list[Package]]:
    """The private apt for a version's series, and what matches, newest first.

    Raises ``HostLacks`` when the host's mirrors offer nothing that matches.
    """
    distribution, codename = os_release()
    mine = [r for r in rows if r.series == series(version) and r.distribution == distribution]
    if not mine:
        known = sorted({r.series for r in rows if r.distribution == distribution}, key=order_key)
        raise HostLacks(
            f"this host's package sources have no kernel {version}",
            f"configs/kernels.yaml lists {', '.join(known) or 'none'} for '{distribution}'; a path "
            "to a tree or a tarball of your own does as well",
            f"kernlab fetch kernel_org:{version}",
        )
    require(FETCH)
    text = sources_text(mine, archives(), codename, distribution)
    apt = PrivateApt(state / series(version), text)
    names = {row.package for row in mine}
    said = apt.update()
    found = {p.package_version: p for name in names for p in apt.packages(name)}
    if not found:  # a list that is damaged stays so: apt asks for what is newer than its time
        apt.forget()
        said = apt.update()
        found = {p.package_version: p for name in names for p in apt.packages(name)}
    match = [p for p in found.values() if version == series(version) or p.release == version]
    if not match:
        offered = sorted({p.release for p in found.values()}, key=order_key)
        raise HostLacks(
            f"this host's mirrors do not offer {version}",
            f"they offer: {', '.join(offered)}" if offered else said.strip()[-1500:],
            f"kernlab fetch {offered[-1]}" if offered else "sudo apt-get update",
        )
    return apt, sorted(match, key=lambda p: order_key(p.package_version), reverse=True)


def get(version: str, rows: Sequence[AptRow], report: Reporter) -> SourceTree:
    """The newest source tree that matches ``version``. Raises ``HostLacks``, ``WeFailed``."""
    downloads = home_dir("downloads")
    with FileLock(downloads / "apt.lock", timeout=_LIMIT):
        report(Started("look for source packages"))
        apt, packages = available(version, rows, downloads / "apt")
        report(Finished("look for source packages", packages[0].package_version))
        for package, *rest in (packages[at:] for at in range(len(packages))):
            final = home_dir("sources") / f"linux-{package.release}"
            if kept.here(final, report):
                return kept.read(final)
            try:
                deb = apt.download(package, downloads, report)
            except Gone as error:
                report(Stopped(f"download {package.name} {package.package_version}", "not there"))
                if not rest:
                    raise
                report(Said(f"{error.what}; trying {rest[0].package_version}"))
                continue
            _unpack(deb, package, final, report)
            return kept.read(final)
    raise AssertionError(packages)  # available() gives one at least


def _unpack(deb: Path, package: Package, final: Path, report: Reporter) -> None:
    with tempfile.TemporaryDirectory(prefix=".deb.", dir=final.parent) as scratch:
        run(_LIMIT, ["dpkg-deb", "-x", str(deb), scratch], tree=True)
        tarballs = [
            path
            for path in sorted(Path(scratch, "usr", "src").rglob("linux-source-*.tar.*"))
            if path.is_file() and not path.is_symlink()
        ]
        if not tarballs:
            raise WeFailed(
                f"{package.name} contains no source tarball", f"looked in {deb}", "kernlab fetch"
            )
        stage = f"unpack {tarballs[0].name}"
        report(Started(stage))
        with arriving_tree(final) as tree:
            unpack(tarballs[0], tree, report)
            version = tree_version(tree)
            kept.mark(tree, "apt", package.name, package.sha256)
        report(Finished(stage, version))
