"""A working directory that others' ids can reach, and that no run leaves behind for good.

mmdebstrap's user namespace owns files by ids that are not the user's, so the directory has to
be reachable by them and takes a helper to remove. A run that was killed (SIGKILL) leaves it;
the next one sees that nobody holds its lock, and removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kernlab.config.paths import home_dir
from kernlab.errors import HostLacks, KernlabError
from kernlab.process import run, which

_PREFIX = "kernlab-disk-"
_REMOVE = 120.0


@contextmanager
def scratch(megabytes: int) -> Iterator[Path]:
    """An empty directory with so much room, gone with the block.

    Raises ``HostLacks`` when no reachable place has the room.
    """
    reap()
    place = _place(megabytes)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    path.chmod(0o755)
    # Held until this process ends, whatever ends it; a child does not inherit it.
    lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (path / "tmp").mkdir()
        (path / "tmp").chmod(0o1777)
        yield path
    finally:
        remove(path)
        os.close(lock)


def reap() -> None:
    """Remove what killed runs of this user left."""
    for place in _places():
        for path in place.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if path.lstat().st_uid == os.geteuid() and _left(path):
                    remove(path)


def _left(path: Path) -> bool:
    """Whether nobody holds the directory; one without a lock is just being made or removed."""
    lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    finally:
        os.close(lock)


def remove(path: Path) -> None:
    """The lock goes last, so that what could not be removed is tried again."""
    for child in path.iterdir():
        if child.name != "lock":
            _remove(child)
    if [child.name for child in path.iterdir()] == ["lock"]:
        shutil.rmtree(path, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    helper = which("mmdebstrap")
    if path.exists() and helper is not None:  # files of the namespace's ids
        with suppress(KernlabError):
            run(_REMOVE, [helper, "--unshare-helper", "rm", "-rf", str(path)], check=False)
        shutil.rmtree(path, ignore_errors=True)


def _places() -> list[Path]:
    """Where it may lie: as TMPDIR says, else beside the images, else where disk is."""
    told = os.environ.get("TMPDIR")
    wanted = [Path(told)] if told else []
    wanted += [home_dir("images"), Path("/var/tmp"), Path(tempfile.gettempdir())]
    return [path for path in dict.fromkeys(wanted) if _reachable(path)]


def _reachable(path: Path) -> bool:
    """Whether any id may pass through every directory down to ``path``."""
    with suppress(OSError):
        real = path.resolve(strict=True)
        return os.access(real, os.W_OK) and all(
            one.stat().st_mode & stat.S_IXOTH for one in (real, *real.parents)
        )
    return False


def _place(megabytes: int) -> Path:
    places = _places()
    for path in places:
        if shutil.disk_usage(path).free >= megabytes * 1_000_000:
            return path
    rooms = [f"{path}: {shutil.disk_usage(path).free // 1_000_000} MB free" for path in places]
    raise HostLacks(
        f"there is no room to assemble the disk: {megabytes} MB are needed for a short time",
        "\n".join(rooms) or "no directory for temporary files can be written",
        "set TMPDIR to a directory on a larger disk",
    )
