"""What others made is opened as a regular file, without a link, to a limit, or not at all."""

from __future__ import annotations

import errno
import io
import os
import socket
from pathlib import Path

import pytest

from kernlab.config import files
from kernlab.config.files import (
    NotAFile,
    copy_limited,
    is_regular,
    open_regular,
    parse_json,
    read_json,
    read_regular,
)
from kernlab.errors import BadInput


@pytest.fixture(params=["openat2", "name by name"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of a stranger's, looked into both ways."""
    if request.param == "name by name":
        monkeypatch.setattr(files, "_openat2", lambda top, path: None)
    secret = tmp_path / "secret"
    secret.write_text("root:x")
    top = tmp_path / "share"
    (top / "inner").mkdir(parents=True)
    (top / "inner" / "good").write_text("good")
    (top / "link").symlink_to(secret)
    (top / "short").symlink_to("inner/good")
    (top / "up").symlink_to("..")
    (top / "down").symlink_to("inner")
    (top / "zero").symlink_to("/dev/zero")
    (top / "loop").symlink_to("loop")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(top)
        bound.bind("socket")
        os.chdir(here)
    return top


def test_a_regular_file_is_read_through_directories(tree: Path) -> None:
    assert read_regular(tree / "inner" / "good", 100, tree) == b"good"
    assert is_regular(tree / "inner" / "good", tree)


@pytest.mark.parametrize(
    "name",
    [
        "link",
        "short",
        "zero",
        "loop",
        "pipe",
        "socket",
        "inner",
        "up/secret",
        "down/good",
        "../secret",
        "inner/../link",
    ],
)
def test_nothing_else_is(tree: Path, name: str) -> None:
    with pytest.raises(NotAFile):
        open_regular(tree / name, tree)
    assert not is_regular(tree / name, tree)


def test_a_way_out_by_an_absolute_name_is_none(tree: Path) -> None:
    with pytest.raises(ValueError, match="not in the subpath"):
        open_regular(tree.parent / "secret", tree)


def test_a_file_that_the_user_named_may_be_a_link_but_no_device(tree: Path) -> None:
    assert read_regular(tree / "short", 100) == b"good"
    for name in ("zero", "pipe", "inner"):
        with pytest.raises(NotAFile):
            open_regular(tree / name)


def test_no_more_is_read_than_was_allowed(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 40)  # takes no room on disk, and a terabyte in memory
    with pytest.raises(OSError, match="more than 1000 bytes") as caught:
        read_regular(big, 1000, tmp_path)
    assert caught.value.errno == errno.EFBIG
    out = io.BytesIO()
    with open_regular(big) as file:
        assert copy_limited(file, out, 5000) is False
    assert len(out.getvalue()) == 5000
    assert copy_limited(io.BytesIO(b"12345"), io.BytesIO(), 5) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "too deep"),
        ('{"a":' * 100_000, "too deep"),
        ("NaN", "not a number"),
        ("-Infinity", "not a number"),
        ("1e999", "too large"),
        ("9" * 5000, "4300|digits"),
        ("{", "Expecting"),
        (b"\xff\xfe[", "decode|Expecting"),
    ],
)
def test_json_that_is_none_is_refused_as_json(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(text)
    path = tmp_path / "x.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BadInput, match="damaged"):
        read_json(path, tmp_path)


def test_json_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "x.json", tmp_path) is None
