"""What a loader says on stderr when the kernel refuses its program, made short.

libbpf prints the verifier's whole log, thousands of lines for a large program. What matters
is at its end: the instruction that was refused, and why. The log goes to a file; the end,
with the source line that it is about, to the user. Other refusals (no such function, a map
type that the kernel lacks) are told in words by the rows of configs/bpf.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from kernlab.config.paths import config_file
from kernlab.config.yaml import Model, load

_BEGIN = re.compile(r"^libbpf: prog '([^']*)': -- BEGIN PROG LOAD LOG --$")
_END = "-- END PROG LOAD LOG --"
# Since d9fbd0a0ef80 (v6.9) the verifier says the line itself: "; code @ file.c:12".
_SOURCE = re.compile(r"^; (?P<code>.*?)(?: @ (?P<file>\S+?):(?P<line>\d+))?$")
_COUNTS = re.compile(r"^(processed \d+ insns|verification time|stack depth|peak_states)")
_POISONED = "<invalid CO-RE relocation>"  # libbpf's, for an instruction it could not relocate
_SHOWN = 6  # lines of the verifier's log that are shown

Sink = Callable[[bytes], None]


class ComplaintRow(Model):
    """``match``: a regular expression on a line of stderr or of the verifier's log; its named
    groups may stand in ``says`` and ``try``. ``option``: what the kernel must be built with."""

    match: str
    says: str
    option: str | None = None
    instead: str


class SectionRow(Model):
    """What a program's section (SEC()) that matches needs of the kernel's configuration."""

    match: str
    option: str
    says: str
    instead: str


class ToolRow(Model):
    """A tool that compiles its programs when it runs, so that no object tells where it attaches:
    ``probes``, each as SEC() has it."""

    name: str
    probes: list[str]
    instead: str


class BpfTable(Model):
    complaints: list[ComplaintRow]
    sections: list[SectionRow]
    tools: list[ToolRow] = []


def table() -> BpfTable:
    """The user's own bpf.yaml or the shipped one. Raises ``BadInput``."""
    return load(config_file("bpf.yaml"), BpfTable)


class Complaints:
    """Stderr of a loader: goes on to ``sink`` but for the verifier's logs, which ``log`` gets."""

    def __init__(self, sink: Sink, log: Path) -> None:
        self._to = sink
        self._log = log
        self._half = b""
        self._inside: list[str] | None = None
        self._rejected: list[tuple[str, list[str]]] = []  # program, its log
        self._passed = bytearray()

    def feed(self, data: bytes) -> None:
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            self._line(line)
        if self._half and self._inside is None and not _may_begin(self._half):
            self._sink(self._half)  # a prompt, or a line that comes in pieces
            self._half = b""

    def close(self) -> None:
        """The loader has ended; a log that was cut off counts too."""
        if self._half:
            self._sink(self._half)
            self._half = b""
        if self._rejected:
            text = "\n".join(f"{name}:\n" + "\n".join(log) for name, log in self._rejected)
            self._log.write_text(text + "\n", "utf-8")

    def _sink(self, data: bytes) -> None:
        self._passed += data
        self._to(data)

    def _line(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace")
        if self._inside is not None:
            if text == _END:
                self._inside = None
            else:
                self._inside.append(text)
            return
        begin = _BEGIN.match(text)
        if begin is not None:
            self._inside = []
            self._rejected.append((begin[1], self._inside))
            return
        self._sink(raw + b"\n")

    def explain(self, kernel_side: Path, config: Path) -> tuple[str, str, str] | None:
        """What was refused, why, and what to do; None when nothing was that is known."""
        found: tuple[str, str, str] | None = None
        heard = self._passed.decode("utf-8", "replace").splitlines()
        heard += [line for _, log in self._rejected for line in log]
        told = _in_words(heard, config)
        if self._rejected:
            name, log = self._rejected[0]
            where, shown = _where(log, kernel_side)
            why = "\n".join([*shown, *([told[0]] if told else []), f"the whole log: {self._log}"])
            step = told[1] if told else f"edit {where or kernel_side}"
            found = (f"the verifier rejects '{name}'{f' at {where}' if where else ''}", why, step)
        elif told:
            found = ("the kernel refuses the program", told[0], told[1])
        return found


def _may_begin(half: bytes) -> bool:
    start = b"libbpf: prog"
    return half.startswith(start) or start.startswith(half)


def _where(log: list[str], kernel_side: Path) -> tuple[str, list[str]]:
    """The source line that the log ends with, and the log's last lines."""
    lines = [line for line in log if line.strip() and not _COUNTS.match(line)]
    if any(_POISONED in line for line in lines):
        return "", lines[-_SHOWN:]  # the source line before it may be any
    for line in reversed(lines):
        match = _SOURCE.match(line)
        if match is None:
            continue
        if match["line"]:
            return f"{kernel_side.parent / match['file']}:{match['line']}", lines[-_SHOWN:]
        text = kernel_side.read_text("utf-8", "replace").splitlines()
        code = match["code"].strip()
        at = [number for number, one in enumerate(text, 1) if one.strip() == code]
        if len(at) == 1:
            return f"{kernel_side}:{at[0]}", lines[-_SHOWN:]
        return "", [*([] if line in lines[-_SHOWN:] else [line]), *lines[-_SHOWN:]]
    return "", lines[-_SHOWN:]


def _in_words(lines: list[str], config: Path) -> tuple[str, str] | None:
    """The first row that knows one of the lines, most telling rows first."""
    built = config.read_text("utf-8").splitlines()
    for row in table().complaints:
        for line in lines:
            match = re.search(row.match, line)
            if match is None or (row.option and f"{row.option}=y" in built):
                continue
            said = match.groupdict()
            return row.says.format(**said), row.instead.format(**said)
    return None
