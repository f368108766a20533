"""What keeps an artifact from being believed when it is damaged, and removed while it is made."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kernlab.config import sums
from kernlab.config.paths import (
    arriving,
    arriving_file,
    discard,
    home,
    is_held,
    unsealed_file,
)
from kernlab.errors import HostLacks
from kernlab.progress import Report, Said

Damage = Callable[[Path], object]
BIG = 3 << 16  # more than what is always read


def made(place: Path) -> Path:
    final = place / "artifact"
    with arriving(final) as temporary:
        (temporary / "small").write_bytes(b"s" * 100)
        (temporary / "big").write_bytes(b"b" * BIG)
        (temporary / "in").mkdir()
        (temporary / "in" / "deep").write_bytes(b"d")
        (temporary / "link").symlink_to("small")
    return final


def in_place(path: Path, data: bytes) -> None:
    """Other content under the same size, time and inode."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGES: list[tuple[str, Damage, str]] = [
    ("cut", lambda p: os.truncate(p / "big", 10), "big has 10 bytes"),
    ("empty", lambda p: os.truncate(p / "big", 0), "big has 0 bytes"),
    ("garbage", lambda p: (p / "big").write_bytes(b"x" * BIG), "big has other content"),
    ("longer", lambda p: (p / "small").write_bytes(b"s" * 101), "small has 101 bytes"),
    ("gone", lambda p: (p / "in" / "deep").unlink(), "in/deep is gone"),
    ("all gone", lambda p: shutil.rmtree(p / "in"), "in/deep is gone"),
    ("a directory", lambda p: ((p / "big").unlink(), (p / "big").mkdir()), "big is not a file"),
    ("a link", lambda p: ((p / "big").unlink(), (p / "big").symlink_to("small")), "another kind"),
    ("another link", lambda p: ((p / "link").unlink(), (p / "link").symlink_to("big")), "link has"),
    ("small, in place", lambda p: in_place(p / "small", b"x"), "small has other content"),
]


@pytest.mark.parametrize(("how", "damage", "said"), DAMAGES, ids=[row[0] for row in DAMAGES])
def test_damage_is_found_and_gives_way(tmp_path: Path, how: str, damage: Damage, said: str) -> None:
    final = made(tmp_path)
    assert sums.problem(final) == ""
    damage(final)
    assert said in sums.problem(final)
    seen: list[Report] = []
    assert not sums.whole(final, "it", seen.append)
    assert isinstance(seen[0], Said)
    assert seen[0].text.startswith("it is damaged (")
    assert sums.problem(made(tmp_path)) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.parametrize("data", [b"", b"x", b"{}", b'{"version": 1}\n', sums.sealed(b"[1]")[:-3]])
def test_a_damaged_record_tells_nothing(tmp_path: Path, data: bytes) -> None:
    final = made(tmp_path)
    (final / sums.RECORD).write_bytes(data)
    assert sums.problem(final) == sums.UNKNOWN
    assert sums.problem(made(tmp_path)) == ""


def test_a_change_that_keeps_size_and_time_is_found_by_reading_all(tmp_path: Path) -> None:
    final = made(tmp_path)
    in_place(final / "big", b"x")
    assert sums.problem(final) == ""
    assert sums.problem(final, thorough=True) == "big has other content than when it was made"


def test_a_copy_and_a_touched_file_are_read_once(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made(tmp_path), copy, symlinks=True)
    before = (copy / sums.RECORD).read_bytes()
    assert sums.problem(copy) == ""
    renewed = (copy / sums.RECORD).read_bytes()
    assert renewed != before
    assert sums.problem(copy) == ""
    assert (copy / sums.RECORD).read_bytes() == renewed


def test_a_whole_copy_of_another_process_is_kept(tmp_path: Path) -> None:
    final = tmp_path / "artifact"
    with arriving(final) as late:
        (late / "who").write_text("late")
        with arriving(final) as early:
            (early / "who").write_text("early")
    assert (final / "who").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_what_a_killed_maker_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    for name in (".artifact.dead", ".artifact.young", ".other.dead"):
        (tmp_path / name).mkdir()
    for name in (".artifact.dead", ".other.dead"):
        os.utime(tmp_path / name, (1, 1))
    with arriving(tmp_path / "artifact") as living:
        assert is_held(living)
        os.utime(living, (1, 1))
        made(tmp_path)
        assert living.is_dir()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".artifact.young", ".other.dead", "artifact"]


def test_a_cache_carries_its_sum(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with arriving_file(path, seal=True) as temporary:
        temporary.write_bytes(b"content\n")
    whole = path.read_bytes()
    assert unsealed_file(path) == b"content\n"
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], b"C" + whole[1:], whole + b"\n"):
        path.write_bytes(damaged)
        assert unsealed_file(path) is None
    path.unlink()
    assert unsealed_file(path) is None
    path.mkdir()
    assert unsealed_file(path) is None
    with arriving_file(path, seal=True) as temporary:
        temporary.write_bytes(b"again")
    assert unsealed_file(path) == b"again"


def test_all_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def note_fsync(handle: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def note(act: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def noting(path: Path, to: Path) -> Path:
            order.append(f"to {to.name}")
            return act(path, to)

        return noting

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note(rename))
    monkeypatch.setattr(Path, "replace", note(replace))
    final = made(tmp_path)
    at = order.index(f"to {final.name}")
    assert {"small", "big", "deep"} <= set(order[:at])
    assert tmp_path.name in order[at:]
    order.clear()
    with arriving_file(tmp_path / "one") as temporary:
        temporary.write_bytes(b"x")
    assert order == [temporary.name, "to one"]


def test_a_directory_without_a_right_to_write_is_removed() -> None:
    top = Path(tempfile.mkdtemp())
    (top / "share" / "a" / "b").mkdir(parents=True)
    (top / "share" / "a" / "b" / "c").write_text("x")
    (top / "share" / "a" / "b").chmod(0o555)
    (top / "share" / "a").chmod(0o500)
    child = os.fork()
    if child == 0:  # as somebody whom rights stop
        if os.geteuid() == 0:
            for place, _, names in os.walk(top):
                for path in (place, *(os.path.join(place, name) for name in names)):
                    os.chown(path, 65534, 65534)
            os.setuid(65534)
        os._exit(discard(top / "share") != [] or (top / "share").exists())
    assert os.waitpid(child, 0)[1] == 0
    top.rmdir()


def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "top" / "in").mkdir(parents=True)
    (tmp_path / "top" / "in" / "held").write_text("x")
    unlink = os.unlink

    def refusing(path: str, **kw: int) -> None:
        if str(path).endswith("held"):
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **kw)

    monkeypatch.setattr(os, "unlink", refusing)
    assert discard(tmp_path / "top") == [f"{tmp_path}/top/in/held: Operation not permitted"]


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o555)
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "link").symlink_to(tmp_path / "kept")
    assert discard(tmp_path / "link") == discard(tmp_path / "top") == []
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o555


@pytest.mark.parametrize(
    ("name", "words"), [(b"a\nb", "has the character '\\n'"), (b"a\xff", "is not UTF-8")]
)
def test_a_home_that_others_would_misread_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: bytes, words: str
) -> None:
    monkeypatch.setenv("KERNLAB_HOME", os.fsdecode(b"/tmp/" + name))
    with pytest.raises(HostLacks) as caught:
        home()
    assert words in caught.value.what
    str(caught.value).encode("utf-8")  # can be shown
    monkeypatch.setenv("KERNLAB_HOME", "/tmp/mit Leerzeichen/ü")
    assert home() == Path("/tmp/mit Leerzeichen/ü")
