"""kernel.org's releases from a mirror made here, its lists signed by a key made here."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mirror import Manners, Mirror

from kernlab.config.paths import home, shipped
from kernlab.errors import HostLacks, WeFailed
from kernlab.kernel import catalogue
from kernlab.kernel import fetch as fetching
from kernlab.kernel.catalogue import KernelOrg
from kernlab.kernel.sources import download, kept, kernel_org, signed
from kernlab.progress import Report, Said, quiet

LIST = "/v5.x/sha256sums.asc"


class Signer:
    """A gpg home with keys in it, away from the user's."""

    def __init__(self, home: str) -> None:
        self.home = home

    def gpg(self, *words: str, data: bytes = b"") -> bytes:
        return subprocess.run(
            [
                "gpg",
                "--homedir",
                self.home,
                "--batch",
                "--yes",
                "--passphrase",
                "",
                "--pinentry-mode",
                "loopback",
                *words,
            ],
            input=data,
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout

    def key(self, name: str, *words: str, expires: str = "never") -> str:
        """A new key's fingerprint."""
        self.gpg(*words, "--quick-generate-key", name, "ed25519", "sign", expires)
        lines = self.gpg("--with-colons", "--list-keys", name).decode().splitlines()
        return next(line for line in lines if line.startswith("fpr:")).split(":")[9]

    def sign(self, text: str, key: str, *words: str) -> bytes:
        return self.gpg(*words, "--local-user", key, "--clear-sign", data=text.encode())


@dataclass
class Keys:
    signer: Signer
    good: str
    other: str
    old: str


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    home = tempfile.mkdtemp(prefix="kl-gpg-")  # short: gpg-agent's socket lies in it
    signer = Signer(home)
    long_ago = ("--faked-system-time", "20200101T000000")
    yield Keys(
        signer,
        signer.key("good@example.org"),
        signer.key("other@example.org"),
        signer.key("old@example.org", *long_ago, expires="1d"),
    )
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], timeout=30)
    shutil.rmtree(home, ignore_errors=True)


def a_tarball(place: Path, release: str, says: str | None = None) -> bytes:
    tree = place / f"linux-{release}"
    tree.mkdir(parents=True)
    numbers = zip(("VERSION", "PATCHLEVEL", "SUBLEVEL"), (says or release).split("."), strict=True)
    (tree / "Makefile").write_text("".join(f"{name} = {n}\n" for name, n in numbers))
    (tree / "Kconfig").write_text("config NET\n\tbool\n")
    (tree / "noise").write_bytes(os.urandom(400_000))
    tarball = place / f"linux-{release}.tar.xz"
    subprocess.run(["tar", "-cJf", tarball, "-C", place, tree.name], check=True)
    return tarball.read_bytes()


@dataclass
class Org:
    """A mirror with some releases, and the table that names it."""

    mirror: Mirror
    keys: Keys
    table: KernelOrg
    sums: dict[str, str]

    def text(self) -> str:
        lines = [f"{sha}  {name}" for name, sha in sorted(self.sums.items())]
        return "\n".join([*lines, "0" * 64 + "  patch-5.10.9.xz"]) + "\n"

    def serve_list(self, data: bytes) -> None:
        self.mirror.files[LIST] = Manners(data)

    def tarball(self, name: str) -> Manners:
        return self.mirror.files[f"/v5.x/{name}"]

    def get(self, version: str, **changes: object) -> Path:
        return kernel_org.get(version, self.table.model_copy(update=changes), quiet).path


@pytest.fixture
def org(keys: Keys, tmp_path: Path, own_home: Path) -> Iterator[Org]:
    mirror = Mirror()
    sums = {}
    for short, release in (("5.10", "5.10.0"), ("5.10.7", "5.10.7"), ("5.10.10", "5.10.10")):
        content = a_tarball(tmp_path / f"made-{release}", release)
        name = f"linux-{short}.tar.xz"
        mirror.files[f"/v5.x/{name}"] = Manners(content)
        sums[name] = hashlib.sha256(content).hexdigest()
    table = KernelOrg(mirrors=[mirror.url], signer=keys.good, connect=2, stall=0.4, pins={})
    made = Org(mirror, keys, table, sums)
    made.serve_list(keys.signer.sign(made.text(), keys.good))
    place = own_home / "configs" / "keys"
    place.mkdir(parents=True)
    (place / f"{keys.good}.asc").write_bytes(keys.signer.gpg("--armor", "--export", keys.good))
    (place / f"{keys.old}.gpg").write_bytes(keys.signer.gpg("--export", keys.old))
    yield made
    mirror.close()


