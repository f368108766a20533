"""The newc writer, read back by a reader written from the format's description."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.errors import BadInput
from kernlab.image import added, cpio


def unpack(archive: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    found, at = [], 0
    while True:
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = numbers[1], numbers[6], numbers[11]
        name = archive[at + 110 : at + 110 + length - 1].decode("utf-8", "surrogateescape")
        start = at + 110 + length + -(110 + length) % 4
        if name == "TRAILER!!!":
            return found
        assert numbers[2:4] == [0, 0]
        assert numbers[5] == 0
        found.append((name, mode, archive[start : start + size], (numbers[9], numbers[10])))
        at = start + size + -size % 4


_NAME = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=20
).filter(lambda n: n not in (".", ".."))


@given(
    st.dictionaries(_NAME, st.tuples(st.binary(max_size=50), st.integers(0, 0o7777)), max_size=8)
)
def test_what_is_written_is_read_back(files: dict[str, tuple[bytes, int]]) -> None:
    entries = cpio.with_parents([cpio.regular(n, d, m) for n, (d, m) in files.items()])
    back = unpack(b"".join(cpio.write(entries)))
    assert back == [(n, stat.S_IFREG | files[n][1], files[n][0], (0, 0)) for n in sorted(files)]


def test_parents_come_first_and_devices_have_numbers() -> None:
    entries = cpio.with_parents(
        [cpio.character_device("dev/console", 5, 1), cpio.symlink("a/b/c", "/x")]
    )
    back = unpack(b"".join(cpio.write(entries)))
    assert [name for name, *_ in back] == ["a", "a/b", "a/b/c", "dev", "dev/console"]
    assert back[-1][3] == (5, 1)
    assert back[2][2] == b"/x"


def test_two_different_files_at_one_place_are_refused() -> None:
    with pytest.raises(BadInput, match="two different files are to become /a"):
        cpio.with_parents([cpio.regular("a", b"1"), cpio.regular("a", b"2")])


def test_add_puts_programs_into_the_path_and_the_rest_into_root(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    note = tmp_path / "note"
    note.write_text("x")
    assert added.entries(str(script))[0][0].path == "usr/local/bin/tool"
    assert added.entries(str(note))[0][0].path == "root/note"
    assert added.entries(f"{note}:/etc/other")[0][0].path == "etc/other"


def test_add_keeps_a_directorys_modes_and_symlinks(tmp_path: Path) -> None:
    top = tmp_path / "d"
    top.mkdir()
    (top / "f").write_text("x")
    (top / "f").chmod(0o640)
    (top / "l").symlink_to("f")
    found = {e.path: e for e in added.entries(f"{top}:/opt/d")[0]}
    assert stat.S_IMODE(found["opt/d/f"].mode) == 0o640
    assert found["opt/d/l"].data == b"f"


@pytest.mark.parametrize(
    "argument", ["/no/such/file", "/etc/passwd:relative", "/etc/passwd:/a/../b", "/etc/passwd:/"]
)
def test_a_bad_add_names_the_option(argument: str) -> None:
    with pytest.raises(BadInput) as caught:
        added.entries(argument)
    assert caught.value.what.startswith(f"--add {argument}")
