"""The busybox image: an initramfs made of busybox, host programs and kernlab's own files."""

from __future__ import annotations

from pathlib import Path

from kernlab.config.needs import require
from kernlab.config.paths import shipped
from kernlab.guest import elf
from kernlab.guest.build import program
from kernlab.image import added, cpio, own, store
from kernlab.image.model import BusyboxTable, Image, ImageRequest, ProgramRow, table
from kernlab.image.needs import BUSYBOX_IMAGE
from kernlab.process import need, which
from kernlab.progress import Reporter, Started

RECIPE = "3"  # part of the key: change it when the code below changes what comes out


def build(request: ImageRequest, report: Reporter) -> Image:
    """The image asked for, from the cache or made now.

    The key is made from the content of every file that goes in, so an updated host
    program gives a new image. Raises ``BadInput`` (``--add``), ``HostLacks``.
    """
    agent = program("agent", report)
    rows = table()
    sources = _sources(request, rows, agent)
    mark = store.stamp(f"{RECIPE} {request.add}", sources)
    kept = store.kept(mark, report)
    if kept is not None:
        return kept
    require(BUSYBOX_IMAGE)
    report(Started("assemble the image"))
    entries = _entries(request, rows, agent)
    return store.store("busybox", entries, RECIPE, [str(p) for p in sources], mark, report)


def _sources(request: ImageRequest, rows: BusyboxTable, agent: Path) -> list[Path]:
    paths = [Path(found) for row in rows.programs if (found := which(row.name))]
    busybox = which("busybox")
    paths += [Path(busybox)] if busybox else []
    paths += [shipped("rootfs", "busybox", row.name) for row in rows.files]
    paths += [agent, shipped("configs", "image-busybox.yaml")]
    return paths + added.sources(request.add)


# -- what goes in -----------------------------------------------------------------------


def _entries(request: ImageRequest, rows: BusyboxTable, agent: Path) -> list[cpio.Entry]:
    entries = own.files(rows.files, "busybox")
    entries += [
        cpio.directory(path.lstrip("/"), 0o1777 if path == "/tmp" else 0o755)
        for path in rows.directories
    ]
    entries += [cpio.symlink(name, f"usr/{name}") for name in own.MERGED]
    entries += [cpio.symlink(f"usr/bin/{name}", target) for name, target in rows.links.items()]
    entries.append(cpio.symlink("init", "sbin/init"))
    entries.append(cpio.character_device("dev/console", 5, 1))
    entries.append(own.agent(agent))
    made, programs = own.additions(request.add)
    entries += made
    for row in rows.programs:
        made, real = _program(row)
        entries += made
        programs.append(real)
    for plugin in rows.plugins:
        for path in plugin.paths():
            entries.append(cpio.regular(own.merged(str(path)), path.read_bytes(), 0o644))
            programs += [path] if elf.is_elf(path) else []
    entries += own.libraries(programs, lambda path: False)
    taken = {Path(entry.path).name for entry in entries if _in_path(entry.path)}
    # The image's shells are not busybox': Debian's busybox shell runs its own applets
    # whatever PATH says, so it would find the small ip and not iproute2's.
    busybox = own.static_busybox()
    entries.append(cpio.regular("usr/bin/busybox", busybox.read_bytes(), 0o755))
    entries += own.applets(busybox, taken, "usr/bin")
    return cpio.with_parents(dict.fromkeys(entries))


def _in_path(path: str) -> bool:
    return str(Path(path).parent) in ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")


def _program(row: ProgramRow) -> tuple[list[cpio.Entry], Path]:
    """A host program, under its real name, with the asked name as a symlink to it.

    Its place is the table's: where the host has it depends on the caller's PATH (/usr/bin/ip
    and /usr/sbin/ip are one file on Debian), and scripts name /sbin/ip.
    """
    real = Path(need(row.name, "goes into the image", row.package)).resolve()
    directory = "usr/sbin" if row.sbin else "usr/bin"
    entries = [cpio.regular(f"{directory}/{real.name}", real.read_bytes(), 0o755)]
    if real.name != row.name:
        entries.append(cpio.symlink(f"{directory}/{row.name}", real.name))
    return entries, real
