"""Kconfig fragments with reasons: what is asked of a kernel's configuration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernlab.config.paths import config_file
from kernlab.config.yaml import near
from kernlab.errors import BadInput

SHIPPED = ("base", "debug", "net", "bpf", "trace")

_SET = re.compile(
    r"^(?P<name>CONFIG_\w+)=(?P<value>\"(?:[^\"\\]|\\.)*\"|[^\s#\"]*)\s*(?:#(?P<known>\??)\s*(?P<why>.*))?$"
)
_UNSET = re.compile(r"^# (?P<name>CONFIG_\w+) is not set\s*(?:#(?P<known>\??)\s*(?P<why>.*))?$")


@dataclass(frozen=True)
class Wish:
    """One option asked for. ``value``: y, m, n, a number, or a string with its quotes."""

    name: str
    value: str
    only_if_known: bool
    why: str
    where: str


def parse(text: str, where: str) -> list[Wish]:
    """The wishes of a fragment. Raises ``BadInput`` naming the line that is none."""
    wishes = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        match = _UNSET.match(line) or _SET.match(line)
        if match is None:
            if line and not line.startswith("#"):
                hint = near(line.split("=")[0].split()[0], ["CONFIG_"], 1)
                why = "expected CONFIG_NAME=value" + (" (did you mean CONFIG_…?)" if hint else "")
                raise BadInput(
                    f"{where}:{number}: '{line}' sets no option", why, _repair(where, line)
                )
            continue
        found = match.groupdict()
        value = found.get("value", "n")
        if value == "":
            raise BadInput(
                f"{where}:{number}: {found['name']} has no value",
                "expected =y, =n, a number or a quoted string",
                _repair(where, f"{found['name']}=y"),
            )
        wishes.append(
            Wish(
                found["name"], value, found["known"] == "?", found["why"] or "", f"{where}:{number}"
            )
        )
    return wishes


def _repair(where: str, line: str) -> str:
    """The next step for a line that is wrong: in a file, or of ``--set`` itself."""
    if not where.startswith("--set"):
        return f"edit {where}"
    name, _, value = line.partition("=")
    name = name if name.startswith("CONFIG_") else f"CONFIG_{name}"
    return "--set " + shlex.quote(f"{name}={value or 'y'}")


def gather(configs: Iterable[Path], sets: Iterable[str]) -> dict[str, Wish]:
    """Shipped fragments, then the user's files, then single options; the last wish wins."""
    wishes: dict[str, Wish] = {}
    for name in SHIPPED:
        path = config_file("kernel", f"{name}.config")
        wishes.update({w.name: w for w in parse(path.read_text("utf-8"), f"{name}.config")})
    for path in configs:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(
                f"--config {path}: cannot be read", str(error), f"ls -l {path}"
            ) from error
        wishes.update({w.name: w for w in parse(text, str(path))})
    for item in sets:
        for wish in parse(item, f"--set {item}"):
            wishes[wish.name] = wish
    return wishes


def text_of(wishes: Iterable[Wish]) -> str:
    """A plain fragment for the kernel's own tools."""
    lines = [
        f"# {w.name} is not set" if w.value == "n" else f"{w.name}={w.value}"
        for w in sorted(wishes, key=lambda w: w.name)
    ]
    return "\n".join(lines) + "\n"
