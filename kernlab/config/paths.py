"""Where kernlab keeps what it makes, and where its own data lies.

Everything made goes under ``$KERNLAB_HOME``, by default the platform's user data
directory. Data that ships with kernlab (configs/, rootfs/, gdb_scripts/) lies at
the top of a source checkout, and inside the package in an installed wheel.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kernlab.config import sums
from kernlab.errors import HostLacks

_PACKAGE = Path(__file__).resolve().parent.parent
_TURNS = 5  # times that a damaged artifact may come back while it is replaced
_JUST_MADE = 60.0  # seconds for which a temporary directory is left alone, held or not


def expanded(text: str | Path) -> Path:
    """A path as a user wrote it, ``~`` and ``~name`` replaced where there is such a home."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:  # no such user: then it is a file of that name, or none
        return path


def home() -> Path:
    """The directory of all artifacts; not created here. Raises ``HostLacks`` for a name with a
    newline in it or one that is not UTF-8."""
    told = os.environ.get("KERNLAB_HOME")
    if told:
        return _usable(expanded(told).absolute())
    import platformdirs

    return _usable(Path(platformdirs.user_data_dir("kernlab", appauthor=False)))


def _usable(path: Path) -> Path:
    """Raise ``HostLacks`` for a name that make, GDB or a terminal would take for another."""
    text = str(path)
    if text.isprintable():
        return path
    odd = next(letter for letter in text if not letter.isprintable())
    what = "is not UTF-8" if "\ud800" <= odd <= "\udfff" else f"has the character {odd!r} in it"
    raise HostLacks(
        f"the home directory's name {what}: {os.fsencode(path)!r}",
        "make, GDB and QEMU need a plain name",
        "set KERNLAB_HOME to a directory with a plain name",
    )


def home_dir(kind: str) -> Path:
    """``$KERNLAB_HOME/<kind>``, created. Raises ``HostLacks`` when it cannot be."""
    path = home() / kind
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostLacks(
            f"cannot create {path}",
            f"{error.strerror}",
            "set KERNLAB_HOME to a directory you can write to",
        ) from error
    return path


def shipped(*parts: str) -> Path:
    """A file or directory that ships with kernlab: ``shipped("configs", "kernels.yaml")``."""
    inside = _PACKAGE / "_data"
    top = inside if inside.is_dir() else _PACKAGE.parent
    return top.joinpath(*parts)


def python_path() -> list[Path]:
    """What GDB's Python needs on its path to import ``kernlab.decode`` and ``gdb_scripts``."""
    return [_PACKAGE.parent, shipped("gdb_scripts").parent]


def config_file(*parts: str) -> Path:
    """A data file: the user's own under ``$KERNLAB_HOME/configs`` first, then the shipped one."""
    own = home().joinpath("configs", *parts)
    return own if own.exists() else shipped("configs", *parts)


def config_files(directory: str, pattern: str) -> list[Path]:
    """The data files of a kind; the user's own hides a shipped one of the same name."""
    found = {path.name: path for path in shipped("configs", directory).glob(pattern)}
    found.update({path.name: path for path in home().joinpath("configs", directory).glob(pattern)})
    return [found[name] for name in sorted(found)]


def config_names(directory: str) -> list[str]:
    """The names of a kind's YAML files, the user's own included."""
    return sorted({path.stem for path in config_files(directory, "*.yaml")})


@contextmanager
def arriving(final: Path) -> Iterator[Path]:
    """A temporary directory beside ``final`` that becomes it when the block ends well.

    An artifact is complete or absent: on any exception nothing is left behind. It gets a
    record of its files (``kernlab.config.sums``) and is on the disk before it has its name.
    When another process was faster its copy is kept if it is whole; a damaged one gives way.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    _reap(final)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    held = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # says that somebody lives who makes it
        yield temporary
        sums.record(temporary)
        _take_place(temporary, final)
        _sync(final.parent)
    finally:
        if temporary.exists():
            discard(temporary)
        os.close(held)


def _take_place(temporary: Path, final: Path) -> None:
    for _ in range(_TURNS):
        try:
            temporary.rename(final)
            return
        except OSError:
            if not os.path.lexists(final):
                raise
        if not sums.problem(final):
            return
        set_aside(final)
    raise HostLacks(
        f"{final} cannot be made", "something creates it again each time", f"ls -la {final}"
    )


def set_aside(path: Path) -> list[str]:
    """Remove an artifact as ``discard`` does; its name is free at once, however long that takes."""
    away = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    with suppress(FileNotFoundError):
        path.rename(away / path.name)
    return discard(away)


def _reap(final: Path) -> None:
    """Remove what killed makers of ``final`` left: temporary directories that nobody holds."""
    for path in final.parent.glob(f".{glob.escape(final.name)}.*"):
        if path.is_dir() and not path.is_symlink() and not is_held(path):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _JUST_MADE:
                    discard(path)


def is_held(directory: Path) -> bool:
    """Whether a living process makes a temporary directory of ``arriving``."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


def discard(path: Path) -> list[str]:
    """Remove a file or a directory with all in it, directories without a right to write (a
    guest makes such) included; what could not be removed, with its reason."""
    if path.is_symlink() or not path.is_dir():
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            return [f"{path}: {error.strerror}"]
        return []
    for place, names, _ in os.walk(path):
        for directory in (place, *(os.path.join(place, name) for name in names)):
            with suppress(OSError):
                mode = os.lstat(directory).st_mode
                if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
                    os.chmod(directory, stat.S_IMODE(mode) | stat.S_IRWXU)
    failed: list[str] = []

    def told(_: object, name: str, error: tuple[object, BaseException, object]) -> None:
        what = error[1]
        if isinstance(what, FileNotFoundError):
            return
        if not (isinstance(what, OSError) and what.errno == errno.ENOTEMPTY):
            failed.append(f"{name}: {getattr(what, 'strerror', None) or what}")

    shutil.rmtree(path, onerror=told)
    return failed


@contextmanager
def arriving_file(final: Path, *, seal: bool = False, lasting: bool = True) -> Iterator[Path]:
    """A temporary file beside ``final`` that becomes it when the block ends well. An error of
    the host's that names no file (a full disk, at a write) is given ``final``'s name.

    ``seal``: it gets its sum in a last line; ``unsealed_file`` reads it. ``lasting``: it is on
    the disk before it has its name; not for what is written over and over.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{final.name}.", dir=final.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if seal:
            temporary.write_bytes(sums.sealed(temporary.read_bytes()))
        if lasting:
            _sync(temporary)
        if final.is_dir() and not final.is_symlink():
            set_aside(final)  # no file of ours is a directory
        temporary.replace(final)
    except OSError as error:
        if error.filename in (None, name):
            error.filename, error.filename2 = str(final), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def unsealed_file(path: Path) -> bytes | None:
    """What ``arriving_file(path, seal=True)`` wrote; None for no such file or a damaged one."""
    try:
        return sums.unsealed(path.read_bytes())
    except OSError:
        return None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
