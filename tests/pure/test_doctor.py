"""The doctor's tables and rules, without asking any program."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from kernlab.config import packages
from kernlab.config.needs import Need, require
from kernlab.config.yaml import parse
from kernlab.doctor import Report, collect, host, programs
from kernlab.doctor.install import commands, install, shown
from kernlab.doctor.model import Check
from kernlab.errors import BadInput, HostLacks
from kernlab.kernel import known
from kernlab.kernel.catalogue import order_key
from kernlab.kernel.known import Chosen, Hit, InTree, Known, KnownTable
from kernlab.kernel.model import SourceTree

ROOT = Path(__file__).resolve().parents[2]
ROWS = known.table().known


def chosen(version: str, tree: Path | None = None) -> Chosen:
    return Chosen(version, order_key(version), tree)


def program(directory: Path, name: str) -> None:
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


# -- packages ----------------------------------------------------------------------------


def test_what_kernlab_does_without_is_a_note_and_no_gap() -> None:
    need = Need("nothing", "for a test", program="no-such-program-anywhere", without="does less")
    (check,) = programs({"record": [need]}, "apt")
    assert (check.state, check.packages) == ("note", ())
    assert check.remedy == "does less"


def test_every_room_with_needs_is_asked() -> None:
    rooms = {path.parent.name for path in (ROOT / "kernlab").glob("*/needs.py")} - {"config"}
    found = collect()
    assert set(found) == rooms
    for room in rooms:
        assert found[room] == list(importlib.import_module(f"kernlab.{room}.needs").NEEDS)


def test_every_package_has_a_name_in_every_family() -> None:
    table = packages.table()
    families = set(table.managers) - {"apt"}
    for need in (need for needs in collect().values() for need in needs):
        assert set(table.packages.get(need.package, {})) == families, need.package


def test_no_package_is_listed_that_nobody_needs() -> None:
    wanted = {need.package for needs in collect().values() for need in needs}
    assert set(packages.table().packages) == wanted


@pytest.mark.parametrize(
    ("system", "there", "expected"),
    [
        ({"ID": "debian"}, ["apt-get"], "apt"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, ["apt-get"], "apt"),
        ({"ID": "fedora"}, ["dnf", "apt-get"], "dnf"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, ["dnf"], "dnf"),
        ({"ID": "manjaro", "ID_LIKE": "arch"}, ["pacman"], "pacman"),
        ({"ID": "arch"}, ["dnf"], "dnf"),
        ({}, ["pacman"], "pacman"),
        ({"ID": "nixos"}, [], None),
    ],
)
def test_the_manager_is_the_distributions_own_where_it_is_installed(
    system: dict[str, str],
    there: list[str],
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in there:
        program(tmp_path, name)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert packages.manager_name(system) == expected


def test_names_of_other_families() -> None:
    assert packages.names("libc6-dev", "dnf") == ("glibc-devel", "glibc-static")
    assert packages.names("dwarves", "pacman") == ("pahole",)
    assert packages.names("dwarves", "apt") == ("dwarves",)
    assert packages.names("apt", "dnf") == ()
    assert packages.names("a-users-own", "dnf") == ("a-users-own",)


def test_what_a_family_does_not_package_is_a_note_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the command that closes the gap would be named, and the gap stay open."""
    assert set(packages.table().lacking) <= set(packages.table().packages)
    need = Need("libbpf-dev", "loads BPF", file="/nowhere/libbpf.a")
    checks = {name: next(programs({"guest": [need]}, name)) for name in ("dnf", "pacman")}
    assert checks["dnf"].state == "missing"
    assert checks["dnf"].packages == ("libbpf-devel", "libbpf-static")
    assert checks["pacman"].state == "note"
    assert checks["pacman"].packages == ()
    assert "libbpf-static" in checks["pacman"].remedy
    monkeypatch.setattr(packages, "manager_name", lambda system: "pacman")
    with pytest.raises(HostLacks, match="libbpf-static"):
        require([need])


def test_a_need_is_met_at_another_distributions_place(tmp_path: Path) -> None:
    there = tmp_path / "libc.a"
    need = Need("libc6-dev", "x", file=str(tmp_path / "*/libc.a"), elsewhere=(str(there),))
    assert not need.met()
    there.touch()
    assert need.found() == str(there)


# -- installing --------------------------------------------------------------------------


def test_commands_for_each_manager() -> None:
    for manager in packages.table().managers:
        *_, last = commands(["a", "b"], manager)
        assert last[-2:] == ["a", "b"]
    assert commands(["a"], "apt")[0] == ["apt-get", "update"]


