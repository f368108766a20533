"""The directory of one run: what was asked, what it resolved to, what it produced."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from kernlab.config.paths import arriving_file, discard, expanded, home, home_dir
from kernlab.config.yaml import near
from kernlab.errors import BadInput, HostLacks, KernlabError
from kernlab.record.shapes import RunJson, read

# sun_path holds 108 bytes, unix(7); the longest name made in a socket directory is 16.
_LONGEST = 108 - 17
_SHORT = "kernlab-"  # how the name of a socket directory elsewhere begins
_IN_SOCKETS = (".sock", ".log", ".fifo", "")  # the suffixes of what lies in one


class RunDir:
    """A run, new or read back. Files need not exist: see each command for what it writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.json = path / "run.json"
        self.events = path / "events.jsonl"
        self.output = path / "output.jsonl"
        self.console_log = path / "console.log"
        self.gdb_log = path / "gdb.log"
        self.capture = path / "capture.pcapng"
        self.graph_json = path / "graph.json"
        self.graph_text = path / "graph.txt"
        self.report = path / "report.html"
        self.share = path / "share"

    @classmethod
    def create(cls, asked: dict[str, Any], at: Path | None = None) -> RunDir:
        """A new run, mode 0700, in ``$KERNLAB_HOME/runs`` or the new directory ``at``.

        Raises ``HostLacks`` when it cannot be made, ``BadInput`` when ``at`` is taken.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        asked_for = expanded(at).absolute() if at is not None else None
        try:
            if asked_for is None:
                path = Path(tempfile.mkdtemp(prefix=f"{stamp}-", dir=home_dir("runs")))
            else:
                path = asked_for
                if path.exists() and (not path.is_dir() or any(path.iterdir())):
                    raise BadInput(
                        f"--out {at}: this directory is not empty",
                        "each run needs a directory of its own",
                        f"--out {at}-2",
                    )
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.chmod(0o700)
            run = cls(path)
            run.share.mkdir()
        except OSError as error:
            raise HostLacks(
                f"cannot make the run directory {error.filename}",
                str(error.strerror),
                "set KERNLAB_HOME to a directory with room",
            ) from error
        me = psutil.Process()
        run._write(
            {
                "asked": asked,
                "resolved": {},
                "result": {},
                "owner": {"pid": me.pid, "started": me.create_time()},
            }
        )
        return run

    def _write(self, data: dict[str, Any]) -> None:
        with arriving_file(self.json, lasting=False) as temporary:
            temporary.write_text(json.dumps(data, indent=1) + "\n", "utf-8")

    def read(self) -> dict[str, Any]:
        """run.json's content, of the shape of ``RunJson``; empty when it is not there. Raises
        ``BadInput`` for one that is damaged."""
        data: dict[str, Any] = read(self.json, RunJson, self.path, torn=False) or {}
        return {name: value for name, value in data.items() if value is not None}

    def resolved(self, **values: Any) -> None:
        """Note what the command resolved to: versions, keys, argv."""
        data = self.read()
        data.setdefault("resolved", {}).update(values)
        self._write(data)

    def result(self, **values: Any) -> None:
        """Note how it ended."""
        data = self.read()
        data.setdefault("result", {}).update(values)
        self._write(data)

    def owner(self) -> psutil.Process | None:
        """The kernlab that runs it, while it lives: this user's process with that pid and that
        start (a pid is used again). Raises ``BadInput`` for a damaged run.json."""
        told = self.read().get("owner")
        if not told:
            return None
        with suppress(psutil.Error):
            process = psutil.Process(told["pid"])
            mine = process.uids().effective == os.geteuid()
            if mine and abs(process.create_time() - told["started"]) < 0.05:
                return process
        return None

    def sockets(self) -> Path:
        """Where this run's sockets are: here, or in a short private directory linked here.

        A socket's path is limited to 107 bytes, and a home may lie deep.
        """
        place = self.path / "sockets"
        if place.exists():
            return place.resolve()
        if len(str(place).encode()) <= _LONGEST:
            place.mkdir(mode=0o700)
            return place
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        if len(base.encode()) > 60:
            base = "/tmp"
        short = Path(tempfile.mkdtemp(prefix=_SHORT, dir=base))
        place.symlink_to(short)
        return short

    def remove_sockets(self) -> None:
        place = self.path / "sockets"
        if place.is_symlink():
            with suppress(OSError):
                _empty(Path(os.readlink(place)))
            place.unlink(missing_ok=True)
        else:
            shutil.rmtree(place, ignore_errors=True)

    def remove(self) -> list[str]:
        """Remove it; what could not be removed, with its reason."""
        self.remove_sockets()
        return discard(self.path)


def _empty(short: Path) -> None:
    """Remove a directory that ``RunDir.sockets`` made elsewhere. Who wrote the link to it is not
    known: only a directory of that name and of this user goes, and only the files in it."""
    found = os.lstat(short)
    made = short.is_absolute() and short.name.startswith(_SHORT) and ".." not in short.parts
    if not (made and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()):
        return
    for path in short.iterdir():
        if path.suffix in _IN_SOCKETS:
            path.unlink()
    short.rmdir()


def parts(run: Path, name: str) -> list[Path]:
    """The directories in a run that hold a file of this name: its labs, or its race. A link
    is none."""
    return [path.parent for path in sorted(run.glob(f"*/{name}")) if not path.parent.is_symlink()]


def runs() -> Iterator[RunDir]:
    """The runs in the home, oldest first."""
    with suppress(OSError):
        for path in sorted((home() / "runs").iterdir()):
            if os.path.lexists(path / "run.json") and not path.is_symlink():
                yield RunDir(path)


def running() -> tuple[list[tuple[RunDir, psutil.Process]], list[KernlabError]]:
    """The runs that are under way, each with who runs it; and what is wrong with those of which
    that cannot be told."""
    found, wrong = [], []
    for run in runs():
        try:
            owner = run.owner()
        except KernlabError as error:
            wrong.append(error)
            continue
        if owner is not None:
            found.append((run, owner))
    return found, wrong


def find(
    name: str,
    having: str = "run.json",
    latest_with: Sequence[str] = (),
    remedy: str = "kernlab show latest",
) -> RunDir:
    """A run by its id, ``latest`` (of those that have a file ``having``, and one that matches
    a pattern (as of glob) of ``latest_with`` before others), or the path of its directory. Raises
    ``BadInput``, with ``remedy`` for a name that no run has."""
    known = [run for run in runs() if (run.path / having).exists()]
    if name == "latest":
        if not known:
            raise BadInput("there is no run yet", "", "kernlab trace tcp_v4_rcv")
        fitting = (
            run for run in reversed(known) if any(any(run.path.glob(m)) for m in latest_with)
        )
        return next(fitting, known[-1])
    for run in known:
        if run.id == name:
            return run
    path = expanded(name).absolute()
    if (path / "run.json").is_file():
        return RunDir(path)
    close = near(name, [run.id for run in known])
    raise BadInput(
        f"there is no run '{name}'",
        f"did you mean {close[0]}?" if close else "",
        remedy,
    )
