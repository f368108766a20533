"""Which wishes a kernel's Kconfig did not grant, and the dependency that was not met.

Reads the tree's Kconfig files as far as this question needs: symbols, ``depends on``,
and the menus and ``if`` blocks around them (Documentation/kbuild/kconfig-language.rst).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from kernlab.decode.arch import ARCH
from kernlab.errors import BadInput
from kernlab.kernel.fragments import Wish

_OPTION = re.compile(r"^(?:# )?(CONFIG_\w+)(?:=(.*)| is not set)$", re.MULTILINE)
_TOKEN = re.compile(r"\s*(&&|\|\||!=|=|!|\(|\)|\"[^\"]*\"|'[^']*'|[\w./-]+|\$\([^)]*\))")
_RANK = {"n": 0, "m": 1, "y": 2}


def read_config(text: str) -> dict[str, str]:
    """Option → value of a .config; what is not set is "n"."""
    return {name: value or "n" for name, value in _OPTION.findall(text)}


class Kconfig:
    """The symbols of one tree: their dependencies, one list per definition."""

    def __init__(self, tree: Path) -> None:
        self.depends: dict[str, list[list[str]]] = defaultdict(list)
        self._tree = tree
        self._seen: set[Path] = set()
        self._read(tree / "Kconfig", [])

    def __contains__(self, option: str) -> bool:
        return option.removeprefix("CONFIG_") in self.depends

    def _read(self, path: Path, around: list[str]) -> None:
        if path in self._seen or not path.is_file():
            return
        self._seen.add(path)
        text = path.read_text("utf-8", "replace").replace("\\\n", " ")
        blocks: list[list[str]] = [around]
        own: list[str] | None = None  # conditions of the symbol or menu being read
        help_indent: int | None = None
        for raw in text.splitlines():
            line = raw.expandtabs().rstrip()
            stripped = line.strip()
            if not stripped:
                continue
            indent = len(line) - len(line.lstrip())
            if help_indent is not None:
                if help_indent < 0:
                    help_indent = indent if indent > 0 else None
                if help_indent is not None and indent >= max(help_indent, 1):
                    continue
                help_indent = None
            word, _, rest = stripped.partition(" ")
            rest = rest.split(" #")[0].strip()
            if word in ("config", "menuconfig"):
                own = [part for block in blocks for part in block]
                self.depends[rest].append(own)
            elif word in ("menu", "choice"):
                own = []
                blocks.append(own)
            elif word == "if":
                own = None
                blocks.append([rest])
            elif word in ("endmenu", "endif", "endchoice"):
                own = None
                if len(blocks) > 1:
                    blocks.pop()
            elif word == "depends" and own is not None:
                own.append(rest.removeprefix("on").strip())
            elif word in ("help", "---help---"):
                help_indent = -1
            elif word == "source":
                own = None
                name = rest.strip("\"'")
                for variable in ("$(SRCARCH)", "$(HEADER_ARCH)"):
                    name = name.replace(variable, ARCH.srcarch)
                self._read(self._tree / name, [part for block in blocks for part in block])
            elif word == "comment":
                own = None

    def unmet(self, option: str, config: Mapping[str, str]) -> list[str]:
        """The conditions that keep ``option`` out under ``config``, as written in Kconfig."""
        definitions = self.depends.get(option.removeprefix("CONFIG_"), [])
        best: list[str] | None = None
        for conditions in definitions:
            failed = [
                part
                for condition in conditions
                for part in _conjuncts(condition)
                if _value(part, config) == 0
            ]
            if best is None or len(failed) < len(best):
                best = failed
        return list(dict.fromkeys(best or []))


def _conjuncts(text: str) -> list[str]:
    """The parts of an expression that && joins at its top level."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"&&|\|\||[()]", text):
        token = match.group()
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and token == "||":
            return [text.strip()]
        if depth == 0 and token == "&&":
            parts.append(text[start : match.start()].strip())
            start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def _value(text: str, config: Mapping[str, str]) -> int:
    """A tristate expression's value: 0, 1 or 2. What cannot be evaluated counts as met."""
    tokens = _TOKEN.findall(text)
    position = 0

    def symbol(token: str) -> str:
        if token.startswith(("'", '"')):
            return token[1:-1]
        if token in _RANK:
            return token
        return config.get(f"CONFIG_{token}", "n")

    def atom() -> int:
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "!":
            return 2 - atom()
        if token == "(":
            result = either()
            position += 1
            return result
        if token.startswith("$("):
            return 2  # a macro of the toolchain
        if position < len(tokens) and tokens[position] in ("=", "!="):
            equal = tokens[position] == "="
            other = tokens[position + 1]
            position += 2
            return 2 if (symbol(token) == symbol(other)) == equal else 0
        return _RANK.get(symbol(token), 2)

    def both() -> int:
        nonlocal position
        result = atom()
        while position < len(tokens) and tokens[position] == "&&":
            position += 1
            result = min(result, atom())
        return result

    def either() -> int:
        nonlocal position
        result = both()
        while position < len(tokens) and tokens[position] == "||":
            position += 1
            result = max(result, both())
        return result

    try:
        return either()
    except IndexError:
        return 2


def check(wishes: Iterable[Wish], config: Mapping[str, str], tree: Path) -> None:
    """Raise ``BadInput`` naming each option that came out otherwise than wished."""
    refused = [w for w in wishes if config.get(w.name, "n") != w.value]
    if not refused:
        return
    kconfig = Kconfig(tree)
    lines = []
    for wish in refused:
        known = wish.name in kconfig
        if wish.only_if_known and not known:
            continue
        got = config.get(wish.name, "n")
        line = f"{wish.where}: {wish.name} was to be {wish.value} and became {got}"
        if not known:
            line += "; this kernel's Kconfig has no such option"
        elif wish.value != "n":
            unmet = kconfig.unmet(wish.name, config)
            line += f"; unmet: {' && '.join(unmet)}" if unmet else "; another option excludes it"
        else:
            line += "; another option selects it"
        lines.append(line)
    if lines:
        raise BadInput(
            "the kernel's configuration did not take "
            + ("one option" if len(lines) == 1 else f"{len(lines)} options"),
            "\n".join(lines),
            "add what is missing with --set, or in the file",
        )
