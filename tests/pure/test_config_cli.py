"""``kernlab config``: schemas beside the tables, and the check of files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kernlab.cli.schemas import models, schemas

ROOT = Path(__file__).resolve().parents[2]
TABLES = sorted((ROOT / "configs").glob("*.yaml"))
# Directories of files of one kind.
KINDS = ("presets", "labs", "races", "reasons", "recipes")
FILES = sorted(path for kind in KINDS for path in (ROOT / "configs" / kind).glob("*.yaml"))


def kernlab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kernlab", "config", *words],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_table_has_a_model_and_every_model_a_table() -> None:
    assert {path.stem for path in TABLES} | set(KINDS) == set(models())


def test_the_page_tells_of_every_file_and_of_no_other() -> None:
    text = (ROOT / "docs/config.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    paths = [path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.*")]
    paths = [path for path in paths if path.parts[0] != "schemas"]  # made for editors
    there = {f"{path.parent}/*{path.suffix}" if path.parent.name else path.name for path in paths}
    assert told == there


@pytest.mark.parametrize("path", [*TABLES, *FILES], ids=lambda path: path.stem)
def test_the_first_line_of_a_table_names_its_schema(path: Path) -> None:
    """A path from the file to configs/schemas, which `config schema --all` fills."""
    schema = f"../schemas/{path.parent.name}" if path in FILES else f"schemas/{path.stem}"
    first = path.read_text("utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={schema}.json"


def test_all_schemas_are_written(tmp_path: Path) -> None:
    said = kernlab("schema", "--all", str(tmp_path / "new"))
    assert said.returncode == 0, said.stderr
    assert {path.stem for path in (tmp_path / "new").iterdir()} == set(schemas())
    refused = kernlab("schema", "--all", "/proc/no/such")
    assert (refused.returncode, "cannot be written" in refused.stderr) == (2, True)


def test_the_shipped_tables_are_good() -> None:
    said = kernlab("validate", *map(str, [*TABLES, *FILES]))
    assert said.returncode == 0, said.stderr
    assert said.stdout.count(": good") == len([*TABLES, *FILES])


def test_every_error_of_every_file_is_told(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "known.yaml").read_text("utf-8")
    (tmp_path / "known.yaml").write_text(text.replace("effect: limits", "efect: limits", 1))
    (tmp_path / "frames.yaml").write_text("keep: [\n")
    (tmp_path / "kernel.yaml").write_text("")
    said = kernlab("validate", *map(str, sorted(tmp_path.iterdir())))
    assert said.returncode == 2
    assert said.stdout == ""
    assert "unknown key 'efect', did you mean 'effect'?" in said.stderr
    assert "frames.yaml:2: not valid YAML" in said.stderr
    assert "did you mean kernels.yaml?" in said.stderr
    assert "Traceback" not in said.stderr


def test_which_schema() -> None:
    said = kernlab("schema")
    assert (said.returncode, "there are: event, kernels" in said.stderr) == (2, True)
