"""Damaged runs, lab and race files and tables by the thousand, and each command that reads them.

    python tests/fuzzing.py DIRECTORY COUNT [SEED]

Each example takes a good one, changes one to three things in it that a stranger could change,
and runs the commands that read it in this process. A line of JSON on stdout tells how many
examples there were, how commands ended, and every example that broke a promise: a traceback, a
status that is none of ours, a command that takes longer than its limit, a control character on
the terminal, a word of a file that the record only links to. The process' memory is measured.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import made_run
import yaml

SECRET = "hidden-word-of-the-host"
LIMIT = 20  # seconds a command may take on a busy host
DEEP = "\0deep"  # stands for a value that lies 3000 deep in others
RAW = "\0raw"  # stands for text that is no JSON of Python's
ODD: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    -0.5,
    "",
    "x",
    "x" * 20_000,
    "\ud800",
    "a\0b",
    "\x1b[31m\x1b]0;x\x07",
    "[/]",
    "[bold]",
    "\u202eabc",
    "\x9b31m",
    "9" * 5000,
    "../../../../etc/passwd",
    "/",
    "~",
    "%s%n",
    "{0}{x}",
    "${x}",
    [],
    {},
    [[]],
    [None],
    {"": {}},
    {"a": {"b": {"c": {}}}},
    list(range(300)),
    DEEP,
    RAW + "1e999",
    RAW + "NaN",
    RAW + "01",
    RAW + "[",
    RAW + '"',
    {"pid": -1, "started": 0},
    "-1",
    "NaN",
    "null",
]
PIECES = [
    "",
    ":",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "&a",
    "*a",
    "!!python/object:x {}",
    "\t",
    "\n",
    "null",
    "~",
    ".nan",
    ".inf",
    "1e999",
    "0o7",
    "2026-11-25",
    "yes",
    "\u0085",
    "\x00",
    "#",
    "|",
    ">-",
    "<<: *a",
    "? ",
    "%YAML 1.2",
    "---",
    "...",
    "x" * 5000,
    "!!binary x",
    "!!set {a}",
    "\u202e",
    "\x1b[31m",
    "(a+)+$",
    "[",
    "{" * 2000,
    "- " * 2000,
]
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{two}: &{two} [{', '.join(['*' + one] * 9)}]\n"
    for one, two in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{two}: &{two} {{<<: [*{one}, *{one}, *{one}, *{one}]}}\n"
    for one, two in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)


def shipped(*parts: str) -> Path:
    from kernlab.config.paths import shipped as place

    return place(*parts)


def make(place: Path) -> dict[str, Path]:
    """A good run of each kind."""
    trace = made_run.make(place / "trace", 6)
    rows = [json.loads(line) for line in (trace / "events.jsonl").read_text().splitlines()]
    rows[-1]["rst"] = {
        "cause": "P1",
        "name": "n",
        "kind": "passive",
        "says": "s",
        "condition": "c",
        "decides": 0,
        "remedy": "r",
        "labs": ["L03"],
        "frame": 6,
        "moved": {"Tcp.OutRsts": 1},
        "source": [[1, "x"]],
        "errno": {"local": "a", "peer": "b"},
        "state_before": "LISTEN",
    }
    (trace / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lab = place / "lab"
    for leg in ("main", "linger", "other"):
        made_run.make(lab / "L03" / leg, 6)
        (lab / "L03" / leg / "run.json").unlink()
        told: dict[str, Any] = {
            "status": 0,
            "said": "",
            "steps": ["listen", "x"],
            "debugger": True,
            "got": {"client.recv": "ECONNRESET"},
            "symbols": {"tcp_v4_rcv": True},
        }
        for name, value in (
            ("results", told),
            ("counters", {"Tcp.OutRsts": 1}),
            ("rst", [{"cause": "A1", "probe": "tcp_send_active_reset"}]),
        ):
            (lab / "L03" / leg / f"{name}.json").write_text(json.dumps(value))
        (lab / "L03" / leg / "kmsg.txt").write_text("TCP: too many orphaned sockets\n")
    shutil.copy(shipped("configs", "labs", "L03.yaml"), lab / "L03" / "lab.yaml")
    (lab / "L03" / "quiz.json").write_text('{"answers": [0, null, 1]}')
    race = place / "race"
    made_run.make(race / "R1" / "round-001", 6, 3)
    inside = race / "R1" / "round-001"
    (inside / "run.json").unlink()
    rows = [json.loads(line) for line in (inside / "events.jsonl").read_text().splitlines()]
    lock = {"addr": "0xffff", "name": "h->lock", "what": "lock of an ehash bucket", "func": "f"}
    for number, (row, actor) in enumerate(zip(rows, "AAB", strict=True), 1):
        row["race"] = {
            "actor": actor,
            "step": number,
            "reached": "blocked",
            "locks": [lock],
            "waits": {**lock, "kind": "lock", "held_by": "A"},
            "source": {},
        }
    (inside / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copy(shipped("configs", "races", "R1.yaml"), race / "R1" / "race.yaml")
    (inside / "round.json").write_text('{"round": 1, "ending": "rst", "reached": ["a"]}')
    (inside / "results.json").write_text('{"status": 0, "got": {"server.recv": "ECONNRESET"}}')
    (inside / "counters.json").write_text('{"Tcp.OutRsts": 1}')
    for run in (lab, race):
        told = {
            "asked": {"argv": ["kernlab", "lab", "run", "L03"]},
            "resolved": {"release": "5.10"},
            "result": {"labs": {"L03": True}},
            "owner": {"pid": 4000000, "started": 1.0},
        }
        (run / "run.json").write_text(json.dumps(told))
    return {"trace": trace, "lab": lab, "race": race}


# -- what a stranger changes -------------------------------------------------------------------


class Damage:
    """Changes, each chosen by ``random``."""

    def __init__(self, seed: int, place: Path) -> None:
        self.random = random.Random(seed)
        self.secret = place / "secret"
        self.secret.write_text(f"{SECRET}: 1\n" * 50)
        self.told: list[str] = []

    def run(self, run: Path) -> None:
        """One file of a run."""
        files = sorted(
            path
            for path in run.rglob("*")
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 23
        )
        if not files:
            return
        path = self.random.choice(files)
        if path.suffix in (".yaml",) and self.random.random() < 0.7:
            self.yaml(path)
        elif path.suffix in (".json", ".jsonl") and self.random.random() < 0.85:
            self.json(path)
        else:
            self.file(path)

    def file(self, path: Path) -> None:
        """What is not a file, or another one."""
        kind = self.random.choice(
            (
                "gone",
                "link",
                "zero",
                "pipe",
                "directory",
                "empty",
                "cut",
                "big",
                "bytes",
                "nul",
                "closed",
                "loop",
                "long",
                "up",
            )
        )
        self.told.append(f"{path.name}: {kind}")
        data = path.read_bytes()
        if kind == "up":
            inner = path.parent
            if inner.parent != inner and (inner.parent / "run.json").exists():
                inner.rename(inner.with_name("moved"))
                inner.symlink_to("moved")
            return
        path.unlink()
        if kind == "link":
            path.symlink_to(self.secret)
        elif kind == "zero":
            path.symlink_to("/dev/zero")
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        elif kind == "empty":
            path.touch()
        elif kind == "cut":
            path.write_bytes(data[: self.random.randrange(len(data) + 1)])
        elif kind == "big":
            path.write_bytes(data)
            os.truncate(path, 1 << 40)
        elif kind == "bytes":
            spoilt = bytearray(data or b"x")
            for _ in range(self.random.choice((1, 4, 64))):
                spoilt[self.random.randrange(len(spoilt))] = self.random.randrange(256)
            path.write_bytes(spoilt)
        elif kind == "nul":
            path.write_bytes(data.replace(b"a", b"\0", 3))
        elif kind == "closed":
            path.write_bytes(data)
            path.chmod(0)
        elif kind == "long":
            path.write_bytes(b"[" * self.random.choice((2_000, 3_000_000)))

    def json(self, path: Path) -> None:
        """A value, a key, a type, or the text itself."""
        text = path.read_text("utf-8", "surrogateescape")
        lines = text.splitlines() if path.suffix == ".jsonl" else [text]
        if not lines:
            return
        at = self.random.randrange(len(lines))
        try:
            value = json.loads(lines[at])
        except (ValueError, RecursionError):
            return
        lines[at] = written(self.changed(value, path.name))
        if self.random.random() < 0.1:
            lines[at] = self.twice(lines[at])
        path.write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))

    def changed(self, value: Any, name: str = "") -> Any:
        """The same with one place of it changed."""
        places = list(_places(value))
        way = self.random.choice(places)
        odd = self.random.choice(ODD)
        if not way:
            self.told.append(f"{name}: all = {str(odd)[:30]!r}")
            return odd
        top = value
        for step in way[:-1]:
            value = value[step]
        kind = self.random.choice(("odd", "odd", "odd", "gone", "other", "wrapped", "key", "more"))
        self.told.append(f"{name}: {'.'.join(map(str, way))[:60]} {kind} {str(odd)[:30]!r}")
        last = way[-1]
        if kind == "gone":
            del value[last]
        elif kind == "other":
            other = top
            for step in self.random.choice(places):
                other = other[step]
            value[last] = json.loads(json.dumps(other))
        elif kind == "wrapped":
            value[last] = self.random.choice(([value[last]], {"x": value[last]}, str(value[last])))
        elif kind == "key" and isinstance(value, dict):
            value[self.random.choice(("", "x", "\ud800", "\0", "[/]", "k" * 5000))] = value.pop(
                last
            )
        elif kind == "more" and isinstance(value, list):
            value.extend(value[:] * 20)
        else:
            value[last] = odd
        return top

    def twice(self, text: str) -> str:
        """A key that is there twice."""
        return text.replace("{", '{"v":1,"pid":-1,"race":[],"packet":7,', 1)

    def yaml(self, path: Path) -> None:
        """A value as in JSON, or a piece of the text."""
        text = path.read_text("utf-8", "replace")
        kind = self.random.random()
        if kind < 0.5 and "&a" not in text:  # a bomb is not read here
            with suppress(Exception):
                value = self.changed(yaml.safe_load(text), path.name)
                text = yaml.safe_dump(json.loads(written(value)), allow_unicode=True)
                path.write_bytes(text.encode("utf-8", "surrogatepass"))
                return
        if kind < 0.55:
            text = self.random.choice((BOMB, MERGES, "a: &a [*a]\n", "&a {? *a : *a}\n")) + text
        for _ in range(self.random.randint(1, 3)):
            at = self.random.randrange(len(text) + 1)
            piece = self.random.choice(PIECES)
            self.told.append(f"{path.name}@{at}: {piece[:20]!r}")
            text = text[:at] + piece + text[at + self.random.choice((0, 0, 1, 5, 80)) :]
        path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    if isinstance(value, (dict, list)) and len(way) < 8:
        for step in list(value)[:60] if isinstance(value, dict) else range(min(len(value), 60)):
            yield from _places(value[step], (*way, step))


def written(value: Any) -> str:
    """JSON, with what Python's writer cannot write put in as text."""
    text = json.dumps(value)
    text = text.replace(json.dumps(DEEP), "[" * 3000 + "]" * 3000)
    while (at := text.find('"\\u0000raw')) >= 0:
        end = text.index('"', at + 1)
        while text[end - 1] == "\\":
            end = text.index('"', end + 1)
        text = text[:at] + json.loads(text[at : end + 1])[len(RAW) :] + text[end + 1 :]
    return text


