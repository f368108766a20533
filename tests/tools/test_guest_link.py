"""Linking BPF loaders where the host's static libraries can be linked, and where not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import broken_libelf
import pytest

from kernlab.guest import elf
from kernlab.guest.link import LIBRARIES, Fault, faults, host_libraries, link
from kernlab.vm.share import put_program

PROGRAM = """\
#include <bpf/libbpf.h>
#include <stdio.h>
int main(void)
{
	struct bpf_object *object = bpf_object__open_mem("x", 1, NULL);

	printf("libbpf %s, %s\\n", libbpf_version_string(), object ? "opened" : "refused");
	return bpf_object__load(object) == 0;
}
"""


def source(folder: Path, text: str = PROGRAM) -> Path:
    path = folder / "one.c"
    path.write_text(text)
    return path


def test_a_static_program_where_that_can_be_linked(tmp_path: Path) -> None:
    said, wrong = link(["gcc", str(source(tmp_path))], tmp_path / "one")
    assert said.returncode == 0
    if wrong:  # Debian 13's own archive is at fault
        assert [one.archive for one in wrong] == ["libelf.a"]
        assert elf.needed(tmp_path / "one").interpreter is not None
        return
    assert elf.needed(tmp_path / "one").interpreter is None
    assert not Path(f"{tmp_path / 'one'}{LIBRARIES}").exists()


def test_shared_libraries_go_along_where_the_hosts_archive_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(host_libraries())
    monkeypatch.setenv("PATH", broken_libelf.path_with(tmp_path / "broken"))
    said, wrong = link(["gcc", str(source(tmp_path))], tmp_path / "one")
    assert said.returncode == 0
    (fault,) = wrong
    assert fault.archive == "libelf.a"
    assert broken_libelf.SYMBOL in fault.symbols  # beside those of the host's own
    assert list(host_libraries()) != before  # so that nothing linked before is taken for it
    share = tmp_path / "share"
    share.mkdir()
    assert put_program(tmp_path / "one", share) == "/mnt/share/one"
    wants = elf.needed(share / "one")
    assert wants.interpreter == "/mnt/share/one.libs/ld.so"
    assert wants.search == ("/mnt/share/one.libs",)
    libraries = share / "one.libs"
    # As the guest starts it, where no other library is to be had.
    run = subprocess.run(
        [libraries / "ld.so", "--inhibit-cache", "--library-path", libraries, share / "one"],
        capture_output=True,
        text=True,
    )
    assert run.stdout.startswith("libbpf "), run.stderr
    traced = subprocess.run(
        [libraries / "ld.so", "--library-path", libraries, "--list", share / "one"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {
        line.split("=> ")[1].split(" ")[0].rsplit("/", 1)[0]
        for line in traced.splitlines()
        if "=> /" in line and "ld-" not in line
    } == {str(libraries)}


def test_a_fault_of_the_program_is_the_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PROGRAM.replace("int main", "int nowhere(void);\nint main").replace(
        "return ", "return nowhere() + "
    )
    said, wrong = link(["gcc", str(source(tmp_path, text))], tmp_path / "one")
    assert (said.returncode != 0, wrong) == (True, [])
    assert b"nowhere" in said.stderr
    monkeypatch.setenv("PATH", broken_libelf.path_with(tmp_path / "broken"))
    said, wrong = link(["gcc", str(source(tmp_path, text))], tmp_path / "one")
    assert (said.returncode != 0, wrong) == (True, [])
    assert b"nowhere" in said.stderr


@pytest.mark.parametrize(
    ("said", "found"),
    [
        # GNU ld 2.44 on Debian 13
        (
            "/usr/bin/ld: /usr/lib/gcc/x86_64-linux-gnu/14/../../../x86_64-linux-gnu/libelf.a("
            "elf_begin.o): in function `file_read_elf':\n"
            "(.text+0x2cb): undefined reference to `eu_search_tree_init'\n"
            "/usr/bin/ld: …/libelf.a(elf_end.o): in function `elf_end':\n"
            "(.text+0xb4): undefined reference to `eu_search_tree_fini'\n"
            "collect2: error: ld returned 1 exit status\n",
            [Fault("libelf.a", ("eu_search_tree_init", "eu_search_tree_fini"))],
        ),
        # Arch: libbpf is there as a shared library alone
        ("/usr/bin/ld: cannot find -lbpf: No such file or directory\n", [Fault("libbpf.a")]),
        (
            "/usr/bin/ld: /tmp/cc1.o: in function `main':\none.c:(.text+0x1): undefined reference "
            "to `nowhere'\n",
            [],
        ),
        ("one.c:3:5: error: expected expression\n", []),
    ],
)
def test_what_a_linker_says_of_archives(said: str, found: list[Fault]) -> None:
    assert faults(said) == found