def trees(home: Path) -> list[str]:
    found = (home / "sources").glob("*") if (home / "sources").is_dir() else []
    return sorted(p.name for p in found if not p.name.endswith(".lock"))


@pytest.mark.parametrize(
    ("asked", "release"), [("5.10", "5.10.10"), ("5.10.7", "5.10.7"), ("5.10.0", "5.10.0")]
)
def test_a_series_or_a_release_becomes_a_tree(
    org: Org, own_home: Path, asked: str, release: str
) -> None:
    tree = kernel_org.get(asked, org.table, quiet)
    assert (tree.version, tree.path.name) == (release, f"kernel_org-{release}")
    assert tree.digest == org.sums[kernel_org.tarball_of(release)]
    assert trees(own_home) == [tree.path.name]
    assert kept.find("5.10", ["kernel_org"]) == tree


def test_what_was_fetched_needs_no_network_again(org: Org) -> None:
    tree = org.get("5.10.7")
    org.mirror.close()
    shutil.rmtree(tree)
    assert org.get("5.10.7") == tree
    with pytest.raises(download.Unreached, match="cannot be reached"):
        org.get("5.10")  # whether there is a newer one, only the network knows


def test_an_altered_list_is_refused(org: Org, own_home: Path) -> None:
    data = org.keys.signer.sign(org.text(), org.keys.good)
    wrong = org.sums["linux-5.10.7.tar.xz"]
    other = ("1" if wrong[0] == "0" else "0") + wrong[1:]
    org.serve_list(data.replace(wrong.encode(), other.encode()))
    with pytest.raises(WeFailed, match="signature check failed") as caught:
        org.get("5.10.7")
    assert "altered after it was signed" in caught.value.why
    assert trees(own_home) == []
    org.serve_list(data)
    assert org.get("5.10.7").is_dir()


def test_a_list_signed_by_another_key_is_refused(org: Org, own_home: Path) -> None:
    org.serve_list(org.keys.signer.sign(org.text(), org.keys.other))
    with pytest.raises(WeFailed, match="signature check failed") as caught:
        org.get("5.10.7")
    assert f"and not by {org.keys.good}" in caught.value.why
    # Nor does it help that key to be in the file under the good one's name.
    ring = own_home / "configs" / "keys" / f"{org.keys.good}.asc"
    ring.write_bytes(org.keys.signer.gpg("--export", org.keys.other))
    with pytest.raises(WeFailed) as caught:
        org.get("5.10.7")
    assert f"signed by the key {org.keys.other}" in caught.value.why


def test_a_list_signed_by_a_key_that_expired_is_refused(org: Org) -> None:
    long_ago = ("--faked-system-time", "20200101T010000")
    org.serve_list(org.keys.signer.sign(org.text(), org.keys.old, *long_ago))
    with pytest.raises(WeFailed) as caught:
        org.get("5.10.7", signer=org.keys.old)
    assert "has expired" in caught.value.why


def test_only_the_signed_part_of_a_list_is_believed(org: Org) -> None:
    line = f"{'2' * 64}  linux-5.10.99.tar.xz\n".encode()
    data = org.keys.signer.sign(org.text(), org.keys.good)
    for forged in (line + data, data + line):
        org.serve_list(forged)
        try:
            assert org.get("5.10").name == "kernel_org-5.10.10"
        except WeFailed as error:
            assert "signature" in error.what  # noqa: PT017


def test_a_login_page_is_no_list(org: Org) -> None:
    org.serve_list(b"<html>please log in</html>")
    with pytest.raises(download.Unreached) as caught:
        org.get("5.10")
    assert "what it sends as sha256sums.asc is not signed" in caught.value.why


