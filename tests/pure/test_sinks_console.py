"""Foreign text on its way to a terminal or a page: nothing in it acts, and nothing is eaten."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import kernlab
from kernlab.config.paths import shipped
from kernlab.lessons.lab import Lab
from kernlab.sinks import lessons
from kernlab.sinks.console import Console, safe, safe_lines, words

PACKAGE = Path(kernlab.__file__).parent
# A title, a clipboard and a colour for a terminal; C1's way of the same; what turns words around.
ACTS = [
    "\x1b[31mred",
    "\x1b]52;c;aGk=\x07",
    "\x1b]0;title\x1b\\",
    "\x9b31m",
    "\x9d0;t\x9c",
    "\r",
    "\x08",
    "\x7f",
    "a\u202eb",
    "\u2066x",
    "\u061c",
    "\ufeff",
    "\ud800",
    "\U000e0041",
]
MARKUP = [
    "[bold]",
    "[/]",
    "sed s,[/],x,",
    "[red]x[/red]",
    "[link=http://x]",
    ":smile:",
    "\\[",
    "a\\",
    "[@click=app.x]",
    "[1, 2]",
]


def harm(text: str) -> set[str]:
    """What of a text a terminal would act on."""
    return {
        one
        for one in text
        if (ord(one) < 32 and one not in "\n\t")
        or 0x7F <= ord(one) < 0xA0
        or one in "\u061c\ufeff\ud800"
        or 0x200B <= ord(one) <= 0x200F
        or 0x2028 <= ord(one) <= 0x202E
        or 0x2060 <= ord(one) <= 0x206F
        or ord(one) >> 7 == 0xE0000 >> 7
    }


def drawn(*what: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200)
    for one in what:
        console.print(one)
    return out.getvalue()


@pytest.mark.parametrize("text", ACTS)
def test_nothing_that_is_drawn_acts_on_a_terminal(text: str) -> None:
    table = Table(text, title=text)
    table.add_row(text)
    for said in (
        drawn(text),
        drawn(Text(text, "bold")),
        drawn(table),
        drawn(words((text, "red"))),
        safe(text),
        safe_lines(text),
    ):
        assert not harm(said), ascii(said)


@given(st.text())
def test_nor_does_any_text(text: str) -> None:
    assert not harm(drawn(text) + safe(text))
    assert "\n" not in safe(text)


@pytest.mark.parametrize("text", MARKUP)
def test_no_markup_is_read_in_a_text_and_none_is_eaten(text: str) -> None:
    table = Table("x", box=None)
    table.add_row(text)
    assert drawn(text).strip() == text
    assert text in drawn(table)
    assert drawn(words((text, "bold"), text)).strip() == text + text


def test_our_own_styles_are_drawn() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=80)
    console.print(words(("red", "red"), " plain\x1b[32m"))
    assert "\x1b[31mred\x1b[0m" in out.getvalue()
    assert "\x1b[32m" not in out.getvalue()


def test_no_other_console_is_made_and_no_markup_read() -> None:
    """Every room writes through this one."""
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "sinks" / "console.py":
            continue
        source = path.read_text("utf-8")
        assert "rich.markup" not in source, path
        assert "from_markup" not in source, path
        assert "markup=True" not in source, path
        tree = ast.parse(source)
        of_rich = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "rich.console"
            for alias in node.names
        }
        made = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not {"Console"} & of_rich & made, path


@pytest.mark.parametrize("text", [*ACTS[:-2], *MARKUP])
def test_a_lesson_is_shown_as_it_is_written(text: str) -> None:
    """Every text of a lab's file, in the lesson and in the list."""
    data = yaml.safe_load(shipped("configs", "labs", "L03.yaml").read_text("utf-8"))

    def spoilt(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: spoilt(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [spoilt(one, key) for one in value]
        return (
            text
            if isinstance(value, str)
            and key
            in (
                "en",
                "zh",
                "title",
                "idea",
                "watch",
                "source",
                "rfc",
                "ask",
                "says",
            )
            else value
        )

    evil = Lab.model_validate(spoilt(data))
    out = io.StringIO()
    console = Console(file=out, width=100)
    lessons.lesson(console, text, evil, "en")
    lessons.catalogue(console, {text: evil}, "en")
    assert not harm(out.getvalue())
    if text in MARKUP:
        assert out.getvalue().count(text) > 5


@pytest.mark.parametrize(
    "command",
    [
        ["show", "{}"],
        ["report", "{}"],
        ["stop", "{}"],
        ["lab", "show", "{}"],
        ["race", "show", "{}"],
        ["lab", "validate", "{}"],
        ["race", "validate", "{}"],
        ["config", "validate", "{}"],
        ["config", "schema", "{}"],
        ["clean", "{}"],
        ["show", "--{}"],
        ["{}"],
        ["-v", "rst", "explain", "{}"],
        ["bpf", "run", "{}"],
        ["lab", "grade", "{}"],
        ["show", "--where", "{}"],
        ["fetch", "{}"],
    ],
)
def test_no_error_message_acts_on_a_terminal(command: list[str], tmp_path: Path) -> None:
    text = "x\x1b[31m[/]y\u202e\x9b[bold]"
    argv = [sys.executable, "-m", "kernlab", *(word.format(text) for word in command)]
    said = subprocess.run(
        argv,
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
        env={**os.environ, "KERNLAB_HOME": str(tmp_path / "home")},
    )
    assert said.returncode in (2, 3), said
    told = (said.stdout + said.stderr).decode()
    assert not harm(told), ascii(told)
    assert "Traceback" not in told
    assert "bug" not in told
