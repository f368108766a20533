"""What the host's own apt configuration says: which archives it uses, with which keys.

Both formats are read: one-line ``sources.list`` and deb822 ``*.sources`` (sources.list(5)).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ALIASES = {"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"}
_OPTION = re.compile(r"(\S+?)=(\S+)")


@dataclass(frozen=True)
class Archive:
    """A repository the host trusts; ``options`` are deb822 fields to carry over."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


def parse_one_line(text: str) -> Iterator[Archive]:
    """The ``deb`` lines of a sources.list."""
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        match = re.match(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>\S.*)", line)
        if not match:
            continue
        words = match["rest"].split()
        if len(words) < 2:
            continue
        names = {"signed-by": "Signed-By", "trusted": "Trusted"}
        options = tuple(
            (names[key.lower()], value)
            for key, value in _OPTION.findall(match["options"] or "")
            if key.lower() in names
        )
        yield Archive(words[0], (words[1],), tuple(words[2:]), options)


def parse_deb822(text: str) -> Iterator[Archive]:
    """The enabled stanzas of a *.sources file."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t" and last:
                fields[last] += "\n" + line.strip()
            elif ":" in line:
                last, value = line.split(":", 1)
                last = last.strip().lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        options = tuple(
            (name, fields[name.lower()])
            for name in ("Signed-By", "Trusted")
            if fields.get(name.lower())
        )
        for uri in fields.get("uris", "").split():
            yield Archive(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                options,
            )


def archives(etc: Path = Path("/etc/apt")) -> list[Archive]:
    """Every archive the host is configured for."""
    found: list[Archive] = []
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for path in files:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        if path.suffix == ".list":
            found.extend(parse_one_line(text))
        elif path.suffix == ".sources":
            found.extend(parse_deb822(text))
    return found


def choose(found: list[Archive], codename: str, kind: str) -> list[Archive]:
    """The host's ``main`` or ``security`` archives of its own distribution.

    Third-party repositories are left out by their suites: they are not the host's
    codename, nor an alias of a release.
    """
    own = {codename, *_ALIASES}
    wanted = own if kind == "main" else {f"{name}-security" for name in own}
    return [a for a in found if wanted & set(a.suites) and "main" in a.components]


def os_release(path: Path = Path("/etc/os-release")) -> tuple[str, str]:
    """The host's distribution and codename: ("debian", "bookworm"); empty where not said."""
    fields = {}
    try:
        for line in path.read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition("=")
            fields[key] = value.strip("\"'")
    except OSError:
        pass
    return fields.get("ID", ""), fields.get("VERSION_CODENAME", "")
