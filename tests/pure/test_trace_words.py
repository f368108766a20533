"""Words of a program: from the guest's frames to the record, and what brings a program in."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kernlab.record import output
from kernlab.sinks.words import WordsView
from kernlab.trace import never


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["stdout", "stderr"]), st.binary())))
def test_every_byte_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("words") / "output.jsonl"
    writer = output.OutputWriter(path)
    pieces = [output.Piece(after, stream, 7, data) for after, stream, data in rows]
    for piece in pieces:
        writer.write(piece)
    assert list(output.read(path)) == pieces


def test_lines_that_are_none_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "output.jsonl"
    path.write_bytes(
        b'{"after":1}\nnonsense\n[]\n'
        b'{"after":0,"stream":"x","guest_ns":1,"text":"a"}\n'
        b'{"after":2,"stream":"stderr","guest_ns":1,"text":"\\udcff"}\n{"af'
    )
    assert list(output.read(path)) == [output.Piece(2, "stderr", 1, b"\xff")]
    assert list(output.read(tmp_path / "none")) == []


def test_lines_are_marked_and_harmless() -> None:
    out, err = Console(width=40, file=(o := _Text())), Console(width=40, file=(e := _Text()))
    view = WordsView(out, err)
    for data in ("fü".encode()[:2], "ü".encode()[1:] + b"nf\nRST 1\x1b[2J\r\nhalf"):
        view.piece("stdout", data)
    view.piece("stderr", b"oops\n")
    assert o.text == "│ fünf\n│ RST 1?[2J\n"
    view.flush()
    assert o.text.endswith("│ half\n")
    assert e.text == "│ oops\n"


class _Text:
    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


@pytest.mark.parametrize(
    ("name", "number", "image", "words"),
    [
        ("python3", errno.ENOENT, "busybox", "--image debian"),
        ("mine", errno.ENOENT, "debian", "--add ./mine"),
        ("/mnt/share/mine", errno.ENOENT, "busybox", "--share ./mine"),
        ("/mnt/share/there", errno.ENOENT, "busybox", "--add ./there"),
        ("/mnt/share/there", errno.EACCES, "busybox", "chmod +x there"),
        ("/mnt/share/there", errno.ENOEXEC, "debian", "file there"),
    ],
)
def test_each_reason_has_its_remedy(
    tmp_path: Path, name: str, number: int, image: str, words: str
) -> None:
    (tmp_path / "there").write_text("")
    error = never.never_ran(name, number, image, tmp_path)
    assert name in error.what
    assert words in error.next_step


@pytest.mark.parametrize(
    "said",
    [
        "sh: 1: python3: not found\n",
        "bash: line 1: python3: command not found",
        "python3: not found",
        "env: 'python3': No such file or directory",
        "timeout: failed to run command 'python3': No such file or directory",
    ],
)
def test_a_shells_words_name_the_program(said: str, tmp_path: Path) -> None:
    error = never.by_shell(said, "busybox", tmp_path)
    assert error is not None
    assert error.what == "the program never ran: python3: not found"
    assert never.by_shell("it failed", "busybox", tmp_path) is None
