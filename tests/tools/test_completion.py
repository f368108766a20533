"""Completion as real shells do it, and the man page as groff reads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from kernlab.cli.commands import COMMANDS

ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def say(*argv: str) -> str:
    said = subprocess.run(
        argv, capture_output=True, text=True, env=ENV, timeout=60, stdin=subprocess.DEVNULL
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["kernlab", "doc"], ["doctor"]),
        (["kernlab", ""], list(COMMANDS)),
        (["kernlab", "doctor", "--kno"], ["--known"]),
        (["kernlab", "config", "s"], ["schema"]),
        (["kernlab", "clean", "ru"], ["runs"]),
    ],
)
def test_bash(words: list[str], offered: list[str]) -> None:
    script = (
        'eval "$(kernlab --show-completion)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        ' _kernlab_completion kernlab; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = say("bash", "--norc", "-c", script, "bash", *words)
    assert found.split() == offered


def test_fish() -> None:
    script = 'kernlab --show-completion | source; complete -C "kernlab doctor --kno"'
    assert say("fish", "--no-config", "-c", script).startswith("--known\t")


def test_zsh() -> None:
    env = {**ENV, "TERM": "dumb", "PS1": "READY> "}
    shell = pexpect.spawn("zsh", ["-f", "-i"], env=env, timeout=60, dimensions=(50, 120))
    try:
        shell.expect("READY> ")
        shell.sendline(
            "autoload -U compinit; compinit -u -D;"
            ' eval "$(kernlab --show-completion)"; print DO""NE'
        )
        shell.expect("DONE")
        shell.expect("READY> ")
        shell.send("kernlab doct\t")
        shell.expect("doctor")
        shell.send("--kno\t")
        shell.expect("--known")
    finally:
        shell.close(force=True)


def test_install_writes_to_the_shells_own_files(tmp_path: Path) -> None:
    subprocess.run(
        ["bash", "--norc", "-c", "kernlab --install-completion; true"],
        env={**ENV, "HOME": str(tmp_path)},
        check=True,
        timeout=60,
    )
    assert "kernlab" in (tmp_path / ".bashrc").read_text()
    assert (tmp_path / ".bash_completions" / "kernlab.sh").is_file()


def test_groff_has_no_complaint_about_the_man_page() -> None:
    page = say("kernlab", "config", "man")
    read = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-c"],
        input=page,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert (read.returncode, read.stderr) == (0, "")
    assert page.isascii()  # groff reads it as Latin 1 unless told otherwise
    seen = re.sub(r".\x08", "", read.stdout)  # bold is a letter struck twice
    for name in COMMANDS:
        assert f"kernlab {name}" in seen
    assert "--gdb-port N" in seen
    assert "Default: 60.0." in seen
