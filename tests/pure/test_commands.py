"""Every command that kernlab tells its user to type is one that typer takes, and is printed as
that user has to type it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import commands
import pytest

from kernlab import errors
from kernlab.cli.again import next_line
from kernlab.cli.commands import COMMANDS
from kernlab.record.rundir import RunDir

ROOT = Path(__file__).resolve().parents[2]
# A next line that is no command of kernlab's begins with one of these: a program of the host,
PROGRAMS = (
    "sudo lsattr ls less rm file apt-file apt-cache ldd patch git make gpg cp cat capinfos tshark "
    "cd ulimit chmod man"
)
# or a verb, for what no command can do.
VERBS = (
    "set edit run write report install give add remove rename leave read trace put free close use "
    "guard declare look"
)
# What a command lacks where only its name is said.
_SHORT = ("Missing parameter", "Missing argument", "requires an argument")
_DOCS = [*ROOT.glob("docs/*.md"), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING"))]


def wrong(step: str) -> str:
    """What is wrong with a next line."""
    first = step.split(" ")[0]
    if first == "kernlab":
        return commands.refusal(step)
    if step.startswith(("--", "without --")):
        words = [word for word in shlex.split(step) if word.startswith("--")]
        unknown = [word for word in words if not commands.has_option(word)]
        return f"no command has {unknown[0]}" if unknown else ""
    if step in ("", "again") or first.startswith(commands.SAMPLE):
        return ""  # the same command again, or a text that another place gives
    if first not in f"{PROGRAMS} {VERBS}".split():
        return "neither a command nor an action"
    return "; ".join(filter(None, (commands.refusal(line) for line in commands.mentioned(step))))


def test_every_next_line_is_a_command_that_exists() -> None:
    found = [*commands.next_lines(), *commands.instead_lines()]
    assert len(found) > 150
    assert [f"{place}: {step!r}: {wrong(step)}" for place, step in found if wrong(step)] == []


@pytest.mark.parametrize(
    "step",
    [
        "kernlab build --verbose",
        "kernlab race run tcp_close --nothing",
        "kernlab lab rnu L03",
        "kernlab clean, or set KERNLAB_HOME",
        "--engin gdb",
        "without --nothing",
        "another directory",
        "edit the file, then kernlab race valid x",
    ],
)
def test_a_next_line_that_is_none_is_seen(step: str) -> None:
    assert wrong(step)


def test_every_command_that_a_text_names_exists() -> None:
    texts = [*commands.code_texts(), *commands.yaml_texts()]
    texts += [(path.name, line) for path in _DOCS for line in path.read_text().splitlines()]
    bad = []
    for place, text in texts:
        for line in commands.mentioned(text):
            said = commands.refusal(line)
            if said and not any(short in said for short in _SHORT):
                bad.append(f"{place}: {line!r}: {said}")
    assert bad == []


def test_every_command_is_printed_as_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNLAB_CALLED", "../lab")
    for name in COMMANDS:
        assert errors.as_called(f"try kernlab {name} now") == f"try ../lab {name} now"
    assert errors.as_called("kernlab reads ~/.local/share/kernlab run") == (
        "kernlab reads ~/.local/share/kernlab run"
    )


@pytest.mark.parametrize(
    ("step", "line", "told"),
    [
        ("--engine gdb", "trace f --engine=bpf -n 3", "kernlab trace f -n 3 --engine gdb"),
        ("--count 5", "rst --count 0 -- ls -l", "kernlab rst --count 5 -- ls -l"),
        ("--timeout 60", "run --timeout -1 ls -l", "kernlab run ls -l --timeout 60"),
        ("without --tui", "debug --tui f", "kernlab debug f"),
        ("without --workload --lab", "bpf run a --lab L03", "kernlab bpf run a"),
        ("--kernel 5.4 --kernel 6.1", "lab compare L1 --kernel 5.4", None),
        ("--share ./b", "run --share ./a -- b", "kernlab run --share ./a --share ./b -- b"),
        ("again", "fetch '5.10 x'", "kernlab fetch '5.10 x'"),
        ("kernlab ps", "stop", "kernlab ps"),
        ("edit x.yaml", "lab run x.yaml", "edit x.yaml"),
    ],
)
def test_a_next_line_is_the_whole_command(step: str, line: str, told: str | None) -> None:
    told = told or "kernlab lab compare L1 --kernel 5.4 --kernel 6.1"
    assert next_line(step, shlex.split(line)) == told


def test_a_log_is_that_of_the_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNLAB_HOME", str(tmp_path))
    step = "read console.log in the run directory"
    assert next_line(step, []) == step
    run = RunDir.create({"argv": ["kernlab", "run"]})
    assert next_line(step, []) == step  # it has not come so far
    (run.path / "console.log").write_text("x")
    assert next_line(step, []) == f"less {run.path}/console.log"


def test_a_checkout_says_its_own_script(tmp_path: Path) -> None:
    """./lab by any way to it: what it prints can be typed."""
    script = tmp_path / "kl"
    script.symlink_to(ROOT / "lab")
    for called in (str(script), "./lab"):
        said = subprocess.run(
            [called, "stop", "none"], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert said.stderr.splitlines()[-1] == f"next: {called} ps", said.stderr
        help = subprocess.run(
            [called, "trace", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert f"Usage: {called} trace" in help.stdout
        assert "kernlab trace" not in help.stdout


def test_an_installed_kernlab_says_kernlab() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "kernlab", "stop", "none"],
        env={name: value for name, value in os.environ.items() if name != "KERNLAB_CALLED"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stderr.splitlines()[-1] == "next: kernlab ps"