def test_what_a_person_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert shown(["a"], "apt") == "sudo apt-get update && sudo apt-get install a"
    assert shown(["a"], "dnf") == "sudo dnf install a"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert shown(["a", "b"], "pacman") == "pacman -S --needed a b"


def test_without_rights_the_exact_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))  # no sudo
    with pytest.raises(HostLacks) as caught:
        install(["pahole"], "pacman", asking=True, out=sys.stderr)
    assert caught.value.exit_status == 3
    assert caught.value.next_step == "sudo pacman -S --needed pahole"


def test_sudo_that_would_ask_where_nobody_answers_is_no_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sudo").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostLacks, match="only root can install"):
        install(["pahole"], "pacman", asking=False, out=sys.stderr)


def test_sudo_is_used_and_the_managers_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sudo").write_text(
        f'#!/bin/sh\n[ "$1" = -n ] || echo "$*" > {tmp_path}/ran\n'
        "case $* in *-n\\ true) ;; *) exit 7 ;; esac\n"
    )
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with (tmp_path / "out").open("wb") as out, pytest.raises(HostLacks, match="failed") as caught:
        install(["pahole"], "pacman", asking=False, out=out)
    assert "exit status 7" in caught.value.why
    assert (tmp_path / "ran").read_text() == "pacman -S --needed --noconfirm pahole\n"


def test_without_a_manager_the_packages_are_named() -> None:
    with pytest.raises(HostLacks, match="no known package manager") as caught:
        install(["gdb", "gcc"], None, asking=False, out=sys.stderr)
    assert caught.value.next_step == "install by hand: gdb gcc"


# -- known combinations ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "ranges", "expected"),
    [
        ("1.24", "1.24..", True),
        ("1.23", "1.24..", False),
        ("1.3", "1.24..", False),
        ("5.10.156", "5.10..5.10.156", True),
        ("5.10.157", "5.10..5.10.156", False),
        ("5.4.300", "..5.4", True),
        ("5.5", "..5.4", False),
        ("5.17.9", "5.10..5.10.156, 5.16..5.17", True),
        ("5.12", "5.10..5.10.156, 5.16..5.17", False),
        ("13.1", "13.1", True),
        ("13.1.90", "13.1", True),
        ("13.2", "13.1", False),
        ("9.2", "..9", True),
        ("10.1", "..9", False),
        ("7", "..", True),
    ],
)
def test_ranges(version: str, ranges: str, expected: bool) -> None:
    assert known.within(order_key(version), ranges) is expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_each_row_is_found_on_a_host_where_it_is_true(row: Known) -> None:
    versions, kernel = {}, chosen("6.12.1")
    for name, ranges in row.when.items():
        first, _, last = ranges.split(",")[0].partition("..")
        if name == "kernel":
            kernel = chosen(last or first)
        else:
            versions[name] = last or first
    assert row.id in [hit.id for hit in known.hits([row], versions, kernel)]
    for name in versions:
        without = {key: value for key, value in versions.items() if key != name}
        assert known.hits([row], without, kernel) == known.hits([], {}, kernel)


def test_nothing_is_said_of_a_host_without_known_bugs() -> None:
    versions = {
        "pahole": "1.25",
        "gcc": "14.2.0",
        "ld": "2.44",
        "gdb": "16.3",
        "qemu-system-x86_64": "10.0.2",
        "accelerator": "kvm",
    }
    assert known.hits(ROWS, versions, chosen("5.10.262")) == []


def test_a_tree_that_has_the_remedy_is_asked_before_its_version(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.id == "pahole-enum64")
    assert isinstance(row.unless, InTree)
    versions = {"pahole": "1.24"}
    old = chosen("5.10.100", tmp_path)
    assert [hit.here for hit in known.hits([row], versions, old)] == [
        "pahole 1.24 × kernel 5.10.100"
    ]
    (tmp_path / "scripts").mkdir()
    (tmp_path / row.unless.file).write_text(f"x --{row.unless.has}\n")
    assert known.hits([row], versions, old) == []


