"""The Debian image: a disk that any number of machines share, and an initramfs for it.

The initramfs brings what is kernlab's or the user's own (agent, rcS, ``--add``), which changes
often; the disk brings packages, which do not. rootfs/debian/init lays one over the other.
"""

from __future__ import annotations

import json
from pathlib import Path

from kernlab.config.needs import require
from kernlab.config.paths import config_file, shipped
from kernlab.guest.build import program
from kernlab.image import added, cpio, own, store
from kernlab.image.disk import disk
from kernlab.image.model import DebianTable, Image, ImageRequest, debian_table
from kernlab.image.needs import BUSYBOX
from kernlab.progress import Reporter, Started

RECIPE = "1"  # part of the key: change it when the code below changes what comes out
_OWN = "own"  # what is laid over the disk, in the initramfs
_POINTS = ("dev", "disk", "over", "new")


def build(request: ImageRequest, report: Reporter) -> Image:
    """The image asked for, from the cache or made now.

    Raises ``BadInput`` (``--add``, ``--package``), ``HostLacks``, ``WeFailed``.
    """
    require([BUSYBOX])
    agent = program("agent", report)
    rows = debian_table()
    base = disk(rows, request.packages, report)
    busybox = own.static_busybox()
    sources = [shipped("rootfs", row.name) for row in rows.files]
    sources += [agent, busybox, shipped("rootfs", "debian", "init"), base / "disk.json"]
    sources += [config_file("image-debian.yaml"), *added.sources(request.add)]
    mark = store.stamp(f"debian {RECIPE} {request.add}", sources)
    kept = store.kept(mark, report)
    if kept is not None:
        return kept
    report(Started("assemble the image"))
    entries = _entries(request, rows, agent, busybox, base)
    names = [str(path) for path in sources]
    return store.store("debian", entries, RECIPE, names, mark, report, base.name)


def _entries(
    request: ImageRequest, rows: DebianTable, agent: Path, busybox: Path, base: Path
) -> list[cpio.Entry]:
    libraries = set(json.loads((base / "disk.json").read_text("utf-8"))["libraries"])
    over = own.files(rows.files)
    over.append(own.agent(agent))
    over.append(cpio.regular("usr/bin/busybox", busybox.read_bytes(), 0o755))
    over += own.applets(busybox, {"sh", "ash"}, "usr/lib/busybox")
    over.append(cpio.directory("mnt/share"))
    over.append(cpio.directory("root", 0o700))
    made, programs = own.additions(request.add)
    over += [cpio.Entry(own.merged(one.path), one.mode, one.data) for one in made]
    over += own.libraries(programs, libraries.__contains__)
    over = cpio.with_parents(dict.fromkeys(over))
    entries = [cpio.Entry(f"{_OWN}/{one.path}", one.mode, one.data) for one in over]
    entries += [cpio.directory(name) for name in _POINTS]
    entries.append(cpio.regular("bin/busybox", busybox.read_bytes(), 0o755))
    entries.append(cpio.regular("init", shipped("rootfs", "debian", "init").read_bytes(), 0o755))
    entries.append(cpio.character_device("dev/console", 5, 1))
    return cpio.with_parents(entries)
