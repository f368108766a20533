"""ruff and mypy are tests like others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("argv", [["ruff", "check", "."], ["mypy"]], ids=["ruff", "mypy"])
def test_linter_finds_nothing(argv: list[str]) -> None:
    said = subprocess.run([sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("script", ["lab", ".ci/run"])
def test_scripts_parse(script: str) -> None:
    shell = "sh" if script == "lab" else "bash"
    said = subprocess.run([shell, "-n", str(ROOT / script)], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
