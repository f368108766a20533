"""What rooms declare and what ./lab installs are the same."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from kernlab.config.needs import Need, missing, require
from kernlab.errors import HostLacks

ROOT = Path(__file__).resolve().parents[2]


def listed() -> set[str]:
    lines = (ROOT / "configs" / "host-packages.txt").read_text().splitlines()
    return {line.split("#")[0].strip() for line in lines} - {""}


def declared() -> list[Need]:
    found: list[Need] = []
    for path in sorted((ROOT / "kernlab").rglob("needs.py")):
        if path.parent.name != "config":
            room = path.parent.name
            found += importlib.import_module(f"kernlab.{room}.needs").NEEDS
    return found


def test_lab_installs_every_need() -> None:
    """All but those that kernlab does without, and says so."""
    assert {need.package for need in declared() if not need.without} - listed() == set()


def test_every_listed_package_has_its_reason() -> None:
    for line in (ROOT / "configs" / "host-packages.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert len(line.split("#", 1)) == 2, line


def test_every_need_says_why() -> None:
    assert all(need.why and (need.program or need.file) for need in declared())


@pytest.mark.parametrize(("user", "sudo"), [(0, ""), (1000, "sudo ")])
def test_a_gap_names_the_command_that_closes_it(
    user: int, sudo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    gap = Need("no-such-package", "for a test", program="no-such-program-anywhere")
    assert missing([gap]) == [gap]
    with pytest.raises(HostLacks) as caught:
        require([gap])
    assert "no-such-program-anywhere" in caught.value.what
    assert caught.value.next_step == f"{sudo}apt-get install no-such-package"
    assert caught.value.exit_status == 3


def test_a_met_need_is_no_gap() -> None:
    require([Need("coreutils", "for a test", program="ls"), Need("base", "x", file="/etc/passwd")])
