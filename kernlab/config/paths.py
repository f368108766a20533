"""Where kernlab keeps what it makes, and where its own data lies.

Everything made goes under ``$KERNLAB_HOME``, by default the platform's user data
directory. Data that ships with kernlab (configs/, rootfs/, gdb_scripts/) lies at
the top of a source checkout, and inside the package in an installed wheel.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernlab.errors import HostLacks

_PACKAGE = Path(__file__).resolve().parent.parent


def expanded(text: str | Path) -> Path:
    """A path as a user wrote it, ``~`` and ``~name`` replaced where there is such a home."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:  # no such user: then it is a file of that name, or none
        return path


def home() -> Path:
    """The directory of all artifacts; not created here."""
    told = os.environ.get("KERNLAB_HOME")
    if told:
        return expanded(told).absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("kernlab", appauthor=False))


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

    An artifact is complete or absent: on any exception nothing is left behind.
    When another process was faster and ``final`` exists, its copy is kept.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield temporary
        try:
            temporary.rename(final)
        except OSError:
            if not final.exists():
                raise
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def arriving_file(final: Path) -> Iterator[Path]:
    """A temporary file beside ``final`` that becomes it when the block ends well. An error of
    the host's that names no file (a full disk, at a write) is given ``final``'s name."""
    final.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{final.name}.", dir=final.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(final)
    except OSError as error:
        if error.filename in (None, name):
            error.filename, error.filename2 = str(final), None
        raise
    finally:
        temporary.unlink(missing_ok=True)