# -- what reads it -----------------------------------------------------------------------------

RUN_COMMANDS = (
    ("show", "{}"),
    ("show", "--full", "{}"),
    ("show", "--json", "{}"),
    ("report", "{}"),
    ("lab", "grade", "{}"),
    ("lab", "grade", "--json", "{}"),
    ("race", "show", "{}"),
    ("ps",),
    ("ps", "--json"),
    ("stop", "{}"),
    ("stop", "--all"),
    ("clean",),
    ("clean", "runs"),
    ("show", "--where", "port == 80 and state ~ 'L'", "{}"),
)
FILES = {
    "labs": (("lab", "validate", "{}"), ("lab", "show", "{}"), ("config", "validate", "{}")),
    "races": (("race", "validate", "{}"), ("race", "show", "{}"), ("config", "validate", "{}")),
    "reasons": (("config", "validate", "{}"),),
    "presets": (("config", "validate", "{}"),),
    "recipes": (("config", "validate", "{}"),),
    "": (("config", "validate", "{}"),),
}


class TooLong(BaseException):
    """A command that did not end."""


def _alarm(number: int, frame: Any) -> None:
    raise TooLong


def call(words: tuple[str, ...]) -> tuple[int, str]:
    """One command in this process: its status and all it wrote."""
    from kernlab.cli import main as door

    written = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    before = sys.argv, sys.stdout, sys.stderr
    sys.argv = ["kernlab", *words]
    sys.stdout = sys.stderr = written
    signal.alarm(LIMIT)
    try:
        status = door._status_of(lambda: door.app(standalone_mode=False))
    finally:
        signal.alarm(0)
        sys.argv, sys.stdout, sys.stderr = before
    return status, written.buffer.getvalue().decode("utf-8", "replace")


