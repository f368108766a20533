"""Fragments, Kconfig's answers, keys, the catalogue, the host's apt sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernlab.errors import BadInput
from kernlab.kernel import catalogue, fragments, kconfig
from kernlab.kernel.build import Make, key_of
from kernlab.kernel.fetch import fetch
from kernlab.kernel.model import SourceTree
from kernlab.kernel.sources import git, host_apt, kernel_org, signed
from kernlab.kernel.sources.apt import Package, sources_text
from kernlab.progress import quiet

KCONFIG = """
config NET
@bool "Networking"
if NET
source "net/Kconfig"
endif
config DEBUG_INFO
@bool "Debug info"
@depends on DEBUG_KERNEL && !COMPILE_TEST
@help
@  depends on nothing: this is help text
@  config NOT_A_SYMBOL
""".replace("@", "\t")
NET = """
menu "Options"
@depends on INET
config NFT
@tristate "nft"
@depends on NETFILTER && (X || Y=m)
endmenu
""".replace("@", "\t")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "Kconfig").write_text(KCONFIG)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "Kconfig").write_text(NET)
    return tmp_path


def wish(name: str, value: str = "y", known: bool = False) -> fragments.Wish:
    return fragments.Wish(name, value, known, "", "f.config:3")


def test_a_vanished_option_names_wish_result_and_unmet_dependency(tree: Path) -> None:
    with pytest.raises(BadInput) as caught:
        kconfig.check([wish("CONFIG_NFT")], {"CONFIG_NET": "y", "CONFIG_NETFILTER": "y"}, tree)
    said = caught.value.why
    assert "f.config:3: CONFIG_NFT was to be y and became n" in said
    assert "INET" in said
    assert "(X || Y=m)" in said
    assert "NETFILTER" not in said.split("unmet:")[1]


def test_help_text_is_no_kconfig(tree: Path) -> None:
    assert "CONFIG_NOT_A_SYMBOL" not in kconfig.Kconfig(tree)
    unmet = kconfig.Kconfig(tree).unmet("CONFIG_DEBUG_INFO", {"CONFIG_COMPILE_TEST": "y"})
    assert unmet == ["DEBUG_KERNEL", "!COMPILE_TEST"]


def test_a_wish_for_known_symbols_only_is_dropped_where_unknown(tree: Path) -> None:
    kconfig.check([wish("CONFIG_GONE", known=True)], {}, tree)
    with pytest.raises(BadInput, match="did not take"):
        kconfig.check([wish("CONFIG_GONE")], {}, tree)


def test_an_option_that_should_be_off_and_is_on_is_told(tree: Path) -> None:
    with pytest.raises(BadInput) as caught:
        kconfig.check([wish("CONFIG_NET", "n")], {"CONFIG_NET": "y"}, tree)
    assert "was to be n and became y" in caught.value.why


def test_every_shipped_option_has_a_reason() -> None:
    for option in fragments.gather((), ()).values():
        assert option.why, f"{option.where}: {option.name} has no reason"


def test_later_wishes_win(tmp_path: Path) -> None:
    own = tmp_path / "own.config"
    own.write_text("CONFIG_SMP=n\n# CONFIG_TUN is not set\n")
    found = fragments.gather([own], ["CONFIG_SMP=y"])
    assert found["CONFIG_SMP"].value == "y"
    assert found["CONFIG_TUN"].value == "n"


@pytest.mark.parametrize("line", ["SMP=y", "CONFIG_SMP", "CONFIG_SMP=", "set CONFIG_X=y"])
def test_a_line_that_sets_nothing_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    own = tmp_path / "own.config"
    own.write_text(f"CONFIG_TUN=y\n{line}\n")
    with pytest.raises(BadInput) as caught:
        fragments.gather([own], [])
    assert f"{own}:2" in caught.value.what


def test_the_key_changes_with_everything_that_goes_in(tmp_path: Path) -> None:
    source = SourceTree("5.10.1", tmp_path, "x", "d1")
    patch = tmp_path / "a.patch"
    patch.write_text("one")
    wishes = {"CONFIG_A": wish("CONFIG_A")}
    base = key_of(source, wishes, (patch,), "gcc 12")
    others = [
        key_of(SourceTree("5.10.1", tmp_path, "x", "d2"), wishes, (patch,), "gcc 12"),
        key_of(source, {"CONFIG_A": wish("CONFIG_A", "n")}, (patch,), "gcc 12"),
        key_of(source, wishes, (), "gcc 12"),
        key_of(source, wishes, (patch,), "gcc 13"),
    ]
    patch.write_text("two")
    others.append(key_of(source, wishes, (patch,), "gcc 12"))
    assert len({base, *others}) == 6


def test_the_key_of_a_kernel_without_remedies_is_as_it_always_was(tmp_path: Path) -> None:
    source = SourceTree("5.10.1", tmp_path, "x", "d1")
    key = key_of(source, {"CONFIG_A": wish("CONFIG_A")}, (), "gcc 12")
    assert key == "5.10.1-25386ff3562f"
    assert key_of(source, {"CONFIG_A": wish("CONFIG_A")}, (), "gcc 12", ()) == key
    assert key_of(source, {"CONFIG_A": wish("CONFIG_A")}, (), "gcc 12", ("-fx",)) != key


def test_a_remedy_for_the_compiler_comes_after_the_kernels_own_options(tmp_path: Path) -> None:
    flags = catalogue.kcflags("5.4.289")
    assert flags == ("-fvar-tracking-assignments",)
    assert catalogue.kcflags("5.10.233") == ()
    argv = Make(tmp_path, tmp_path, tmp_path, tmp_path, 1, flags).argv
    assert argv[-1].startswith("KCFLAGS=-fdebug-prefix-map=")
    assert argv[-1].endswith(" -fvar-tracking-assignments")


def test_releases_are_ordered_by_number() -> None:
    versions = ["5.10.99", "5.9", "5.10.223", "5.10"]
    assert sorted(versions, key=catalogue.order_key) == ["5.9", "5.10", "5.10.99", "5.10.223"]


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("5.12.3", True),
        ("5.13.19", True),
        ("5.13", True),
        ("5.14", False),
        ("5.10.223", False),
        ("5.4.1", True),
        ("5.0.21", False),
        ("5.1", True),
        ("6.1.4", False),
    ],
)
def test_quirks_are_found_by_series(version: str, known: bool) -> None:
    assert bool(catalogue.quirks(version)) is known


def test_a_quirk_may_begin_and_end_within_a_series(monkeypatch: pytest.MonkeyPatch) -> None:
    table = catalogue.read()
    row = table.quirks[0].model_copy(update={"since": "5.15.3", "until": "5.15.66"})
    monkeypatch.setattr(catalogue, "read", lambda: table.model_copy(update={"quirks": [row]}))
    known = [v for v in ("5.15.2", "5.15.3", "5.15.66", "5.15.67") if catalogue.quirks(v)]
    assert known == ["5.15.3", "5.15.66"]


def test_every_quirk_has_a_remedy() -> None:
    assert all(row.what and row.remedy for row in catalogue.read().quirks)


def test_a_word_is_no_version() -> None:
    with pytest.raises(BadInput, match="not a kernel version"):
        catalogue.check("newest")


ONE_LINE = """
# deb http://old bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib # comment
deb-src http://m/debian bookworm main
deb http://s/debian-security bookworm-security main
deb http://third/party bookworm-thing main
"""
DEB822 = """
Types: deb deb-src
# a comment
URIs: http://m/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/x.gpg

