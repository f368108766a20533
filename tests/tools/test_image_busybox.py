"""The image: the same bytes each time, and what busybox' own cpio reads in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernlab.errors import BadInput
from kernlab.guest import elf
from kernlab.image.busybox import build
from kernlab.image.model import ImageRequest
from kernlab.pipeline import image_for
from kernlab.progress import quiet

BUILD = (
    "from kernlab.image.busybox import build; from kernlab.image.model import ImageRequest; "
    "from kernlab.progress import quiet; print(build(ImageRequest(), quiet).initramfs)"
)


def test_two_builds_are_equal_byte_for_byte(tmp_path: Path) -> None:
    """Whoever makes them: an ordinary user's PATH finds other names of the same programs."""
    path = os.environ["PATH"]
    paths = (f"/usr/sbin:{path}", f"/usr/bin:{path}")
    made = []
    for number, umask in enumerate((0o022, 0o077)):
        place = tmp_path / str(number)
        place.mkdir()
        env = {
            **os.environ,
            "KERNLAB_HOME": str(place),
            "TZ": f"UTC-{number * 5}",
            "LC_ALL": ["C", "C.UTF-8"][number],
            "PATH": paths[number],
        }
        said = subprocess.run(
            [sys.executable, "-c", BUILD],
            env=env,
            cwd=place,
            umask=umask,
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr
        made.append(Path(said.stdout.strip()))
    assert made[0].parent.name == made[1].parent.name
    assert made[0].read_bytes() == made[1].read_bytes()


def test_busybox_cpio_agrees_with_the_listing(own_home: Path) -> None:
    image = build(ImageRequest(), quiet)
    archive = image.initramfs.read_bytes()
    said = subprocess.run(["busybox", "cpio", "-tv"], input=archive, capture_output=True)
    assert said.returncode == 0, said.stderr
    rows = [line.split() for line in said.stdout.decode().splitlines()]
    entries = json.loads((image.path / "image.json").read_text())["entries"]
    ours = [(path.lstrip("/"), _letters(int(mode, 8))) for path, mode, _ in entries]
    assert [(row[5], row[0]) for row in rows] == ours
    assert all(row[1] == "0/0" for row in rows)
    names = {path for path, _ in ours}
    assert {"init", "dev/console", "etc/inittab", "etc/init.d/rcS", "usr/sbin/ip"} <= names
    assert "usr/bin/ip" not in names


def _letters(mode: int) -> str:
    import stat

    return stat.filemode(mode)


def test_a_warm_call_reads_no_content(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(ImageRequest(), quiet)
    monkeypatch.setattr("kernlab.image.cpio.write", None)
    assert build(ImageRequest(), quiet) == first


def test_a_changed_file_gives_another_image(own_home: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text("one")
    first = build(ImageRequest(add=(f"{note}:/etc/note",)), quiet)
    note.write_text("two!")
    second = build(ImageRequest(add=(f"{note}:/etc/note",)), quiet)
    assert first.key != second.key


def test_the_closure_is_what_ldd_says(own_home: Path) -> None:
    for name in ("/usr/sbin/nft", "/usr/bin/tcpdump", "/usr/bin/ss"):
        said = subprocess.check_output(["ldd", name], text=True)
        theirs = {line.split()[0] for line in said.splitlines() if "vdso" not in line}
        ours = {Path(path).name for path in elf.closure([Path(name)])}
        assert {Path(name).name for name in theirs} == ours


def test_an_unknown_image_is_refused(own_home: Path) -> None:
    with pytest.raises(BadInput, match="no image 'debain'"):
        image_for(ImageRequest("debain"), quiet)
