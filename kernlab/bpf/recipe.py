"""configs/recipes: what is asked of bpftrace, bcc, ksnoop and others, with packets to show it."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from kernlab.config.paths import config_file, config_names
from kernlab.config.yaml import Model, load, unknown
from kernlab.decode.regexp import problem
from kernlab.record.rundir import RunDir
from kernlab.vm.channel import Sink

PREFIX = "recipe:"
_SCRIPT = "recipe.bt"
_KEEP = "attached"
_NEVER = r"(?!)"  # matches nothing
# A bpftrace probe, and what libbpf calls the same in SEC().
_PROBE = re.compile(r"^\s*(kprobe|kretprobe|tracepoint|kfunc|kretfunc):([\w:]+)(?![\w:*?])", re.M)
_SECTION = {"tracepoint": "tp", "kfunc": "fentry", "kretfunc": "fexit"}


class Recipe(Model):
    """One question and the tool that answers it: a ``bpftrace`` script or a ``command``.

    ``args`` are the command's last words unless a user gives others; ``ready`` is what it prints
    once it is attached (a regular expression on a line; bpftrace is asked another way) and
    ``wait`` the seconds that may take; ``probes``: what it needs of the kernel, as in SEC(),
    beside what a script names itself. ``lab`` or ``workload`` makes packets unless the command
    line says otherwise; ``shows``: what must be among the output then. ``instead``: what
    answers the question where this does not run. ``memory`` in MiB.
    """

    title: str
    bpftrace: str = ""
    command: list[str] = []
    args: list[str] = []
    ready: str = ""
    wait: float = 60
    probes: list[str] = []
    lab: str | None = None
    workload: str | None = None
    shows: list[str] = []
    instead: str
    image: Literal["busybox", "debian"] = "debian"
    memory: int = 512

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        if bool(self.bpftrace) == bool(self.command):
            raise ValueError("give either bpftrace or command")
        if self.command and not self.ready:
            raise ValueError("ready is missing: a text that the command prints once it is attached")
        if (self.lab is None) == (self.workload is None):
            raise ValueError("give either lab or workload")
        for pattern in (self.ready, *self.shows):
            wrong = problem(pattern, limited=True)
            if wrong:
                raise ValueError(f"{pattern!r} is no regular expression for this: {wrong}")
        return self

    @property
    def sections(self) -> list[str]:
        """What it attaches to, as libbpf's SEC() names it."""
        named = [(_SECTION.get(kind, kind), place) for kind, place in _PROBE.findall(self.bpftrace)]
        return [*self.probes, *(f"{kind}/{place.replace(':', '/')}" for kind, place in named)]


def names() -> list[str]:
    """Every recipe there is, the user's own included."""
    return config_names("recipes")


def find(what: str) -> Recipe:
    """A recipe by name, with or without "recipe:". Raises ``BadInput`` with near names, or
    naming file and line."""
    name = what.removeprefix(PREFIX)
    known = names()
    if name not in known:
        raise unknown(
            f"there is no recipe '{name}'", name, known, f"kernlab bpf run {PREFIX}{{}}", known[0]
        )
    return load(config_file("recipes", f"{name}.yaml"), Recipe)


def place(recipe: Recipe, args: list[str], mark: str, run: RunDir) -> list[str]:
    """Bring a recipe to the guest; its command line there. bpftrace makes the file ``mark``,
    in the share, once it is attached."""
    if recipe.command:
        # A tool's own buffer would hold its lines back until it ends.
        return ["stdbuf", "-oL", *recipe.command, *(args or recipe.args)]
    (run.share / _SCRIPT).write_text(recipe.bpftrace, "utf-8")
    # What -c starts begins when every probe is attached (bpftrace(8)); its end would be ours.
    keep = f": > {shlex.quote(mark)}\nexec sleep 2000000\n"
    (run.share / _KEEP).write_text(keep, "utf-8")
    return [
        "bpftrace",
        "-B",
        "line",
        "-c",
        f"/bin/sh /mnt/share/{_KEEP}",
        f"/mnt/share/{_SCRIPT}",
        *(args or recipe.args),
    ]


class Watch:
    """Output on its way, that makes the file ``mark`` when a line matches ``ready``."""

    def __init__(self, ready: str, mark: Path) -> None:
        self._ready = re.compile(ready or _NEVER)
        self._mark = mark
        self._seen: dict[int, bytes] = {}

    def on(self, number: int, sink: Sink) -> Sink:
        """The sink for one stream (1 or 2), which hands on to ``sink``."""

        def feed(data: bytes) -> None:
            sink(data)
            lines = (self._seen.get(number, b"") + data).split(b"\n")
            if any(self._ready.search(line.decode("utf-8", "replace")) for line in lines):
                _touch(self._mark)
            self._seen[number] = lines[-1]

        return feed


def _touch(path: Path) -> None:
    """Make a file in the share of a guest that runs: no link of its is followed."""
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600))
