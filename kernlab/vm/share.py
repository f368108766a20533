"""The directory that a guest shares with the host: hostile ground.

Whatever lies in it, the guest's root may have put there, and may change while we look. QEMU
keeps what the host's file system shall not have (owners, set-user-ID bits, device nodes, links)
beside the files and not in them (QEMU's ``security_model``, docs/9p.rst): on the host there are
regular files and directories alone, of the user who runs kernlab. Should a guest break out of
that, the host still follows no link here, opens regular files alone, and reads only so much.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tempfile
from contextlib import suppress
from pathlib import Path

from kernlab.config.files import copy_limited, open_regular, read_regular
from kernlab.guest.link import LIBRARIES, SHARE
from kernlab.vm.spec import ShareModel

TEXT_LIMIT = 16 << 20  # bytes of a text that a guest program leaves
CAPTURE_LIMIT = 1 << 30  # bytes of a guest's capture
_MODE = "user.virtfs.mode"  # QEMU, hw/9pfs/9p-local.c, local_set_xattrat()
_METADATA = ".virtfs_metadata"  # the same for mapped-file, local_set_mapped_file_attrat()


def model(share: Path) -> ShareModel:
    """QEMU's ``security_model`` for a share: ``mapped-xattr`` where its file system keeps
    extended attributes of users, or else ``mapped-file``."""
    try:
        with tempfile.NamedTemporaryFile(dir=share, prefix=".kernlab-") as probe:
            os.setxattr(probe.fileno(), _MODE, struct.pack("<I", 0o100600))
    except OSError:
        return "mapped-file"
    return "mapped-xattr"


def put(source: Path, share: Path, name: str = "") -> None:
    """Copy a file of ours into the share, with its permissions and without set-user-ID bits.
    What the guest has put under that name is replaced, never written through."""
    name = name or source.name
    top = os.open(share, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        arriving = f".kernlab-{os.getpid()}-{name}"
        with suppress(FileNotFoundError):
            os.unlink(arriving, dir_fd=top)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        found = os.open(arriving, flags, 0o600, dir_fd=top)
        with open(found, "wb") as out, source.open("rb") as file:
            shutil.copyfileobj(file, out)
            os.fchmod(found, stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o777)
        os.rename(arriving, name, src_dir_fd=top, dst_dir_fd=top)
    finally:
        os.close(top)


def put_program(program: Path, share: Path) -> str:
    """Copy a program into the share, and the libraries that it was linked to take along
    (``kernlab.guest.link``); its path in the guest."""
    put(program, share)
    libraries = Path(f"{program}{LIBRARIES}")
    if libraries.is_dir():
        place = fresh(share, libraries.name)
        for path in libraries.iterdir():
            put(path, place)
        place.chmod(0o755)  # whatever user of the guest runs it
    return f"{SHARE}/{program.name}"


def put_tree(source: Path, share: Path) -> None:
    """Copy a directory of ours into the share before its guest starts. A symbolic link in it
    becomes one of the guest's."""
    into = share / source.name
    how = model(share)
    into.mkdir()
    for place, folders, files in os.walk(source):
        here = into / Path(place).relative_to(source)
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                _link(here / name, os.readlink(path), how)
            elif path.is_dir():
                (here / name).mkdir()
            elif path.is_file():
                put(path, here)


def _link(path: Path, target: str, how: ShareModel) -> None:
    """A symbolic link as QEMU keeps one: a file with its target, and its kind beside it."""
    path.write_bytes(os.fsencode(target))
    if how == "mapped-xattr":
        os.setxattr(path, _MODE, struct.pack("<I", stat.S_IFLNK | 0o777))
        return
    beside = path.parent / _METADATA
    beside.mkdir(mode=0o700, exist_ok=True)
    (beside / path.name).write_text(f"virtfs.mode={stat.S_IFLNK | 0o777}\n", "ascii")


def fresh(share: Path, name: str) -> Path:
    """An empty directory in the share, whatever was there before."""
    path = share / name
    with suppress(FileNotFoundError, NotADirectoryError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)  # by descriptors: no link of the guest's leads it elsewhere
        else:
            path.unlink()
    path.mkdir(mode=0o700)
    return path


def text(share: Path, name: str, limit: int = TEXT_LIMIT) -> str | None:
    """What a text file of the guest's says; None where there is not a regular file, or one that
    is longer than any that is expected there."""
    try:
        return read_regular(share / name, limit, share).decode("utf-8", "replace")
    except OSError:
        return None


def take(share: Path, name: str, out: Path, limit: int) -> bool:
    """Copy a file of the guest's out of the share; False where there is not a regular file. What
    lies beyond ``limit`` bytes is left behind."""
    try:
        source = open_regular(share / name, share)
    except OSError:
        return False
    with source, out.open("wb") as file:
        copy_limited(source, file, limit)
    return True


def remove(share: Path, name: str) -> None:
    """Remove one file of the share; a link itself, not what it leads to."""
    with suppress(OSError):
        (share / name).unlink()