Enabled: no
Types: deb
URIs: http://off/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://s/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


@pytest.mark.parametrize(
    ("text", "parse"), [(ONE_LINE, host_apt.parse_one_line), (DEB822, host_apt.parse_deb822)]
)
def test_both_formats_give_the_hosts_archives(text: str, parse: object) -> None:
    found = list(parse(text))  # type: ignore[operator]
    main = host_apt.choose(found, "bookworm", "main")
    security = host_apt.choose(found, "bookworm", "security")
    assert [archive.uri for archive in main] == ["http://m/debian"]
    assert [archive.uri for archive in security] == ["http://s/debian-security"]
    assert dict(main[0].options)["Signed-By"].endswith(".gpg")


def test_the_private_sources_name_the_old_suite_at_the_hosts_mirror() -> None:
    rows = [row for row in catalogue.read().apt if row.series == "5.10"]
    text = sources_text(rows, list(host_apt.parse_deb822(DEB822)), "bookworm")
    assert "URIs: http://m/debian\nSuites: bullseye\n" in text
    assert "URIs: http://s/debian-security\nSuites: bullseye-security\n" in text
    assert "\n .\n" in text  # an inline key keeps its continuation lines


@pytest.mark.parametrize(
    ("package", "release"),
    [("5.10.223-1", "5.10.223"), ("6.1.4-1~deb12u1", "6.1.4"), ("1:5.15.0+x", "5.15.0")],
)
def test_the_release_in_a_package_version(package: str, release: str) -> None:
    assert Package("p", package, "", 0).release == release


