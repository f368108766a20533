"""docs/expressions.md: it is what the command makes, and nothing of the language is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernlab.config.paths import config_file
from kernlab.config.yaml import load
from kernlab.decode import expr
from kernlab.decode.fields import OPEN_PREFIXES, SHORT, TYPES, paths
from kernlab.record.fields import FieldTable, page

ROOT = Path(__file__).resolve().parents[2]
TABLE = load(config_file("fields.yaml"), FieldTable)


def test_the_page_is_up_to_date() -> None:
    """Otherwise: kernlab config expressions > docs/expressions.md"""
    assert (ROOT / "docs/expressions.md").read_text("utf-8") == page()


def test_every_field_has_a_meaning() -> None:
    groups = {*OPEN_PREFIXES, "before.", "packet.quoted.", "quoted."}
    quoted = ("packet.quoted.", "quoted.")  # as those of a packet
    assert set(TABLE.fields) == {name for name in TYPES if not name.startswith(quoted)}
    assert set(TABLE.short) == {name for name in SHORT if not name.startswith(quoted)}
    assert set(TABLE.open) == groups


@pytest.mark.parametrize("name", [*TABLE.fields, *TABLE.short, *TABLE.open])
def test_an_example_uses_its_field(name: str) -> None:
    _, example = {**TABLE.fields, **TABLE.short, **TABLE.open}[name]
    used = expr.parse(example).fields()
    wanted = {path for group in paths(name) for path in group}
    begins = f"packet.{name}" if name == "quoted." else name
    assert wanted <= used or any(path.startswith(begins) for path in used)