def test_an_altered_tarball_never_becomes_a_tree(org: Org, own_home: Path) -> None:
    file = org.tarball("linux-5.10.7.tar.xz")
    whole = file.content
    file.content = whole[:5000] + b"X" + whole[5001:]
    with pytest.raises(WeFailed, match=r"linux-5\.10\.7\.tar\.xz arrived altered") as caught:
        org.get("5.10.7")
    assert "the signed sha256sums.asc has" in caught.value.why
    assert trees(own_home) == []
    file.content = whole
    assert org.get("5.10.7").is_dir()


def test_a_cut_tarball_never_becomes_a_tree(org: Org, own_home: Path) -> None:
    org.tarball("linux-5.10.7.tar.xz").cuts = [200_000, 0, 0]
    with pytest.raises(HostLacks, match=r"download linux-5\.10\.7\.tar\.xz stopped"):
        org.get("5.10.7")
    assert trees(own_home) == []
    assert org.get("5.10.7").is_dir()
    assert org.mirror.asked[-1][3] == 206


def test_a_damaged_tarball_that_was_kept_is_fetched_anew(org: Org, own_home: Path) -> None:
    tree = org.get("5.10.7")
    tarball = own_home / "downloads" / "linux-5.10.7.tar.xz"
    whole = tarball.read_bytes()
    tarball.write_bytes(whole[:-4])
    shutil.rmtree(tree)
    assert org.get("5.10.7") == tree
    assert tarball.read_bytes() == whole


def test_a_tarball_with_another_release_in_it_is_refused(
    org: Org, tmp_path: Path, own_home: Path
) -> None:
    content = a_tarball(tmp_path / "wrong", "5.10.8", says="5.10.9")
    org.mirror.files["/v5.x/linux-5.10.8.tar.xz"] = Manners(content)
    pins = {"5.10.8": hashlib.sha256(content).hexdigest()}
    with pytest.raises(WeFailed, match=r"holds 5\.10\.9"):
        org.get("5.10.8", pins=pins)
    assert trees(own_home) == []


def test_a_pinned_release_needs_no_list(org: Org) -> None:
    del org.mirror.files[LIST]
    assert org.get("5.10.7", pins={"5.10.7": org.sums["linux-5.10.7.tar.xz"]}).is_dir()
    with pytest.raises(WeFailed) as caught:
        org.get("5.10.10", pins={"5.10.10": "3" * 64})
    assert f"the pin in kernels.yaml has {'3' * 64}" in caught.value.why


def test_a_list_that_contradicts_a_pin_is_refused(org: Org) -> None:
    with pytest.raises(WeFailed, match=r"the pin for 5\.10\.10 disagree"):
        org.get("5.10", pins={"5.10.10": "3" * 64})


def test_a_release_that_is_not_there_names_the_newest(org: Org) -> None:
    with pytest.raises(HostLacks, match=r"kernel\.org has no 5\.10\.99") as caught:
        org.get("5.10.99")
    assert caught.value.next_step == "kernlab fetch 5.10.10"
    with pytest.raises(HostLacks, match=r"kernel\.org has no 5\.99"):
        org.get("5.99")


def test_a_release_that_the_list_has_and_no_mirror_gives_way_to_the_one_before(org: Org) -> None:
    del org.mirror.files["/v5.x/linux-5.10.10.tar.xz"]
    seen: list[Report] = []
    assert kernel_org.get("5.10", org.table, seen.append).version == "5.10.7"
    assert [one.text for one in seen if isinstance(one, Said)] == [
        "5.10.10 is in the list but not on the mirror; trying the one before it"
    ]
    with pytest.raises(download.Absent) as caught:
        org.get("5.10.10")  # who asks for a release gets that one
    assert "404" in caught.value.why
    org.tarball("linux-5.10.7.tar.xz").status = 503
    shutil.rmtree(home() / "sources")
    shutil.rmtree(home() / "downloads")
    with pytest.raises(download.Unreached, match=r"linux-5\.10\.7"):
        org.get("5.10")  # a mirror that is ill is no mirror without the file


def test_the_second_mirror_serves_where_the_first_is_dead(org: Org) -> None:
    assert org.get("5.10.7", mirrors=["http://127.0.0.1:1", org.mirror.url]).is_dir()


