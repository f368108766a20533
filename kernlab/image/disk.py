"""The Debian image's disk: the host's own archives, mmdebstrap, mke2fs -d; no root.

mmdebstrap(1) installs packages in a user namespace (or with fakechroot) and gives a tar;
fakeroot(1) keeps its owners while mke2fs(8) makes the file system. apt's addresses, keys and
proxies are the host's, and none of them stays on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from kernlab.config import sums
from kernlab.config.needs import require
from kernlab.config.paths import arriving, home_dir
from kernlab.errors import BadInput, HostLacks, KernlabError, WeFailed
from kernlab.image import ext4
from kernlab.image.model import DebianTable, LaterRow
from kernlab.image.needs import DISK
from kernlab.image.scratch import scratch
from kernlab.kernel.sources.apt import Gone, Package, PrivateApt, sources_text
from kernlab.kernel.sources.host_apt import archives, os_release
from kernlab.process import PIPE, Child, CommandFailed, run, which
from kernlab.progress import Advanced, Finished, Reporter, Said, Started, quiet

RECIPE = "1"  # part of the key: change it when the code below changes what comes out
_DISK, _ABOUT = "disk.img", "disk.json"
_LIMIT = 1800.0
_ACCESS = re.compile(r'^(Acquire::https?::(?:\S+::)?(?:Proxy\S*|CaInfo|CaPath) "[^"]+";)$', re.M)
_NO_SUCH = re.compile(r"Unable to locate package (\S+)|Package '?(\S+?)'? has no installation")
_UNPACK = """set -e
mkdir root
tar -C root --exclude='./dev/*' -xf rootfs.tar
rm -rf root/etc/apt root/etc/dpkg/dpkg.cfg.d root/var/lib/apt root/etc/resolv.conf root/etc/hostname
if [ -d later ]; then chown -R 0:0 later && cp -a later/. root/; fi
rm -f rootfs.tar
exec "$@"
"""


def disk(table: DebianTable, more: Iterable[str], report: Reporter) -> Path:
    """The directory with disk.img and disk.json, from the cache or made now. ``more``: packages
    beside the table's.

    Raises ``BadInput`` for a package that is not there, ``HostLacks``, ``WeFailed``.
    """
    distribution, codename = os_release()
    row = table.archives.get(distribution)
    if row is None:
        raise HostLacks(
            f"a Debian image cannot be made on {distribution or 'this host'}",
            "it is made from the host's own apt sources; configs/image-debian.yaml knows those of "
            + ", ".join(table.archives),
            "--image busybox",
        )
    packages = [one.name for one in table.packages if one.only in (None, distribution)]
    packages = sorted({*packages, *more})
    later = [one for one in table.later if one.distribution == distribution]
    key = _key(distribution, codename, packages, later, table)
    final = home_dir("images") / key
    if _whole(final, report):
        return final
    require(DISK)
    with FileLock(f"{final}.lock", timeout=_LIMIT):
        if not _whole(final, quiet):
            text = sources_text(row.suites, archives(), codename, distribution, row.components)
            if not text.strip():
                raise HostLacks(
                    f"this host's apt sources do not have {codename}",
                    "the image is made from /etc/apt/sources.list and sources.list.d",
                    "add the distribution's own archive there",
                )
            for stale in final.parent.glob(f".{final.name}.*"):  # of a run that was killed
                shutil.rmtree(stale, ignore_errors=True)
            with scratch(table.scratch) as place, arriving(final) as temporary:
                _make(place, temporary, text, codename, packages, later, table, report)
    return final


def _whole(final: Path, report: Reporter) -> bool:
    """Whether the disk is there as it was made. One from before there were records is believed
    where its file system's size is its own."""
    if sums.problem(final) == sums.UNKNOWN and ext4.complete(final / _DISK):
        with suppress(OSError, ValueError, KeyError):
            if json.loads((final / _ABOUT).read_text("utf-8"))["libraries"]:
                sums.record(final)
    return sums.whole(final, f"disk {final.name}", report)


def _key(
    distribution: str, codename: str, packages: list[str], later: list[LaterRow], table: DebianTable
) -> str:
    """By what was asked for: an archive's updates alone do not make a disk anew."""
    rows = [*later, table.archives[distribution]]
    what = [
        RECIPE,
        distribution,
        codename,
        packages,
        table.leave_out,
        [row.model_dump() for row in rows],
    ]
    return "disk-" + hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]


