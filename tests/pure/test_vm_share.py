"""The share: whatever a guest makes of it, the host reads and writes inside it alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import cast

import pytest

from kernlab.config import programs
from kernlab.leg import run as leg
from kernlab.record.leg import LegDir
from kernlab.trace import capture
from kernlab.vm import share as shares
from kernlab.vm.machine import Machine
from kernlab.vm.share import fresh, model, put, put_tree, take, text


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("root:x")
    (tmp_path / "share").mkdir()
    return tmp_path / "share"


def test_a_file_of_ours_replaces_a_link_of_the_guests(share: Path) -> None:
    program = share.parent / "links"
    program.write_text("program")
    program.chmod(0o4755)
    (share / "links").symlink_to(share.parent / "secret")
    put(program, share)
    assert (share.parent / "secret").read_text() == "root:x"
    assert not (share / "links").is_symlink()
    assert (share / "links").read_text() == "program"
    assert stat.S_IMODE((share / "links").stat().st_mode) == 0o755


def test_an_empty_directory_is_empty_whatever_was_there(share: Path) -> None:
    outside = share.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (share / "leg").symlink_to(outside)
    assert list(fresh(share, "leg").iterdir()) == []
    assert not (share / "leg").is_symlink()
    (share / "leg" / "in").symlink_to(outside)
    assert list(fresh(share, "leg").iterdir()) == []
    assert (outside / "precious").exists()


def test_nothing_comes_out_of_the_share_by_a_link(share: Path) -> None:
    (share / "leg").mkdir()
    (share / "leg" / "kmsg").symlink_to(share.parent / "secret")
    (share / "zero").symlink_to("/dev/zero")
    out = share.parent / "out"
    assert text(share, "leg/kmsg") is None
    assert not take(share, "leg/kmsg", out, 100)
    assert not take(share, "zero", out, 100)
    assert not out.exists()


def test_a_files_size_is_bounded(share: Path) -> None:
    with (share / "big").open("wb") as file:
        file.truncate(1 << 40)
    assert text(share, "big") is None
    assert take(share, "big", share.parent / "out", 4096)
    assert (share.parent / "out").stat().st_size == 4096


def test_a_capture_that_is_a_link_to_zeroes_is_none(share: Path) -> None:
    (share / ".capture.pcap").symlink_to("/dev/zero")
    out = share.parent / "capture.pcapng"
    capture.keep_capture(share, ".capture.pcap", out, "", "")
    assert not out.exists()
    assert sorted(path.name for path in share.parent.iterdir()) == ["secret", "share"]


def test_a_legs_record_takes_no_file_of_the_hosts(share: Path) -> None:
    """Every name that labrun writes, as a link to a secret and to endless zeroes."""
    names = ("before", "after", "capture.pcap", "links", "tcpdump", "kmsg")
    for target in (share.parent / "secret", Path("/dev/zero")):
        raw = fresh(share, "leg")
        for name in names:
            (raw / name).symlink_to(target)
        record = LegDir(share.parent / "record")
        machine = cast(Machine, None)  # it has ended
        leg.Run(leg.Setup("L00", "one"), machine, share, record, None, leg.deaf)._keep()
        kept = {path.name: path.read_text() for path in record.path.iterdir()}
        assert set(kept) == {"results.json"}
        assert "root:x" not in "".join(kept.values())


@pytest.mark.parametrize("how", ["mapped-xattr", "mapped-file"])
def test_a_directorys_links_become_the_guests(
    share: Path, how: shares.ShareModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "mapped-xattr" and model(share) != how:
        pytest.skip("this file system keeps no extended attributes of users")
    monkeypatch.setattr(shares, "model", lambda share: how)
    source = share.parent / "tools"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "tool").write_text("x")
    (source / "inner" / "tool").chmod(0o755)
    (source / "to-tool").symlink_to("inner/tool")
    os.mkfifo(source / "pipe")
    put_tree(source, share)
    assert os.access(share / "tools" / "inner" / "tool", os.X_OK)
    assert not (share / "tools" / "to-tool").is_symlink()
    assert (share / "tools" / "to-tool").read_text() == "inner/tool"
    assert not (share / "tools" / "pipe").exists()


def test_where_there_are_no_attributes_files_hold_them(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*about: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refused)
    assert model(share) == "mapped-file"
    assert list(share.iterdir()) == []


def test_labs_programs_are_found_by_name_alone() -> None:
    assert programs.source_of("R1", Path("/x")).name == "R1.c"