def test_the_kernel_is_the_newest_tree_that_is_here(own_home: Path) -> None:
    assert known.chosen("5.10").tree is None
    assert known.within(known.chosen("5.10").version, "..5.10.156") is False
    for name in ("linux-5.10.9", "linux-5.10.223", "linux-5.15.1", "linux-mine"):
        (own_home / "sources" / name).mkdir(parents=True)
    assert known.chosen("5.10").shown == "5.10.223"
    assert known.chosen("5.10.9").version == (5, 10, 9)
    (own_home / "sources/linux-5.10.223/.kernlab-origin").write_text(f"apt x {'0' * 64}\n")
    assert known.chosen("apt:5.10").shown == "5.10.223"
    assert known.chosen("kernel_org:5.10").tree is None
    with pytest.raises(BadInput, match="does not exist"):
        known.chosen("/some/tree")
    with pytest.raises(BadInput, match="not a kernel version"):
        known.chosen("newest")


def test_a_build_hears_of_what_will_fail_and_gets_the_remedy_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"pahole": "1.24", "gcc": "15.1", "ld": "2.40", "gdb": "13.1"}
    monkeypatch.setattr(packages, "version_of", lambda name: said.get(name, ""))
    source = SourceTree("5.19.0", tmp_path, "a test", "d")
    found = {hit.id: hit for hit in known.of_build(source, btf=True)}
    assert set(found) == {"pahole-enum64", "gcc-15-c23"}
    assert found["pahole-enum64"].effect == "mended"
    assert found["pahole-enum64"].pahole == "--skip_encoding_btf_enum64"
    assert found["gcc-15-c23"].effect == "fails"
    assert [hit.id for hit in known.of_build(source, btf=False)] == ["gcc-15-c23"]
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/pahole-flags.sh").write_text("--skip_encoding_btf_enum64\n")
    assert "pahole-enum64" not in [hit.id for hit in known.of_build(source, btf=True)]


def test_a_kernels_own_quirks_are_told() -> None:
    assert any("hang under TCG" in hit.title for hit in known.hits([], {}, chosen("5.12.3")))


def test_a_range_that_cannot_be_read_names_its_line() -> None:
    text = (ROOT / "configs" / "known.yaml").read_text().replace('"13.1"', '"since 13.1"')
    with pytest.raises(BadInput) as caught:
        parse(text, KnownTable, "known.yaml")
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "since 13.1" in row)
    assert caught.value.what.startswith(f"known.yaml:{line}: ")


def test_ids_are_unique_and_each_row_says_where_it_was_seen() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert all(row.seen for row in ROWS)


def test_the_page_is_the_table() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    assert text.endswith(known.page(ROWS)), "write it anew: kernlab doctor --known"


# -- the host ----------------------------------------------------------------------------


def report(*checks: Check, hits: tuple[Hit, ...] = ()) -> Report:
    return Report("a host", "apt", "5.10", list(checks), list(hits), 1)


def test_what_makes_a_host_incomplete() -> None:
    gap = Check("gdb", "missing", "", "x", packages=("gdb",))
    hit = Hit("a", "b", "c", "limits", "", "", "d")
    assert report(Check("a", "ok", "", ""), Check("b", "note", "", ""), hits=(hit,)).complete
    assert not report(gap).complete
    assert report(gap, gap).missing_packages == ["gdb"]
    assert not report(hits=(Hit("a", "b", "c", "fails", "", "", "d"),)).complete


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNLAB_HOME", "/proc/no/such")
    check = next(c for c in host.checks("apt") if c.name == "KERNLAB_HOME")
    assert check.state == "missing"  # for root too: the kernel refuses it
    assert "KERNLAB_HOME" in check.remedy


def test_a_home_that_is_not_there_yet_is_not_made(own_home: Path) -> None:
    states = {check.name: check.state for check in host.checks("apt")}
    assert states["KERNLAB_HOME"] == "ok"
    assert not own_home.exists()


def test_a_full_disk_and_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_DISK_FIRST", 1 << 60)
    monkeypatch.setattr(host, "_MEMORY", 1 << 60)
    found = {check.name: check for check in host.checks("apt")}
    assert found["disk"].state == "missing"
    assert "kernlab clean" in found["disk"].remedy
    assert found["memory"].state == "note"


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("268435456\n")
    monkeypatch.setattr(host, "_CGROUP", tmp_path / "memory.max")
    found = {check.name: check for check in host.checks("apt")}
    assert found["memory"].found == "0.2 GB free"


@pytest.mark.parametrize("told", ["kvm", "tcg"])
def test_the_accelerator_that_is_told(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNLAB_ACCEL", told)
    found = {check.name: check for check in host.checks("apt")}
    assert found["accelerator"].found == told
    assert found["accelerator"].state == {"kvm": "ok", "tcg": "note"}[told]
