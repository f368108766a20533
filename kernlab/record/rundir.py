"""The directory of one run: what was asked, what it resolved to, what it produced."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from kernlab.config.paths import arriving_file, discard, expanded, home, home_dir
from kernlab.config.yaml import near
from kernlab.errors import BadInput, HostLacks

# sun_path holds 108 bytes, unix(7); the longest name made in a socket directory is 16.
_LONGEST = 108 - 17


class RunDir:
    """A run, new or read back. Files need not exist: see each command for what it writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.json = path / "run.json"
        self.events = path / "events.jsonl"
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
                        f"--out {at}: already there and not empty",
                        "a run keeps all it produced apart from others",
                        f"rm -r {at}, or another --out",
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
        """run.json's content; empty when it is not there or damaged."""
        try:
            data = json.loads(self.json.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

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
        """The kernlab that runs it, while it lives (a reused pid is told by its start)."""
        told = self.read().get("owner", {})
        with suppress(psutil.Error, KeyError, TypeError):
            process = psutil.Process(told["pid"])
            if abs(process.create_time() - told["started"]) < 0.05:
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
        short = Path(tempfile.mkdtemp(prefix="kernlab-", dir=base))
        place.symlink_to(short)
        return short

    def remove_sockets(self) -> None:
        place = self.path / "sockets"
        if place.is_symlink():
            shutil.rmtree(place.resolve(), ignore_errors=True)
            place.unlink(missing_ok=True)
        else:
            shutil.rmtree(place, ignore_errors=True)

    def remove(self) -> list[str]:
        """Remove it; what could not be removed, with its reason."""
        self.remove_sockets()
        return discard(self.path)


def runs() -> Iterator[RunDir]:
    """The runs in the home, oldest first."""
    with suppress(OSError):
        for path in sorted((home() / "runs").iterdir()):
            if (path / "run.json").is_file():
                yield RunDir(path)


def find(name: str, having: str = "run.json", latest_with: Sequence[str] = ()) -> RunDir:
    """A run by its id, ``latest`` (of those that have a file ``having``, and one that matches
    a pattern (as of glob) of ``latest_with`` before others), or the path of its directory. Raises
    ``BadInput``."""
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
        "kernlab show latest",
    )
