"""apt in a private state, on a repository made here; trees and tarballs of one's own."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from damages import DAMAGES, said
from mirror import Manners, Mirror

from kernlab.errors import BadInput, HostLacks, WeFailed
from kernlab.kernel import catalogue
from kernlab.kernel import fetch as fetching
from kernlab.kernel.catalogue import AptRow
from kernlab.kernel.sources import apt, kept, local
from kernlab.kernel.sources.host_apt import Archive
from kernlab.progress import Report, Said, quiet

MAKEFILE = "VERSION = 5\nPATCHLEVEL = 10\nSUBLEVEL = 7\nEXTRAVERSION =\n"
ROW = AptRow(
    series="5.10",
    distribution="debian",
    package="linux-source-5.10",
    suite="./",
    archive="main",
    why="a test",
)


def a_tree(place: Path) -> Path:
    tree = place / "linux-5.10.7"
    tree.mkdir(parents=True)
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "Kconfig").write_text("config NET\n\tbool\n")
    return tree


def a_tarball(place: Path) -> Path:
    tree = a_tree(place)
    tarball = place / "linux-source-5.10.tar.xz"
    subprocess.run(["tar", "-cJf", tarball, "-C", place, tree.name], check=True)
    return tarball


@pytest.fixture
def repository(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A flat file: repository with one source package, trusted as a host may trust its own."""
    place = tmp_path / "repository"
    package = place / "package"
    (package / "usr/src").mkdir(parents=True)
    (package / "DEBIAN").mkdir()
    (package / "DEBIAN/control").write_text(
        "Package: linux-source-5.10\nVersion: 5.10.7-1\nArchitecture: all\n"
        "Maintainer: a test <t@example.org>\nDescription: a test\n"
    )
    a_tarball(tmp_path / "work").rename(package / "usr/src/linux-source-5.10.tar.xz")
    deb = place / "linux-source-5.10_5.10.7-1_all.deb"
    subprocess.run(
        ["dpkg-deb", "-b", "--root-owner-group", package, deb], check=True, capture_output=True
    )
    content = deb.read_bytes()
    (place / "Packages").write_text(
        f"Package: linux-source-5.10\nVersion: 5.10.7-1\nArchitecture: all\n"
        f"Maintainer: a test <t@example.org>\nDescription: a test\nFilename: ./{deb.name}\n"
        f"Size: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    )
    text = f"Types: deb\nURIs: file:{place}\nSuites: ./\nTrusted: yes\n"
    monkeypatch.setattr(apt, "sources_text", lambda *_: text)
    monkeypatch.setattr(apt, "os_release", lambda: ("debian", "bookworm"))
    return place


def test_a_package_becomes_a_tree(repository: Path, own_home: Path) -> None:
    tree = apt.get("5.10", [ROW], quiet)
    assert tree.version == "5.10.7"
    assert tree.path == own_home / "sources" / "linux-5.10.7"
    assert (tree.path / "Makefile").read_text() == MAKEFILE
    assert fetching.fetch("5.10.7", quiet) == fetching.fetch("5.10", quiet) == tree
    assert not [p for p in tree.path.parent.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("damage", [lambda d: d[:-100], lambda d: d[:500] + b"X" + d[501:]])
def test_an_altered_package_never_becomes_a_tree(
    repository: Path, own_home: Path, damage: object
) -> None:
    deb = next(repository.glob("*.deb"))
    deb.write_bytes(damage(deb.read_bytes()))  # type: ignore[operator]
    with pytest.raises(WeFailed):
        apt.get("5.10", [ROW], quiet)
    assert list((own_home / "sources").iterdir()) == []


def test_a_package_damaged_in_our_cache_is_fetched_anew(repository: Path, own_home: Path) -> None:
    tree = apt.get("5.10", [ROW], quiet)
    deb = next((own_home / "downloads").glob("*.deb"))
    whole = deb.read_bytes()
    deb.write_bytes(whole[:-1])
    subprocess.run(["rm", "-r", tree.path], check=True)
    assert apt.get("5.10", [ROW], quiet) == tree
    assert deb.read_bytes() == whole


def listed_only(place: Path, version: str) -> None:
    """A version that the index has and the pool has not."""
    index = place / "Packages"
    stanza = index.read_text().split("\n\n")[0].replace("5.10.7-1", version)
    stanza = re.sub("SHA256: .*", "SHA256: " + version.encode().hex().ljust(64, "0"), stanza)
    index.write_text(f"{index.read_text()}\n{stanza}")


def test_a_version_that_the_pool_lacks_gives_way_to_the_next(
    repository: Path, own_home: Path
) -> None:
    for version in ("5.10.8-1", "5.10.9-1"):
        listed_only(repository, version)
    seen: list[Report] = []
    assert apt.get("5.10", [ROW], seen.append).version == "5.10.7"
    assert [one.text for one in seen if isinstance(one, Said)] == [
        "the mirror lists linux-source-5.10 5.10.9-1 but does not have it; trying 5.10.8-1",
        "the mirror lists linux-source-5.10 5.10.8-1 but does not have it; trying 5.10.7-1",
    ]
    with pytest.raises(apt.Gone, match=r"lists linux-source-5\.10 5\.10\.9-1"):
        apt.get("5.10.9", [ROW], quiet)


def test_the_same_over_http(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = Mirror()
    try:
        listed_only(repository, "5.10.9-1")
        mirror.files = {
            f"/./{path.name}": Manners(path.read_bytes())
            for path in repository.iterdir()
            if path.is_file()
        }
        text = f"Types: deb\nURIs: {mirror.url}\nSuites: ./\nTrusted: yes\n"
        monkeypatch.setattr(apt, "sources_text", lambda *_: text)
        assert apt.get("5.10", [ROW], quiet).version == "5.10.7"
        del mirror.files["/./linux-source-5.10_5.10.7-1_all.deb"]
        with pytest.raises(apt.Gone):
            apt.get("5.10.9", [ROW], quiet)
    finally:
        mirror.close()


def test_a_release_that_is_not_offered_names_those_that_are(repository: Path) -> None:
    with pytest.raises(HostLacks) as caught:
        apt.get("5.10.223", [ROW], quiet)
    assert caught.value.why == "they offer: 5.10.7"
    assert caught.value.next_step == "kernlab fetch 5.10.7"


def test_apt_serves_where_kernel_org_is_out_of_reach(
    repository: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = catalogue.read()
    dead = table.kernel_org.model_copy(update={"mirrors": ["http://127.0.0.1:1/linux"]})
    table = table.model_copy(update={"kernel_org": dead, "apt": [ROW]})
    monkeypatch.setattr(catalogue, "read", lambda: table)
    seen: list[Report] = []
    assert fetching.fetch("5.10", seen.append).path.name == "linux-5.10.7"
    assert [r.text for r in seen if isinstance(r, Said)] == [
        "kernel.org cannot be reached (127.0.0.1:1: Connection refused); trying apt"
    ]
    with pytest.raises(HostLacks, match=r"no source has 5\.10\.8") as caught:
        fetching.fetch("5.10.8", quiet)
    assert "Connection refused" in caught.value.why
    assert "they offer: 5.10.7" in caught.value.why
    assert caught.value.next_step == "kernlab fetch 5.10.7"
    with pytest.raises(HostLacks, match=r"mirrors do not offer 5\.10\.8"):
        fetching.fetch("apt:5.10.8", quiet)


def test_a_series_no_row_has_is_refused(repository: Path) -> None:
    with pytest.raises(HostLacks, match=r"have no kernel 5\.3"):
        apt.get("5.3", [ROW], quiet)


def test_a_tree_is_used_where_it_lies_and_told_apart_by_its_files(
    tmp_path: Path, own_home: Path
) -> None:
    tree = a_tree(tmp_path)
    first = local.get(tree, quiet)
    assert (first.version, first.path) == ("5.10.7", tree)
    (tree / "Kconfig").write_text("config NET\n\tbool\n\n")
    assert local.get(tree, quiet).digest != first.digest


def test_a_tree_that_was_built_in_is_refused(tmp_path: Path, own_home: Path) -> None:
    tree = a_tree(tmp_path)
    (tree / ".config").write_text("")
    with pytest.raises(BadInput) as caught:
        local.get(tree, quiet)
    assert caught.value.next_step == f"make -C {tree} mrproper"


def test_a_tarball_is_unpacked_once_and_a_truncated_one_never(
    tmp_path: Path, own_home: Path
) -> None:
    tarball = a_tarball(tmp_path)
    tree = local.get(tarball, quiet)
    assert tree.version == "5.10.7"
    assert local.get(tarball, quiet) == tree
    cut = tmp_path / "cut.tar.xz"
    cut.write_bytes(tarball.read_bytes()[:-60])
    with pytest.raises(BadInput, match="damaged or truncated"):
        local.get(cut, quiet)
    left = [p.name for p in (own_home / "sources").iterdir() if not p.name.endswith(".lock")]
    assert left == [tree.path.name]


def test_what_is_no_kernel_is_refused(tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(BadInput, match="not a kernel source tree"):
        local.get(tmp_path, quiet)
    with pytest.raises(BadInput, match="does not exist"):
        local.get(tmp_path / "nothing", quiet)


def test_the_rows_archive_is_found_in_the_hosts_configuration() -> None:
    found = [Archive("http://m/debian", ("bookworm",), ("main",), ())]
    row = ROW.model_copy(update={"series": "6.1", "suite": "bookworm", "archive": "security"})
    assert apt.sources_text([row], found, "bookworm").strip() == ""


# -- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["Makefile", kept.ORIGIN])
def test_a_tree_that_nothing_can_be_read_from_is_unpacked_anew(
    repository: Path, own_home: Path, name: str, how: str
) -> None:
    tree = apt.get("5.10", [ROW], quiet)
    path = tree.path / name
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    assert kept.find("5.10", ["apt"]) is None
    seen: list[Report] = []
    assert apt.get("5.10", [ROW], seen.append) == tree
    assert "is damaged" in said(seen)[0]
    kept.check(tree.path)


def test_a_tree_is_compared_before_a_build_and_never_removed(
    repository: Path, own_home: Path
) -> None:
    tree = apt.get("5.10", [ROW], quiet)
    kept.check(tree.path)
    (tree.path / "Kconfig").write_text("an edit of somebody's")
    with pytest.raises(HostLacks, match="is damaged") as caught:
        kept.check(tree.path)
    assert "Kconfig has" in caught.value.why
    assert f"rm -rf {tree.path}" in caught.value.next_step
    assert (tree.path / "Kconfig").read_text() == "an edit of somebody's"


def test_a_tarballs_tree_that_is_damaged_is_unpacked_anew(tmp_path: Path, own_home: Path) -> None:
    tarball = a_tarball(tmp_path)
    tree = local.get(tarball, quiet)
    (tree.path / "Makefile").write_text("")
    seen: list[Report] = []
    assert local.get(tarball, seen.append) == tree
    assert "unpacked again" in said(seen)[0]


def test_damaged_lists_of_apt_are_fetched_anew(repository: Path, own_home: Path) -> None:
    tree = apt.get("5.10", [ROW], quiet)
    shutil.rmtree(tree.path)
    state = own_home / "downloads" / "apt" / "5.10"
    for damage in DAMAGES.values():
        lists = [*state.glob("lists/*_Packages*"), *state.glob("cache/*.bin")]
        for path in (*lists, state / "status"):
            if path.is_file():
                path.write_bytes(damage(path.read_bytes() or b"garbage"))
        _, found = apt.available("5.10", [ROW], state.parent)
        assert found[0].release == "5.10.7"
