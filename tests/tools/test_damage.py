"""Damaged images and guest programs: each is made anew and said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from damages import DAMAGES, said

from kernlab.config import sums
from kernlab.guest.build import program
from kernlab.image.busybox import build
from kernlab.image.model import ImageRequest
from kernlab.progress import Report, quiet


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("initramfs.cpio", "cut"),
        ("initramfs.cpio", "garbage"),
        ("image.json", "empty"),
        (sums.RECORD, "gone"),
        ("../stamps.json", "garbage"),
    ],
)
def test_a_damaged_image_is_made_anew(own_home: Path, name: str, how: str) -> None:
    image = build(ImageRequest(), quiet)
    whole = image.initramfs.read_bytes()
    path = image.path / name
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[how](path.read_bytes()))
    seen: list[Report] = []
    again = build(ImageRequest(), seen.append)
    assert again == image
    assert again.initramfs.read_bytes() == whole
    told = [text for text in said(seen) if "is damaged" in text]
    assert len(told) == (name in ("image.json", "initramfs.cpio"))
    seen.clear()
    assert build(ImageRequest(), seen.append) == image
    assert seen == []


def test_a_damaged_guest_program_is_compiled_anew(own_home: Path) -> None:
    path = program("agent", quiet)
    whole = path.read_bytes()
    for damage in DAMAGES.values():
        path.write_bytes(damage(whole))
        seen: list[Report] = []
        assert program("agent", seen.append) == path
        assert path.read_bytes() == whole
        assert said(seen)[0].startswith("guest program agent is damaged (agent has ")
        assert os.access(path, os.X_OK)