@pytest.mark.parametrize(
    ("release", "name"),
    [("5.10.0", "linux-5.10.tar.xz"), ("5.10.100", "linux-5.10.100.tar.xz")],
)
def test_a_series_first_release_has_two_numbers_at_kernel_org(release: str, name: str) -> None:
    assert kernel_org.tarball_of(release) == name
    assert kernel_org.releases(f"{'a' * 64}  {name}\n") == {release: "a" * 64}


def test_a_list_names_tarballs_and_nothing_else() -> None:
    sha = "b" * 64
    lines = [
        f"{sha}  patch-5.10.3.xz",
        f"{sha}  linux-5.10.3.tar.gz",
        f"{sha} linux-5.10.4.tar.xz",
        f"{sha}  linux-5.10-rc1.tar.xz",
        f"{sha}  linux-5.10.5.tar.xz",
    ]
    assert kernel_org.releases("\n".join(lines)) == {"5.10.5": sha}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_armoured_key_is_decoded_and_a_binary_one_left(end: str) -> None:
    lines = [
        "a word before",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
        "Comment: x",
        "",
        "AQID",
        "=abcd",
        "-----END PGP PUBLIC KEY BLOCK-----",
        "",
    ]
    assert signed.dearmour(end.join(lines).encode(), "k") == b"\1\2\3"
    assert signed.dearmour(b"\x99\1", "k") == b"\x99\1"
    with pytest.raises(BadInput, match="k contains no usable key"):
        signed.dearmour(b"-----BEGIN PGP MESSAGE-----\n\nAQID\n", "k")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://h.example/linux.git@v5.10", ("https://h.example/linux.git", "v5.10")),
        ("ssh://git@h.example/l@stable/5.10", ("ssh://git@h.example/l", "stable/5.10")),
        ("ssh://git@h.example", None),
        ("https://h.example/linux.git", None),
        ("@HEAD", (".", "HEAD")),
        ("no/such/place@v5.10", None),
        ("5.10", None),
    ],
)
def test_a_repository_and_its_ref(text: str, found: object) -> None:
    assert git.split(text) == found


def test_a_path_with_an_at_sign_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "me@work").mkdir()
    assert git.split(f"{tmp_path}/me@work@HEAD@{{1}}") == (f"{tmp_path}/me@work", "HEAD@{1}")


def test_a_source_that_serves_no_releases_is_refused() -> None:
    with pytest.raises(BadInput, match="'local' is not a source of releases"):
        fetch("local:5.10", quiet)