def test_without_the_key_nothing_is_believed(org: Org, own_home: Path) -> None:
    (own_home / "configs" / "keys" / f"{org.keys.good}.asc").unlink()
    with pytest.raises(HostLacks, match="is missing") as caught:
        org.get("5.10.7")
    assert caught.value.next_step.startswith(f"gpg --export {org.keys.good} > ")
    assert trees(own_home) == []


def own_table(home: Path, mirror: str, signer: str, order: str = "local, git, kernel_org") -> None:
    """A kernels.yaml of the user's own."""
    text = shipped("configs", "kernels.yaml").read_text()
    start, end = text.index("kernel_org:\n"), text.index("\n# Source packages")
    text = text.replace(
        text[start:end],
        f"kernel_org: {{mirrors: ['{mirror}'], signer: {signer}, connect: 2, stall: 1, "
        "pins: {}}\n",
    ).replace("order: [local, git, kernel_org, apt]", f"order: [{order}]")
    (home / "configs" / "kernels.yaml").write_text(text)


def test_fetch_asks_it_and_uses_what_is_kept(org: Org, own_home: Path) -> None:
    own_table(own_home, org.mirror.url, org.keys.good)
    first = fetching.fetch("5.10.7", quiet)
    assert first.path.name == "kernel_org-5.10.7"
    assert fetching.fetch("5.10", quiet) == first
    newest = fetching.fetch("5.10", quiet, newest=True)
    assert newest.version == "5.10.10"
    org.mirror.close()
    assert fetching.fetch("5.10", quiet) == newest
    assert fetching.fetch("kernel_org:5.10.7", quiet) == first


def kernlab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kernlab", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def test_the_command_tells_what_is_known_of_a_release(
    org: Org, own_home: Path, tmp_path: Path
) -> None:
    content = a_tarball(tmp_path / "made", "5.12.3")
    org.mirror.files["/v5.x/linux-5.12.3.tar.xz"] = Manners(content)
    org.sums["linux-5.12.3.tar.xz"] = hashlib.sha256(content).hexdigest()
    org.serve_list(org.keys.signer.sign(org.text(), org.keys.good))
    own_table(own_home, org.mirror.url, org.keys.good)
    said = kernlab("fetch", "5.12", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["path"] == str(own_home / "sources" / "kernel_org-5.12.3")
    assert "known of 5.12.3: guests with more than one vCPU hang under TCG" in said.stderr
    assert "--cpus 1" in said.stderr
    assert "known of 5.12.3" in kernlab("build", "5.12.3", "--set", "CONFIG_NO_SUCH=y").stderr


def test_the_commands_status_tells_reach_and_checks_apart(org: Org, own_home: Path) -> None:
    own_table(own_home, org.mirror.url, org.keys.good)
    file = org.tarball("linux-5.10.7.tar.xz")
    whole, file.content = file.content, b"not a tarball"
    said = kernlab("fetch", "5.10.7")
    assert (said.returncode, said.stdout) == (4, "")
    assert "the SHA-256 check failed" in said.stderr
    assert "next: " in said.stderr
    file.content, file.stalls = whole, [300_000, 0, 0]
    said = kernlab("fetch", "5.10.7")
    assert said.returncode == 3
    assert "MB have arrived and are kept" in said.stderr
    assert kernlab("fetch", "5.10.7").returncode == 0
    assert org.mirror.asked[-1][3] == 206


def test_a_failed_check_does_not_give_way_to_the_next_source(
    org: Org, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_table(own_home, org.mirror.url, org.keys.good, "kernel_org, apt")
    org.serve_list(org.keys.signer.sign(org.text(), org.keys.other))
    said: list[Report] = []
    with pytest.raises(WeFailed, match="signature check failed"):
        fetching.fetch("5.10", said.append, newest=True)
    assert not [r for r in said if isinstance(r, Said)]


def test_the_shipped_key_is_the_one_that_the_table_names(tmp_path: Path) -> None:
    signer = catalogue.read().kernel_org.signer
    ring = tmp_path / "key.gpg"
    ring.write_bytes(signed.key(signer))
    lines = subprocess.run(
        ["gpg", "--homedir", tmp_path, "--batch", "--with-colons", "--show-keys", ring],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    assert [line.split(":")[9] for line in lines if line.startswith("fpr:")] == [signer]
