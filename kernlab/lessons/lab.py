"""configs/labs: one lab a file, named by its id (L03.yaml).

The program is a C file in rootfs/guest/labs (or, in a user's own lab, any path to one); it
prints the story's steps and what its calls gave (rootfs/guest/labs/lab.h).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from kernlab.config.paths import config_file, config_names, expanded, shipped
from kernlab.config.programs import Program
from kernlab.config.text import Text
from kernlab.config.yaml import Model, listed, load, near
from kernlab.errors import BadInput
from kernlab.verdict.model import Check, Expected, OtherKernel

Topic = Literal[
    "handshake", "close", "abort", "timers", "queues", "segments", "timewait", "netfilter", "course"
]
Family = Literal["ipv4", "ipv6"]
LAB_FILE = "lab.yaml"  # in a lab's directory: what its legs were judged by
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
_ROUND = re.compile(r"\.\d+$")


class ProbeRow(Model):
    """Where to stop: a function, or the first of a list that the kernel has; ``show``: C
    expressions to read there, each with a name (``show.NAME`` in expressions)."""

    at: str | list[str]
    show: dict[str, str] = {}

    @property
    def places(self) -> list[str]:
        """The functions, or the one line (file.c:LINE)."""
        return listed(self.at)


class Choice(Model):
    """One answer of a question; it is the right one when its predicate holds."""

    says: Text
    when: Check


class Question(Model):
    """What to predict before running. ``why`` is told afterwards."""

    ask: Text
    choices: list[Choice]
    why: Text


class Part(Model):
    """What a leg of a lab is made of.

    ``args`` are the program's; ``sysctl`` and ``setup`` (shell commands) are done in the
    lab's own network namespace, in this order, before anything is counted.
    """

    program: Program | None = None
    args: list[str] = []
    sysctl: dict[str, int | str] = {}
    setup: list[str] = []
    verdict: list[Expected] = Field(min_length=1)


class Then(Part):
    """A variant: the same lab with something changed. What it gives replaces the lab's own
    args; its sysctl and setup are added."""

    id: str
    title: Text
    teaches: Text


class Lab(Part):
    """A lesson. ``steps``: the story's words by the names that the program prints;
    ``kernels``: those that do something otherwise here, by the names that a verdict's lines give
    them; ``differs``: what else other kernels do, in words; ``debugger``: no for a lab
    whose outcome every stop of the guest would change (chance, thousands of times);
    ``capture``: a filter (pcap-filter(7)) where tcpdump would take too much of the guest."""

    title: Text
    topic: Topic
    level: Literal[1, 2, 3]
    idea: Text
    watch: Text
    source: list[str]
    rfc: list[str] = []
    families: list[Family] = ["ipv4"]
    topology: Literal["loopback", "tun", "veth"] = "loopback"
    timeout: int = 60
    debugger: bool = True
    capture: str = ""
    steps: dict[str, Text]
    probes: list[ProbeRow] = []
    predict: list[Question] = []
    kernels: dict[str, OtherKernel] = {}
    differs: Text | None = None
    then: list[Then] = []

    @property
    def elsewhere(self) -> list[Text]:
        """What other kernels do, in words."""
        words = [other.says for other in self.kernels.values()]
        return [*words, self.differs] if self.differs is not None else words

    @property
    def symbols(self) -> list[str]:
        """Which symbols of the kernel tell it from others."""
        return [name for other in self.kernels.values() for name in listed(other.has)]

    @model_validator(mode="after")
    def _whole(self) -> Lab:
        if self.program is None:
            raise ValueError("program is missing: the guest program that the lab runs")
        names = [part.id for part in self.then]
        for name in names:
            if name == "main" or not _ID.match(name) or names.count(name) > 1:
                raise ValueError(f"then: '{name}' is not an id, or is used twice")
        return self

    def legs(self) -> list[tuple[str, Part]]:
        """The main part and the variants, each as it is run."""
        found: list[tuple[str, Part]] = [("main", self)]
        for then in self.then:
            found.append(
                (
                    then.id,
                    Part(
                        program=then.program or self.program,
                        args=then.args or self.args,
                        sysctl={**self.sysctl, **then.sysctl},
                        setup=[*self.setup, *then.setup],
                        verdict=then.verdict,
                    ),
                )
            )
        return found


def ids() -> list[str]:
    """Every lab there is, the user's own included, in the order of the catalogue."""
    return sorted(config_names("labs"), key=_order)


def _order(name: str) -> tuple[str, int, str]:
    match = re.match(r"^([A-Za-z]+)(\d+)([a-z]?)$", name)
    return (match[1], int(match[2]), match[3]) if match else ("~", 0, name)


def path_of(name: str) -> Path:
    """A lab's file, by its id (any case) or a path. Raises ``BadInput`` with near names."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        return expanded(name)
    known = ids()
    for one in known:
        if one.lower() == name.lower():
            return config_file("labs", f"{one}.yaml")
    close = near(name.upper(), known) or near(name, known)
    raise BadInput(
        f"there is no lab '{name}'",
        f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}",
        "kernlab lab list",
    )


def find(name: str) -> tuple[Path, Lab]:
    """A lab and its file, whose stem is its id. Raises ``BadInput`` naming file and line, or
    near names."""
    path = path_of(name)
    if not _ID.match(path.stem):
        raise BadInput(
            f"{path}: a lab's file is named by its id",
            "an id has letters, digits, - and _",
            "rename the file",
        )
    return path, load(path, Lab)


def is_id(name: str) -> bool:
    """Whether a text may be the name of a lab's directory in a run: ``L03``, ``L03-ipv6``,
    and with a round ``L03.2``."""
    return _ID.match(_ROUND.sub("", name)) is not None


def shipped_as(name: str) -> tuple[Path, Lab] | None:
    """The shipped lab of which a run's directory ``name`` (``L03``, ``L03-ipv6``) is, and its
    file; None for a lab of one's own."""
    name = _ROUND.sub("", name)
    for stem in (name, name.removesuffix("-ipv6")):
        path = shipped("configs", "labs", f"{stem}.yaml")
        if is_id(stem) and path.is_file():
            return path, load(path, Lab)
    return None
