"""The Debian disk's parts that need no package: what is told, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kernlab.config.packages import os_release
from kernlab.errors import BadInput, HostLacks
from kernlab.image import disk
from kernlab.image.model import debian_table
from kernlab.image.scratch import reap, remove, scratch
from kernlab.progress import quiet

HOLD = (
    "import sys; from kernlab.image.scratch import scratch\n"
    "with scratch(1) as place: (place / 'part').touch(); print(place, flush=True); sys.stdin.read()"
)


@pytest.fixture
def own_tmp(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR of one's own that every id may pass; pytest's is closed to others."""
    import tempfile

    monkeypatch.delenv("TMPDIR", raising=False)
    place = Path(tempfile.mkdtemp(dir="/var/tmp"))
    place.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    remove(place)
    place.rmdir()


@pytest.mark.parametrize(
    ("said", "kind", "what"),
    [
        ("E: Unable to locate package bpftrce", BadInput, "there is no package bpftrce"),
        ("E: Package 'pwru' has no installation candidate", BadInput, "there is no package pwru"),
        ("tar: ./usr/bin/x: No space left on device", HostLacks, "the disk is full"),
        ("E: Failed to fetch x  Could not resolve 'y'", HostLacks, "cannot be reached"),
    ],
)
def test_what_apt_says_is_told_in_words(
    tmp_path: Path, said: str, kind: type[BadInput | HostLacks], what: str
) -> None:
    told = disk._told(said, tmp_path)
    assert isinstance(told, kind)
    assert what in told.what
    assert told.next_step


def test_what_is_not_known_stays_as_it_was_said(tmp_path: Path) -> None:
    assert disk._told("E: something else", tmp_path) is None


def test_a_host_of_another_kind_is_told(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "os_release", lambda: ("fedora", ""))
    with pytest.raises(HostLacks) as caught:
        disk.disk(debian_table(), (), quiet)
    assert "a Debian image cannot be made on fedora" in caught.value.what


def test_a_host_without_mmdebstrap_is_told_the_command(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os_release().get("ID") not in debian_table().archives:
        pytest.skip("the host has no archives for the image")
    monkeypatch.setattr("kernlab.config.needs.which", lambda name: None)
    with pytest.raises(HostLacks) as caught:
        disk.disk(debian_table(), (), quiet)
    assert caught.value.what == "the host lacks mmdebstrap, fakeroot, mke2fs"
    assert caught.value.next_step.endswith("install e2fsprogs fakeroot mmdebstrap")


def test_no_room_is_told_before_anything_is_made(own_tmp: Path) -> None:
    with pytest.raises(HostLacks) as caught, scratch(10**12):
        pass
    assert "no room to assemble the disk" in caught.value.what
    assert str(own_tmp) in caught.value.why
    assert not list(own_tmp.iterdir())


def test_a_working_directory_goes_with_its_block(own_tmp: Path) -> None:
    def interrupted() -> None:
        with scratch(1) as place:
            (place / "part").touch()
            assert place.parent == own_tmp
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(own_tmp.iterdir())


def test_the_next_run_removes_what_a_killed_one_left_and_no_other(own_tmp: Path) -> None:
    argv = [sys.executable, "-c", HOLD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, **pipes) as killed, subprocess.Popen(argv, **pipes) as alive:
        left, held = (Path(one.stdout.readline().strip()) for one in (killed, alive))
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert (left / "part").exists()
        reap()
        assert not left.exists()
        assert (held / "part").exists()
        alive.communicate("")
    assert not held.exists()
