"""The busybox image: an initramfs made of busybox, host programs and kernlab's own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from kernlab.config.needs import require
from kernlab.config.paths import arriving, arriving_file, home_dir, shipped
from kernlab.errors import BadInput, HostLacks
from kernlab.guest.build import program
from kernlab.image import added, cpio, elf
from kernlab.image.model import BusyboxTable, Image, ImageRequest, ProgramRow, table
from kernlab.image.needs import NEEDS
from kernlab.process import need, run, which
from kernlab.progress import Finished, Reporter, Started

RECIPE = "3"  # part of the key: change it when the code below changes what comes out
_MERGED = ("bin", "sbin", "lib", "lib64")  # symlinks into /usr, as on every current distribution


def build(request: ImageRequest, report: Reporter) -> Image:
    """The image asked for, from the cache or made now.

    The key is made from the content of every file that goes in, so an updated host
    program gives a new image. Raises ``BadInput`` (``--add``), ``HostLacks``.
    """
    if request.kind != "busybox":
        raise BadInput(
            f"there is no image '{request.kind}'", "there is: busybox", "kernlab image busybox"
        )
    agent = program("agent", report)
    rows = table()
    sources, stamp = _stamp(request, rows, agent)
    kept = _kept(stamp)
    if kept is not None:
        return kept
    require(NEEDS)
    report(Started("assemble the image"))
    entries = _entries(request, rows, agent)
    key = _key(entries)
    final = home_dir("images") / key
    with FileLock(f"{final}.lock", timeout=120):
        if not (final / "image.json").is_file():
            with arriving(final) as temporary:
                _write(entries, temporary / "initramfs.cpio")
                listing = [[f"/{e.path}", f"{e.mode:o}", len(e.data)] for e in entries]
                (temporary / "image.json").write_text(
                    json.dumps({"kind": "busybox", "entries": listing, "sources": sources}) + "\n"
                )
    _remember(stamp, key)
    size = (final / "initramfs.cpio").stat().st_size
    report(Finished("assemble the image", f"{len(entries)} files, {size / 1e6:.1f} MB"))
    return Image(key, "busybox", final)


# -- a warm call reads no content: the stamp is made of sizes and times ------------------


def _stamp(request: ImageRequest, rows: BusyboxTable, agent: Path) -> tuple[list[str], str]:
    paths = [Path(found) for row in rows.programs if (found := which(row.name))]
    busybox = which("busybox")
    paths += [Path(busybox)] if busybox else []
    paths += [shipped("rootfs", "busybox", row.name) for row in rows.files]
    paths += [agent, shipped("configs", "image-busybox.yaml")]
    for argument in request.add:
        host, _ = added._split(argument)
        paths += sorted(host.rglob("*")) if host.is_dir() else [host]
    digest = hashlib.sha256(f"{RECIPE} {request.add}".encode())
    for path in paths:
        try:
            status = path.resolve().stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path} absent\n".encode())
    return [str(path) for path in paths], digest.hexdigest()[:24]


def _memo() -> Path:
    return home_dir("images") / "stamps.json"


def _read_memo() -> dict[str, str]:
    try:
        data = json.loads(_memo().read_text("utf-8"))
        return data if isinstance(data, dict) else {}
    except (OSError, ValueError):
        return {}


def _kept(stamp: str) -> Image | None:
    key = _read_memo().get(stamp)
    if key is None:
        return None
    image = Image(key, "busybox", home_dir("images") / key)
    return image if image.initramfs.is_file() else None


def _remember(stamp: str, key: str) -> None:
    with FileLock(f"{_memo()}.lock", timeout=30), arriving_file(_memo()) as temporary:
        known = dict(list(_read_memo().items())[-50:])
        temporary.write_text(json.dumps({**known, stamp: key}), "utf-8")


# -- what goes in -----------------------------------------------------------------------


def _entries(request: ImageRequest, rows: BusyboxTable, agent: Path) -> list[cpio.Entry]:
    own: list[cpio.Entry] = [
        cpio.regular(row.to.lstrip("/"), shipped("rootfs", "busybox", row.name).read_bytes(),
                     int(row.mode, 8))
        for row in rows.files
    ]  # fmt: skip
    own += [cpio.directory(path.lstrip("/"), 0o1777 if path == "/tmp" else 0o755)
            for path in rows.directories]  # fmt: skip
    own += [cpio.symlink(name, f"usr/{name}") for name in _MERGED]
    own += [cpio.symlink(f"usr/bin/{name}", target) for name, target in rows.links.items()]
    own.append(cpio.symlink("init", "sbin/init"))
    own.append(cpio.character_device("dev/console", 5, 1))
    own.append(cpio.regular("usr/sbin/kernlab-agent", agent.read_bytes(), 0o755))
    programs: list[Path] = []
    for row in rows.programs:
        made, real = _program(row)
        own += made
        programs.append(real)
    for plugin in rows.plugins:
        for path in plugin.paths():
            own.append(cpio.regular(_merged(str(path)), path.read_bytes(), 0o644))
            programs += [path] if elf.is_elf(path) else []
    for argument in request.add:
        made, more = added.entries(argument)
        own += made
        programs += more
    for guest, host in sorted(elf.closure(programs).items()):
        own.append(cpio.regular(_merged(guest), host.read_bytes(), 0o755))
    taken = {Path(entry.path).name for entry in own if _in_path(entry.path)}
    own += _busybox(taken)
    return cpio.with_parents(dict.fromkeys(own))


def _merged(path: str) -> str:
    """A path as it is stored: under usr/, where the top directories are symlinks to."""
    path = path.lstrip("/")
    return f"usr/{path}" if path.split("/")[0] in _MERGED else path


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


def _busybox(taken: set[str]) -> Iterable[cpio.Entry]:
    """busybox, and a symlink for each applet that no real program stands for.

    The image's shells are not busybox': Debian's busybox shell runs its own applets
    whatever PATH says, so it would find the small ``ip`` and not iproute2's.
    """
    path = Path(need("busybox", "has the image's small tools", "busybox-static"))
    if elf.needed(path).interpreter is not None:
        from kernlab.config.packages import closing_command

        raise HostLacks(
            f"{path} is not static",
            "the image's init runs before any library is sure",
            closing_command(["busybox-static"]),
        )
    yield cpio.regular("usr/bin/busybox", path.read_bytes(), 0o755)
    for name in run(10, [str(path), "--list"]).text.split():
        if name not in taken and name != "busybox":
            place = "usr/sbin" if name in ("init", "poweroff", "reboot", "halt") else "usr/bin"
            yield cpio.symlink(f"{place}/{name}", "/usr/bin/busybox")


def _key(entries: list[cpio.Entry]) -> str:
    digest = hashlib.sha256(RECIPE.encode())
    for entry in entries:
        head = f"{entry.path}\0{entry.mode:o}\0{entry.device}\0"
        digest.update(head.encode("utf-8", "surrogateescape"))
        digest.update(hashlib.sha256(entry.data).digest())
    return f"busybox-{digest.hexdigest()[:12]}"


def _write(entries: list[cpio.Entry], out: Path) -> None:
    """Not compressed: a guest under TCG takes half a second to unpack what QEMU hands over
    in a few hundredths."""
    with out.open("wb") as archive:
        for piece in cpio.write(entries):
            archive.write(piece)
