"""Where images lie, and how one is found again without reading what goes into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from kernlab.config import sums
from kernlab.config.paths import arriving, arriving_file, home_dir, unsealed_file
from kernlab.image import cpio
from kernlab.image.model import Image
from kernlab.progress import Finished, Reporter

_DISK = "disk.img"


def stamp(salt: str, paths: Iterable[Path]) -> str:
    """A digest of sizes and times: a warm call reads no content."""
    digest = hashlib.sha256(salt.encode())
    for path in paths:
        try:
            status = path.resolve().stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path} absent\n".encode())
    return digest.hexdigest()[:24]


def kept(mark: str, report: Reporter) -> Image | None:
    """The image that was made when the stamp was ``mark``, if it is still there and whole."""
    key = _read_memo().get(mark)
    if key is None or not sums.whole(home_dir("images") / key, f"image {key}", report):
        return None
    image = load(home_dir("images") / key)
    return image if image is not None and image.complete() else None


def load(path: Path) -> Image | None:
    """The image in the directory ``path``, None where there is none."""
    try:
        data = json.loads((path / "image.json").read_text("utf-8"))
        disk = data.get("disk")
        return Image(
            path.name, str(data["kind"]), path, path.parent / disk / _DISK if disk else None
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def store(
    kind: str,
    entries: list[cpio.Entry],
    recipe: str,
    sources: list[str],
    mark: str,
    report: Reporter,
    disk: str | None = None,
) -> Image:
    """Write an initramfs under its content's key, unless it is there; ``disk`` names the
    directory of the disk that goes with it."""
    key = f"{kind}-{_digest(entries, recipe + (disk or ''))}"
    final = home_dir("images") / key
    with FileLock(f"{final}.lock", timeout=120):
        if sums.problem(final):
            with arriving(final) as temporary:
                _write(entries, temporary / "initramfs.cpio")
                listing = [[f"/{e.path}", f"{e.mode:o}", len(e.data)] for e in entries]
                about = {"kind": kind, "disk": disk, "entries": listing, "sources": sources}
                (temporary / "image.json").write_text(json.dumps(about) + "\n", "utf-8")
    _remember(mark, key)
    size = (final / "initramfs.cpio").stat().st_size
    report(Finished("assemble the image", f"{len(entries)} files, {size / 1e6:.1f} MB"))
    image = load(final)
    assert image is not None
    return image


def _memo() -> Path:
    return home_dir("images") / "stamps.json"


def _read_memo() -> dict[str, str]:
    kept = unsealed_file(_memo())
    return dict(json.loads(kept)) if kept is not None else {}


def _remember(mark: str, key: str) -> None:
    with FileLock(f"{_memo()}.lock", timeout=30), arriving_file(_memo(), seal=True) as temporary:
        known = dict(list(_read_memo().items())[-50:])
        temporary.write_text(json.dumps({**known, mark: key}), "utf-8")


def _digest(entries: list[cpio.Entry], salt: str) -> str:
    digest = hashlib.sha256(salt.encode())
    for entry in entries:
        head = f"{entry.path}\0{entry.mode:o}\0{entry.device}\0"
        digest.update(head.encode("utf-8", "surrogateescape"))
        digest.update(hashlib.sha256(entry.data).digest())
    return digest.hexdigest()[:12]


def _write(entries: list[cpio.Entry], out: Path) -> None:
    """Not compressed: a guest under TCG takes half a second to unpack what QEMU hands over
    in a few hundredths."""
    with out.open("wb") as archive:
        for piece in cpio.write(entries):
            archive.write(piece)
