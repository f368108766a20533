"""``kernlab doctor`` on this host, with its real programs and its real package manager."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernlab.config.paths import arriving, arriving_file

ROOT = Path(__file__).resolve().parents[2]


def doctor(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kernlab", "doctor", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "KERNLAB_HOME": str(home), **env},
        stdin=subprocess.DEVNULL,
        timeout=600,
    )


def checks(said: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(said.stdout)["checks"]}


def with_program(home: Path, name: str, package: str) -> Path:
    """A home whose owner wants one more program in the image: a need of its own."""
    table = yaml.safe_load((ROOT / "configs" / "image-busybox.yaml").read_text("utf-8"))
    table["programs"].append({"name": name, "package": package, "why": "for a test"})
    (home / "configs").mkdir(parents=True)
    (home / "configs" / "image-busybox.yaml").write_text(yaml.safe_dump(table))
    return home


def test_this_host_has_all_and_says_its_versions(tmp_path: Path) -> None:
    said = doctor(tmp_path, "--json")
    assert said.returncode == 0, said.stdout + said.stderr
    found = checks(said)
    for program in ("gdb", "gcc", "ld", "qemu-system-x86_64", "pahole", "ip"):
        version = found[program]["found"]
        asked = ["-V"] if program == "ip" else ["--version"]
        own = subprocess.run([program, *asked], capture_output=True, text=True).stdout
        assert re.search(rf"\b{re.escape(version)}\b|v{re.escape(version)}\b", own), program
    assert found["busybox"]["found"][0].isdigit()
    assert found["GDB's Python"]["state"] == "ok"
    assert found["static busybox"]["found"] == "yes"
    assert json.loads(said.stdout)["command"] is None


def test_it_fits_80_columns_without_colour(tmp_path: Path) -> None:
    said = doctor(tmp_path, COLUMNS="80")
    assert max(len(line) for line in said.stdout.splitlines()) <= 80
    assert "\x1b" not in said.stdout
    assert said.stderr == ""


def test_nothing_is_written(tmp_path: Path) -> None:
    doctor(tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


def test_a_gap_is_named_with_the_command_that_closes_it(tmp_path: Path) -> None:
    said = doctor(with_program(tmp_path, "no-such-program", "no-such-package"))
    assert said.returncode == 3
    assert re.match(r"missing +no-such-program ", said.stdout.splitlines()[1])
    *_, command, verdict = said.stdout.splitlines()
    assert command.endswith(" no-such-package")
    assert verdict == "this host is not ready: see above what is missing or fails"


def test_an_old_kernel_meets_this_hosts_pahole_and_the_build_has_the_remedy(tmp_path: Path) -> None:
    said = doctor(tmp_path, "--json", "--kernel", "5.18.1")
    version = checks(said)["pahole"]["found"]
    hits = {row["id"]: row for row in json.loads(said.stdout)["known"]}
    assert ("pahole-enum64" in hits) == (tuple(map(int, version.split("."))) >= (1, 24))
    if "pahole-enum64" in hits:
        assert hits["pahole-enum64"]["effect"] == "mended"
    assert said.returncode == 0


def a_tree(place: Path, flags: str) -> Path:
    tree = place / "linux-5.19"
    (tree / "scripts").mkdir(parents=True)
    (tree / "Makefile").write_text("VERSION = 5\nPATCHLEVEL = 19\nSUBLEVEL = 0\n")
    (tree / "Kconfig").write_text("config NET\n")
    (tree / "scripts/pahole-flags.sh").write_text(flags)
    return tree


def test_a_kernel_is_whatever_build_takes(tmp_path: Path) -> None:
    """A tree, a tarball and a git ref: each is looked into for the remedy."""
    for flags, expected in (("", True), ("--skip_encoding_btf_enum64", False)):
        tree = a_tree(tmp_path / f"is-{expected}", flags)
        tarball = tmp_path / f"{expected}.tar.xz"
        subprocess.run(["tar", "-cJf", tarball, "-C", tree.parent, tree.name], check=True)
        git = ["git", "-C", str(tree), "-c", "user.name=t", "-c", "user.email=t@example.org"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
            subprocess.run([*git, *words], check=True)
        for name in (str(tree), str(tarball), f"{tree}@HEAD"):
            said = doctor(tmp_path / "home", "--json", "--kernel", name)
            assert said.returncode == 0, said.stderr
            answer = json.loads(said.stdout)
            assert answer["kernel"] == f"5.19.0 ({name})"
            version = tuple(map(int, checks(said)["pahole"]["found"].split(".")))
            hit = "pahole-enum64" in [row["id"] for row in answer["known"]]
            assert hit == (expected and version >= (1, 24)), name
    assert not (tmp_path / "home").exists()


def test_a_kernel_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "cut.tar.xz").write_bytes(b"\xfd7zXZ\0cut")
    for name, words in (
        (str(tmp_path), "is not a kernel source tree"),
        (str(tmp_path / "cut.tar.xz"), "is damaged or truncated"),
        (str(tmp_path / "none"), "does not exist"),
        ("https://example.org/linux.git@v5.10", "is not here yet"),
    ):
        said = doctor(tmp_path / "home", "--kernel", name)
        assert said.returncode == 2
        assert words in said.stderr
        assert "next: " in said.stderr


def test_the_known_rows_are_printed(tmp_path: Path) -> None:
    said = doctor(tmp_path, "--known", "--json")
    page = doctor(tmp_path, "--known").stdout
    assert all(f"`{row['id']}`" in page for row in json.loads(said.stdout))


def test_a_bad_kernel_is_refused(tmp_path: Path) -> None:
    said = doctor(tmp_path, "--kernel", "newest")
    assert said.returncode == 2
    assert "not a kernel version" in said.stderr
    assert "Traceback" not in said.stderr


def test_install_tells_what_the_manager_could_not_do(tmp_path: Path) -> None:
    home = with_program(tmp_path, "no-such-program", "no-such-package")
    said = doctor(home, "--install")
    assert said.returncode == 3
    assert said.stdout == ""
    assert "next: " in said.stderr
    assert said.stderr.rstrip().endswith(" no-such-package")
    assert "Traceback" not in said.stderr


def test_install_closes_a_gap(tmp_path: Path) -> None:
    """With rights the real package manager closes it; without, the command is named."""
    home = with_program(tmp_path, "hello", "hello")
    wanted = json.loads(doctor(home, "--json").stdout)["install"]
    said = doctor(home, "--install")
    try:
        if os.geteuid() == 0:
            assert said.returncode == 0, said.stderr
            assert said.stdout.splitlines()[-1] == "this host has everything that kernlab needs"
            assert checks(doctor(home, "--json"))["hello"]["state"] == "ok"
        else:
            assert said.returncode == 3
            assert said.stderr.rstrip().endswith("apt-get install hello")
    finally:
        if wanted == ["hello"] and os.geteuid() == 0:
            subprocess.run(["apt-get", "remove", "-qy", "hello"], capture_output=True)


def test_verify_reads_every_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNLAB_HOME", str(tmp_path))
    for name in ("images/guest-1", "images/guest-2", "sources/linux-5.10.7"):
        with arriving(tmp_path / name) as made:
            (made / "big").write_bytes(b"x" * 200_000)
    with arriving_file(tmp_path / "images/stamps.json", seal=True) as file:
        file.write_text("{}")
    said = doctor(tmp_path, "--verify", "--json")
    assert said.returncode == 0
    assert {one["state"] for one in json.loads(said.stdout)} == {"ok"}
    assert len(json.loads(said.stdout)) == 4
    big = tmp_path / "images/guest-1/big"
    status = big.stat()
    with big.open("r+b") as content:
        content.write(b"y")
    os.utime(big, ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "images/stamps.json").write_text("{}")
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/linux_5_0123456789ab.deb").write_bytes(b"x")
    (tmp_path / "images/guest-2/.sums.json").unlink()
    said = doctor(tmp_path, "--verify")
    assert said.returncode == 3
    assert f"damaged  {tmp_path}/images/guest-1: big has other content" in said.stdout
    assert f"→ rm -rf {tmp_path}/images/guest-1\n" in said.stdout
    assert f"unknown  {tmp_path}/images/guest-2: it has no list" in said.stdout
    assert "stamps.json: does not have the checksum" in said.stdout
    assert "0123456789ab.deb: does not have the SHA-256" in said.stdout
    assert said.stdout.endswith("5 artifacts read, 3 damaged\n")