def promises(status: int, said: str, named: bool = False) -> str:
    """The promise that is broken; empty for none. ``named``: the user named the file, which may be
    a link then."""
    if "kernlab has a bug" in said or "Traceback" in said:
        return said[:600]
    if status not in (0, 1, 2, 3):
        return f"status {status}: {said[:300]}"
    if status and not said.strip():
        return f"status {status} and not a word"
    if SECRET in said and not named:
        return "a file that is only linked to was shown"
    harm = {
        one
        for one in said
        if (ord(one) < 32 and one not in "\n\t") or 0x7F <= ord(one) < 0xA0 or one == "\u202e"
    }
    return f"control characters: {sorted(harm)}" if harm else ""


def example(seed: int, place: Path, good: dict[str, Path]) -> Iterator[tuple[str, int, str, float]]:
    """One example: for each command its words, status, what broke, seconds."""
    damage = Damage(seed, place)
    pick = damage.random
    home = place / "home"
    shutil.rmtree(home, ignore_errors=True)
    (home / "runs").mkdir(parents=True)
    if pick.random() < 0.65:
        kind = pick.choice(sorted(good))
        target = home / "runs" / f"20261129-{kind}"
        shutil.copytree(good[kind], target)
        for _ in range(pick.randint(1, 3)):
            damage.run(target)
        commands = pick.sample(RUN_COMMANDS, 4)
        commands.sort(key=lambda words: words[0] in ("clean",))
        argument = target.name if pick.random() < 0.8 else str(target)
    else:
        kind = pick.choice([*FILES, "labs", "races"])
        path = pick.choice(sorted(shipped("configs", kind).glob("*.yaml")))
        target = home / "mine" / kind / path.name
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
        if pick.random() < 0.9:
            for _ in range(pick.randint(1, 3)):
                damage.yaml(target)
        else:
            damage.file(target)
        commands, argument = FILES[kind], str(target)
    for words in commands:
        chosen = tuple(argument if word == "{}" else word for word in words)
        began = time.monotonic()
        try:
            status, said = call(chosen)
            broken = promises(status, said, named=home / "mine" in target.parents)
        except TooLong:
            status, broken = -1, f"did not end in {LIMIT} s"
        for page in home.rglob("report.html"):
            with suppress(OSError):
                if page.is_file() and SECRET in page.read_text("utf-8", "replace"):
                    broken = "a file that is only linked to is in the page"
        told = f"seed {seed}: {' '.join(words)} after {damage.told}"
        yield told, status, broken, time.monotonic() - began


def main(
    place: Path, count: int, seed: int, progress: Callable[[int], None] = lambda n: None
) -> Any:
    """Try ``count`` examples; what came of them."""
    place.mkdir(parents=True, exist_ok=True)
    os.environ.update(KERNLAB_HOME=str(place / "home"), NO_COLOR="1", COLUMNS="120")
    os.environ.pop("XDG_DATA_HOME", None)
    os.chdir(place)
    signal.signal(signal.SIGALRM, _alarm)
    good = make(place / "good")
    ended: Counter[str] = Counter()
    broken: list[str] = []
    slowest = (0.0, "")
    for number in range(count):
        for told, status, problem, seconds in example(seed + number, place, good):
            ended[str(status)] += 1
            slowest = max(slowest, (round(seconds, 2), told))
            if problem:
                broken.append(f"{told}: {problem}")
        progress(number)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {
        "examples": count,
        "ended": dict(ended),
        "broken": broken,
        "MB": memory,
        "slowest": slowest,
    }


if __name__ == "__main__":
    words = sys.argv[1:]
    print(
        json.dumps(
            main(Path(words[0]).absolute(), int(words[1]), int(words[2]) if words[2:] else 0)
        )
    )