def _make(
    place: Path,
    out: Path,
    sources: str,
    codename: str,
    packages: list[str],
    later: list[LaterRow],
    table: DebianTable,
    report: Reporter,
) -> None:
    _bootstrap(place, sources, codename, packages, table.leave_out, report)
    for row in later:
        _unpack_later(row, place, codename, report)
    with tarfile.open(place / "rootfs.tar") as tar:
        names = [member.name.removeprefix("./") for member in tar]
    report(Started("make the disk"))
    size = (place / "rootfs.tar").stat().st_size // 1_000_000
    made = out / _DISK
    made.touch()
    made.chmod(0o644)
    mke2fs = ext4.command(Path("root"), made, "kernlab", size * 5 // 4 + 64, 8192)
    try:
        run(_LIMIT, ["fakeroot", "sh", "-c", _UNPACK, "sh", *mke2fs], cwd=place, tree=True)
    except CommandFailed as error:
        raise _told(error.why, place) or error from error
    about = {"packages": packages, "suite": codename, "libraries": _libraries(names)}
    (out / _ABOUT).write_text(json.dumps(about) + "\n", "utf-8")
    report(Finished("make the disk", f"{size} MB"))


def _libraries(names: Iterable[str]) -> list[str]:
    """Paths of shared libraries and of the loader, as an added program may ask for them."""
    return sorted(name for name in names if re.search(r"^(usr/)?lib\w*/.*\.so[.\d]*$", name))


# -- packages -----------------------------------------------------------------------------


def _bootstrap(
    place: Path,
    sources: str,
    codename: str,
    packages: list[str],
    leave_out: list[str],
    report: Reporter,
) -> None:
    mode = _mode()
    (place / "kernlab.sources").write_text(sources, "utf-8")
    argv = [
        "mmdebstrap",
        f"--mode={mode}",
        "--variant=essential",
        "--format=tar",
        "--include=" + ",".join(packages),
    ]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in leave_out]
    argv += [f"--aptopt={line}" for line in _apt_access()]
    argv += [codename, str(place / "rootfs.tar"), str(place / "kernlab.sources")]
    environment = {**os.environ, "TMPDIR": str(place / "tmp"), "PATH": _sbin(os.environ["PATH"])}
    stage = f"install {len(packages)} packages of {codename}"
    report(Started(stage))
    said: list[str] = []
    with Child(argv, env=environment, stdout=PIPE, stderr=PIPE, tree=True, cwd=place) as child:
        assert child.stderr is not None
        for count, raw in enumerate(child.stderr):
            line = raw.decode("utf-8", "replace").rstrip()
            said.append(line)
            if line.startswith("I: "):
                report(Advanced(stage, count, note=line[3:].rstrip(".")))
        status = child.wait(_LIMIT)
    if status != 0:
        text = "\n".join(line for line in said if not line.startswith(("I: ", "Get:")))
        raise _told(text, place) or CommandFailed(argv, text[-1500:])
    report(Finished(stage))


def _sbin(path: str) -> str:
    """dpkg wants ldconfig and start-stop-daemon, which a plain user's PATH lacks."""
    return f"{path}:/usr/local/sbin:/usr/sbin:/sbin"


def _mode() -> str:
    """How mmdebstrap gets along without root: tried, not assumed."""
    helper = run(30, ["mmdebstrap", "--unshare-helper", "true"], check=False, merge=True)
    if helper.returncode == 0:
        return "unshare"
    if os.geteuid() == 0:
        return "root"  # a container without namespaces; its root is the container's
    if which("fakechroot") is not None:
        return "fakechroot"
    raise HostLacks(
        "a Debian image needs a user namespace with a range of ids, or fakechroot",
        (helper.text.strip() or "mmdebstrap --unshare-helper true failed")
        + "\na range of ids comes with uidmap and usermod --add-subuids 100000-165535 "
        "--add-subgids 100000-165535 USER",
        "sudo apt-get install fakechroot",
    )


def _apt_access() -> list[str]:
    """How the host's apt reaches its archives: proxies and CA files, which mmdebstrap's own
    configuration does not take over."""
    said = run(30, ["apt-config", "dump"], check=False)
    return _ACCESS.findall(said.text)


def _told(text: str, place: Path) -> BadInput | HostLacks | None:
    """What apt or tar said, in words."""
    missing = _NO_SUCH.search(text)
    if missing is not None:
        name = missing[1] or missing[2]
        return BadInput(
            f"there is no package {name} in this host's archives",
            f"kernlab takes packages from the sources of this host's apt (apt-cache policy {name})",
            f"apt-cache search {name}",
        )
    if "No space left on device" in text:
        return HostLacks(
            f"the disk is full: {place}",
            text.strip()[-500:],
            "set TMPDIR to a directory on a larger disk",
        )
    if re.search(r"Could not (resolve|connect)|Failed to fetch|Temporary failure", text):
        return HostLacks(
            "the host's package archives cannot be reached",
            text.strip()[-800:],
            "sudo apt-get update",
        )
    return None


def _first(apt: PrivateApt, versions: list[Package], into: Path, report: Reporter) -> Path:
    """The newest version that the mirror has: its index may list one that is gone."""
    for version in versions[:-1]:
        try:
            return apt.download(version, into, report)
        except Gone as error:
            report(Said(error.what))
    return apt.download(versions[-1], into, report)


def _unpack_later(row: LaterRow, place: Path, codename: str, report: Reporter) -> None:
    """A newer suite's program into ``place``/later. One that is not to be had is said."""
    state = place / "apt"
    distribution, _ = os_release()
    text = sources_text([row], archives(), codename, distribution)
    try:
        apt = PrivateApt(state, text)
        apt.update()
        versions = apt.packages(row.name)
        if not versions:
            report(Said(f"{row.name} is left out: {row.suite} is not in this host's archives"))
            return
        deb = _first(apt, versions, state, report)
        run(_LIMIT, ["dpkg-deb", "-x", str(deb), str(place / "apt" / row.name)], tree=True)
        for program in row.programs:
            into = place / "later" / program.lstrip("/")
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(place / "apt" / row.name / program.lstrip("/"), into)
    except (WeFailed, HostLacks, OSError) as error:
        what = error.what if isinstance(error, KernlabError) else error
        report(Said(f"{row.name} is left out: {what}"))
