"""What all floors share. Each test under pure/ and tools/ gets a home of its own; vm/ uses
the user's, where the kernel build is cached."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A KERNLAB_HOME that is empty and goes away with the test."""
    monkeypatch.setenv("KERNLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest) -> None:
    """No test on the lower floors touches the user's home."""
    floor = Path(str(request.node.path)).parent.name
    if floor == "pure":
        request.getfixturevalue("own_home")
