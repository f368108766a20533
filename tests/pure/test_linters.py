"""ruff, mypy, shellcheck, codespell and clang-format are tests like others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
C_FILES = [p for p in sorted((ROOT / "rootfs").rglob("*")) if p.suffix in (".c", ".h")]
LINTERS = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "codespell": ["codespell_lib"],
}
SHELL = {
    "lab": "sh",
    ".ci/run": "bash",
    "rootfs/busybox/rcS": "sh",
    "rootfs/busybox/time": "sh",
    "rootfs/debian/init": "sh",
}


@pytest.mark.parametrize("argv", LINTERS.values(), ids=LINTERS)
def test_linter_finds_nothing(argv: list[str]) -> None:
    said = subprocess.run([sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_no_line_is_kept_from_the_formatter() -> None:
    kept = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("kernlab", "gdb_scripts", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"#\s*fmt:\s*(skip|off)", line)
    ]
    assert kept == []


@pytest.mark.parametrize(("script", "shell"), SHELL.items(), ids=SHELL)
def test_shellcheck_finds_nothing(script: str, shell: str) -> None:
    said = subprocess.run(
        ["shellcheck", "-s", shell, str(ROOT / script)], capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout


def test_every_shell_script_is_checked() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        data = (ROOT / name).read_bytes()[:40] if (ROOT / name).is_file() else b""
        first = data.split(b"\n")[0]
        assert not re.match(rb"#!.*\b(ba)?sh\b", first) or name in SHELL, name


def test_c_is_formatted() -> None:
    said = subprocess.run(
        [
            Path(sys.executable).with_name("clang-format"),
            "--dry-run",
            "--Werror",
            *map(str, C_FILES),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
