"""Whatever a user types or writes: an answer, never a traceback, and no artifact harmed.

KERNLAB_FUZZ sets how many examples each test tries; some hundreds without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernlab.cli import main as door
from kernlab.cli.schemas import models
from kernlab.config.paths import shipped
from kernlab.config.yaml import parse
from kernlab.decode import expr
from kernlab.errors import BadInput

E = TypeVar("E", bound=Exception)
EXAMPLES = int(os.environ.get("KERNLAB_FUZZ", "300"))
LOOSE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TABLES = [
    *(path for path in sorted(shipped("configs").glob("*.yaml"))),
    *(path for path in sorted(shipped("configs", "presets").glob("*.yaml"))),
]
# What stands in the way of a table: YAML's own signs, and values of other types.
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
    "!!python/object:x",
    "\t",
    "\n",
    "null",
    "~",
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
]


def error_of(kind: type[E], call: Callable[[], object]) -> E | None:
    """The error of this kind that ``call`` raises; any other one is a failure of the test."""
    try:
        call()
    except kind as error:
        return error
    return None


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
@LOOSE
@given(data=st.data())
def test_a_damaged_table_is_refused_with_its_line_or_still_good(
    path: Path, data: st.DataObject
) -> None:
    text = path.read_text("utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.sampled_from([0, 0, 1, 5, 80]))
        piece = data.draw(st.sampled_from(PIECES) | st.text(max_size=6))
        text = text[:at] + piece + text[at + length :]
    model = models()["presets" if path.parent.name == "presets" else path.stem]
    refused = error_of(BadInput, lambda: parse(text, model, "table.yaml"))
    assert refused is None or ("table.yaml" in refused.what and refused.next_step)


@LOOSE
@given(text=st.text(max_size=60) | st.text("pacsnd()=<>!'\"&|0x17.~ ort", max_size=60))
def test_any_expression_is_taken_or_refused_with_its_column(text: str) -> None:
    refused = error_of(expr.ExprError, lambda: expr.parse(text))
    assert refused is None or 1 <= refused.column <= len(text) + 1


WORDS = st.one_of(
    st.sampled_from(
        [
            "--json",
            "--count",
            "--where",
            "--timeout",
            "--stack",
            "--kernel",
            "--image",
            "--add",
            "--workload",
            "--engine",
            "--preset",
            "--show",
            "--return",
            "--group-by",
            "--max-probes",
            "--out",
            "--full",
            "--cpus",
            "--memory",
            "--set",
            "--config",
            "--patch",
            "--jobs",
            "--ex",
            "--tui",
            "--gdb-port",
            "--wait",
            "--all",
            "--rounds",
            "--help",
            "--version",
            "--",
            "-",
            "tcp_v4_rcv",
            "tcp_*",
            "tcp_ipv4.c:1961",
            "latest",
            "5.10",
            "5.10.223",
            "6.12",
            "0",
            "-1",
            "99999999999999999999",
            "1e400",
            "nan",
            "CONFIG_X=y",
            "port == 80",
            "state = 'x",
            "http",
            "/",
            "/dev/null",
            "busybox",
            "event",
            "schema",
            "validate",
            "man",
            "runs",
            "kernels",
        ]
    ),
    st.text(max_size=12),
)
# Left out: what installs packages, and the commands that fill a shell's own files.
COMMANDS = [name for name in door.COMMANDS if name != "doctor"]


@pytest.fixture(scope="module")
def bare_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with an artifact in it, and a host on which no program is found: a command that
    is right says what it lacks. No source is asked over a network."""
    place = tmp_path_factory.mktemp("fuzz")
    home, empty = place / "home", place / "no-programs"
    empty.mkdir()
    (home / "configs").mkdir(parents=True)
    table = shipped("configs", "kernels.yaml").read_text("utf-8")
    table = table.replace("order: [local, git, kernel_org, apt]", "order: [local]")
    assert "order: [local]\n" in table
    (home / "configs" / "kernels.yaml").write_text(table)
    kernel = home / "kernels" / "5.10.1-0123456789ab"
    kernel.mkdir(parents=True)
    (kernel / "vmlinux").write_bytes(b"precious")
    before = {key: os.environ.get(key) for key in ("KERNLAB_HOME", "PATH", "NO_COLOR")}
    os.environ.update(KERNLAB_HOME=str(home), PATH=str(empty), NO_COLOR="1")
    here = Path.cwd()
    os.chdir(empty)
    yield home
    os.chdir(here)
    for key, value in before.items():
        if value is None:
            del os.environ[key]
        else:
            os.environ[key] = value


@settings(parent=LOOSE, max_examples=EXAMPLES)
@given(command=st.sampled_from(COMMANDS), words=st.lists(WORDS, max_size=6))
def test_any_command_line_ends_with_a_status_and_without_a_traceback(
    bare_home: Path, capfd: pytest.CaptureFixture[str], command: str, words: list[str]
) -> None:
    if command == "clean" and not set(words) & {"--help"}:
        words = ["--help"]  # it is there to remove things
    argv = sys.argv
    sys.argv = ["kernlab", command, *(word for word in words if "\0" not in word)]
    try:
        with pytest.raises(SystemExit) as caught:
            door.main()
    finally:
        sys.argv = argv
    said = capfd.readouterr()
    status = caught.value.code
    assert status in (0, 2, 3, 4, 125), (sys.argv, said.err)
    assert "Traceback" not in said.err
    assert "kernlab has a bug" not in said.err, (command, words, said.err)
    if status:
        assert (said.err + said.out).strip(), (command, words)
    kept = bare_home / "kernels" / "5.10.1-0123456789ab" / "vmlinux"
    assert kept.read_bytes() == b"precious"
    assert not list(bare_home.glob("*/.*")), "something half-written was left"


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "kernels.yaml"
    table.write_bytes(b"\xff\xfe\x00default: 5")
    argv = [sys.executable, "-m", "kernlab", "config", "validate", str(table)]
    said = subprocess.run(argv, capture_output=True, text=True)
    assert said.returncode == 2
    assert "cannot read" in said.stderr
