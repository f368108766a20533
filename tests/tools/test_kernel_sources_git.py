"""Refs of a git repository as kernels, the repository itself left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kernlab.errors import BadInput, HostLacks
from kernlab.kernel import fetch as fetching
from kernlab.kernel.sources import git
from kernlab.process import CommandFailed
from kernlab.progress import quiet

MAKEFILE = "VERSION = 5\nPATCHLEVEL = 10\nSUBLEVEL = {}\nEXTRAVERSION =\n"


def run(repository: Path, *words: str) -> str:
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "a test"), ("EMAIL", "t@example.org"))
    }
    return subprocess.run(
        ["git", "-C", str(repository), *words],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **who},
        timeout=60,
    ).stdout


def release(repository: Path, number: int) -> None:
    (repository / "Makefile").write_text(MAKEFILE.format(number))
    run(repository, "add", "-A")
    run(repository, "commit", "-q", "-m", f"Linux 5.10.{number}")
    run(repository, "tag", f"v5.10.{number}")


@pytest.fixture
def repository(tmp_path: Path, own_home: Path) -> Path:
    """Two releases of a small kernel."""
    place = tmp_path / "linux"
    (place / "net").mkdir(parents=True)
    run(place, "init", "-q", "-b", "main")
    (place / "Kconfig").write_text("config NET\n\tbool\n")
    (place / "net" / "tcp.c").write_text("int tcp;\n")
    (place / "net" / "link.c").symlink_to("tcp.c")
    release(place, 200)
    release(place, 201)
    return place


def snapshot(place: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and mtime."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in place.rglob("*")
    }


def trees(home: Path) -> list[str]:
    found = (home / "sources").glob("*") if (home / "sources").is_dir() else []
    return sorted(p.name for p in found if not p.name.endswith(".lock"))


def test_a_tag_becomes_a_tree_and_the_repository_stays_as_it_was(
    repository: Path, own_home: Path
) -> None:
    (repository / "net" / "tcp.c").write_text("int edited;\n")
    (repository / "new.c").write_text("")
    before = snapshot(repository)
    tree = fetching.fetch(f"{repository}@v5.10.200", quiet)
    assert snapshot(repository) == before
    assert tree.version == "5.10.200"
    assert (tree.path / "net" / "link.c").read_text() == "int tcp;\n"
    assert not (tree.path / "new.c").exists()
    assert not (tree.path / ".git").exists()
    commit = run(repository, "rev-parse", "v5.10.200^{commit}").strip()
    assert tree.origin.startswith(f"git {repository}@v5.10.200 {commit} ")
    assert trees(own_home) == [tree.path.name]


def test_a_branch_that_moves_is_another_tree_and_the_same_content_the_same(
    repository: Path,
) -> None:
    first = fetching.fetch(f"{repository}@main", quiet)
    assert fetching.fetch(f"{repository}@v5.10.201", quiet).path == first.path
    assert fetching.fetch(f"{repository}@main~1", quiet).version == "5.10.200"
    release(repository, 202)
    moved = fetching.fetch(f"{repository}@main", quiet)
    assert (moved.version, moved.digest == first.digest) == ("5.10.202", False)


def test_a_tree_that_was_built_in_can_be_used_by_its_commit(repository: Path) -> None:
    (repository / ".config").write_text("")
    with pytest.raises(BadInput) as caught:
        fetching.fetch(str(repository), quiet)
    assert f"kernlab build {repository}@HEAD" in caught.value.next_step
    assert fetching.fetch(f"{repository}@HEAD", quiet).version == "5.10.201"


def test_a_repository_in_the_environment_is_not_taken_for_the_one_asked(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert fetching.fetch(f"{repository}@HEAD", quiet).version == "5.10.201"


def test_a_bare_repository_and_a_relative_path(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    monkeypatch.chdir(tmp_path)
    assert fetching.fetch("bare.git@v5.10.200", quiet).version == "5.10.200"


@pytest.mark.parametrize("ref", ["v5.10.999", "--output=x", "", "v5.10.200:net"])
def test_a_ref_that_is_none_is_refused(repository: Path, own_home: Path, ref: str) -> None:
    with pytest.raises(BadInput) as caught:
        fetching.fetch(f"{repository}@{ref}", quiet)
    assert caught.value.next_step
    assert trees(own_home) == []


def test_a_ref_is_never_an_option_of_git(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a ref"):
        fetching.fetch(f"file://{repository}@--upload-pack=touch {tmp_path}/x;", quiet)
    assert not (tmp_path / "x").exists()


def test_an_unknown_ref_names_those_there_are(repository: Path) -> None:
    with pytest.raises(BadInput, match="has no ref 'v5'") as caught:
        fetching.fetch(f"{repository}@v5", quiet)
    assert "v5.10.201" in caught.value.why


def test_what_is_no_repository_or_no_kernel_is_refused(
    repository: Path, tmp_path: Path, own_home: Path
) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(BadInput, match="is not a git repository"):
        fetching.fetch(f"{tmp_path}/plain@HEAD", quiet)
    (repository / "Kconfig").unlink()
    release(repository, 203)
    with pytest.raises(BadInput, match="@HEAD is not a kernel source tree"):
        fetching.fetch(f"{repository}@HEAD", quiet)
    with pytest.raises(BadInput, match="does not exist"):
        fetching.fetch(f"{tmp_path}/nothing@HEAD", quiet)
    assert trees(own_home) == []


def test_a_repository_that_lost_an_object_gives_no_tree(repository: Path, own_home: Path) -> None:
    blob = run(repository, "rev-parse", "v5.10.200:Makefile").strip()
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(CommandFailed) as caught:
        fetching.fetch(f"{repository}@v5.10.200", quiet)
    assert caught.value.why
    assert trees(own_home) == []
    assert fetching.fetch(f"{repository}@v5.10.201", quiet).version == "5.10.201"


def test_a_url_is_fetched_shallow_and_asked_again_only_for_news(
    repository: Path, own_home: Path
) -> None:
    url = f"file://{repository}@main"
    first = fetching.fetch(url, quiet, newest=True)
    assert first.version == "5.10.201"
    bare = next((own_home / "downloads").glob("git-*[0-9a-f]"))
    assert run(bare, "rev-list", "--count", "FETCH_HEAD").strip() == "1"
    release(repository, 202)
    assert fetching.fetch(url, quiet) == first
    assert fetching.fetch(url, quiet, newest=True).version == "5.10.202"
    shutil.rmtree(repository)
    with pytest.raises(HostLacks, match="git cannot fetch main"):
        fetching.fetch(url, quiet, newest=True)


def test_the_source_needs_a_ref() -> None:
    with pytest.raises(BadInput, match="'' is not a ref"):
        git.get(".", "", quiet)
