"""Freeing disk: what is in use stays, and what cannot go is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from kernlab.config.paths import arriving
from kernlab.record import clean
from kernlab.record.rundir import RunDir

KEY = "5.10.7-0123456789ab"


def filled(home: Path, *names: str) -> None:
    for name in names:
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text("x")


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_being_built_stays(own_home: Path) -> None:
    filled(
        own_home,
        f"kernels/.build-{KEY}",
        f"kernels/.source-{KEY}",
        "kernels/5.4.1-00112233aabb",
        "kernels/.build-5.4.1-00112233aabb",
        "sources/linux-5.10.7",
        "downloads/ccache",
        "downloads/git-1",
    )
    (own_home / f"kernels/{KEY}.build.log").write_text("x")
    with FileLock(own_home / "kernels" / f".{KEY}.lock"):
        assert clean.clean_kind("kernels") == (3, [])
        assert clean.clean_kind("sources") == (1, [])
        assert clean.clean_kind("downloads") == (1, [])
    assert left(own_home / "kernels") == [
        f".{KEY}.lock",
        f".build-{KEY}",
        f".source-{KEY}",
        f"{KEY}.build.log",
    ]
    assert clean.clean_kind("kernels") == (0, [])
    assert left(own_home / "kernels") == [f".{KEY}.lock"]
    assert clean.clean_kind("sources") == clean.clean_kind("downloads") == (0, [])
    assert left(own_home / "sources") == left(own_home / "downloads") == []


def test_what_is_fetched_or_made_stays(own_home: Path) -> None:
    filled(own_home, "sources/linux-5.10.7", "sources/linux-5.4.1", "downloads/apt")
    with FileLock(own_home / "sources" / "linux-5.10.7.lock"):
        assert clean.clean_kind("sources") == (1, [])
    assert left(own_home / "sources") == ["linux-5.10.7", "linux-5.10.7.lock"]
    with FileLock(own_home / "downloads" / "apt.lock"):
        assert clean.clean_kind("downloads") == (1, [])
    with arriving(own_home / "images" / "guest-1") as making:
        (making / "program").write_text("x")
        assert clean.clean_kind("images") == (1, [])
    assert (own_home / "images/guest-1/program").exists()
    assert clean.clean_kind("images") == (0, [])
    assert left(own_home / "images") == []


def test_a_living_run_stays_with_what_it_uses(own_home: Path) -> None:
    filled(own_home, f"kernels/{KEY}", "kernels/5.4.1-00112233aabb", "images/busybox-1")
    run = RunDir.create({})
    run.resolved(kernel=KEY)
    assert clean.clean_kind("runs") == (1, [])
    assert clean.clean_kind("kernels") == (1, [])
    assert clean.clean_kind("images") == (1, [])
    assert left(own_home / "kernels") == [KEY]


def test_what_cannot_be_removed_is_told(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(own_home, "runs/one", "images/busybox-1")
    unlink = os.unlink

    def refusing(path: str, **kw: int) -> None:
        if os.path.basename(path) == "file":
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **kw)

    monkeypatch.setattr(os, "unlink", refusing)
    for kind, name in (("runs", "one"), ("images", "busybox-1")):
        kept, failed = clean.clean_kind(kind)
        assert kept == 0
        assert len(failed) == 1
        assert f"{name}/file: Operation not permitted" in failed[0]
