"""What is said of a program that the kernel refuses, from what libbpf and kernels printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernlab.bpf.complaints import Complaints, table
from kernlab.bpf.run import crash
from kernlab.errors import BadInput
from kernlab.guest import bpf
from kernlab.guest.bpf_object import numbers
from kernlab.kernel.model import Kernel

OLD = """\
libbpf: prog 'prog': BPF program load failed: Permission denied
libbpf: prog 'prog': -- BEGIN PROG LOAD LOG --
reg type unsupported for arg#0 function prog#5
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
; __u64 *value = bpf_map_lookup_elem(&seen, &key);
4: (18) r1 = 0xffff888000df3800
6: (85) call bpf_map_lookup_elem#1
; *value += 1;
7: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0
-- END PROG LOAD LOG --
libbpf: prog 'prog': failed to load: -13
Failed to load
"""
SOURCE = "int prog(void *ctx)\n{\n\t*value += 1;\n\treturn 0;\n}\n"


def heard(
    text: str, tmp_path: Path, source: str = SOURCE, pieces: int = 7
) -> tuple[Complaints, str, Path]:
    """A loader that said ``text``, in pieces; what went on to the user; its source."""
    kernel_side = tmp_path / "my.bpf.c"
    kernel_side.write_text(source)
    passed = bytearray()
    one = Complaints(passed.extend, tmp_path / "verifier.log")
    data = text.encode()
    for at in range(0, len(data), pieces):
        one.feed(data[at : at + pieces])
    one.close()
    return one, passed.decode(), kernel_side


@pytest.mark.parametrize("pieces", [1, 7, 4096])
def test_a_rejection_is_told_by_its_source_line(tmp_path: Path, pieces: int) -> None:
    config = tmp_path / "config"
    config.write_text("")
    one, passed, source = heard(OLD, tmp_path, pieces=pieces)
    explained = one.explain(source, config)
    assert explained is not None
    what, why, step = explained
    assert what == f"the verifier rejects 'prog' at {source}:3"
    assert "R0 invalid mem access 'map_value_or_null'" in why
    assert "processed" not in why
    assert step == f"edit {source}:3"
    assert "invalid mem access" not in passed  # the log is not what floods the terminal
    assert "failed to load: -13\nFailed to load\n" in passed
    assert "reg type unsupported" in (tmp_path / "verifier.log").read_text()


def test_a_newer_verifier_says_the_line_itself(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    text = OLD.replace("; *value += 1;", "; *value += 1; @ my.bpf.c:21")
    one, _, source = heard(text, tmp_path, source="")
    explained = one.explain(source, config)
    assert explained is not None
    assert explained[0].endswith("my.bpf.c:21")


def test_a_line_that_stands_twice_is_not_guessed(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    one, _, source = heard(OLD, tmp_path, source=SOURCE + SOURCE)
    explained = one.explain(source, config)
    assert explained is not None
    assert explained[0] == "the verifier rejects 'prog'"
    assert "; *value += 1;" in explained[1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("libbpf: failed to find valid kernel BTF", "has no BTF"),
        (
            "libbpf: prog 'p': failed to create kprobe 'tcp_nix+0x0' perf event: No such file or "
            "directory",
            "no function tcp_nix",
        ),
        (
            "libbpf: failed to determine tracepoint 'skb/nix' perf event ID: No such file or "
            "directory",
            "no tracepoint skb/nix",
        ),
        (
            "failed to resolve CO-RE relocation <byte_off> [20] struct sock___x.nix (0:0 @ "
            "offset 0)",
            "BTF has no struct sock.nix",
        ),
        ("libbpf: map 'ring': failed to create: Invalid argument(-22)", "refuses the map ring"),
    ],
)
def test_refusals_in_words(tmp_path: Path, line: str, says: str) -> None:
    config = tmp_path / "config"
    config.write_text("CONFIG_KPROBES=y\n")
    one, passed, source = heard(line + "\n", tmp_path)
    explained = one.explain(source, config)
    assert explained is not None
    assert says in explained[1]
    assert passed == line + "\n"


def test_what_is_not_known_is_not_explained(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    one, passed, source = heard("usage: my [-d SECONDS]\nprompt> ", tmp_path)
    assert one.explain(source, config) is None
    assert passed == "usage: my [-d SECONDS]\nprompt> "


def test_the_option_that_is_there_is_not_to_blame(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("CONFIG_DEBUG_INFO_BTF=y\n")
    one, _, source = heard("libbpf: failed to find valid kernel BTF\n", tmp_path)
    assert one.explain(source, config) is None


def test_every_row_can_be_filled() -> None:
    import re

    for row in table().complaints:
        names = dict.fromkeys(re.compile(row.match).groupindex, "x")
        assert row.says.format(**names)
        assert row.instead.format(**names)


def test_which_program(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no BPF program 'rstwhoo'") as caught:
        bpf.find("rstwhoo")
    assert caught.value.why == "did you mean rstwho?"
    with pytest.raises(BadInput, match="has no BPF program"):
        bpf.find(str(tmp_path))
    (tmp_path / "one.bpf.c").write_text("")
    with pytest.raises(BadInput, match=r"one\.bpf\.c has no loader"):
        bpf.find(str(tmp_path))
    (tmp_path / "one.c").write_text("/* one: says hello. And more.\n */\n")
    assert bpf.find(str(tmp_path)).title == "says hello"
    assert bpf.find(str(tmp_path / "one.bpf.c")).name == "one"
    (tmp_path / "two.bpf.c").write_text("")
    with pytest.raises(BadInput, match="2 BPF programs: one, two"):
        bpf.find(str(tmp_path))


@pytest.mark.parametrize(("status", "fault"), [(139, "SIGSEGV"), (134, "SIGABRT")])
def test_a_crash_is_told_by_its_signal(tmp_path: Path, status: int, fault: str) -> None:
    source = bpf.BpfSource("mine", tmp_path)
    told = crash(status, source)
    assert told is not None
    assert told[0] == f"mine crashed: {fault}"
    assert told[2] == f"edit {source.loader}"


@pytest.mark.parametrize("status", [0, 1, 11, 127, 130, 137, 143, 255])
def test_other_ends_are_no_crash(tmp_path: Path, status: int) -> None:
    assert crash(status, bpf.BpfSource("mine", tmp_path)) is None


def test_every_shipped_program_says_what_it_does() -> None:
    names = [one.name for one in bpf.shipped_programs()]
    assert names == ["dropwatch", "rstwho", "syscount", "tcpstate"]
    assert all(one.title for one in bpf.shipped_programs())


def test_a_kernel_without_btf_is_told_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("# CONFIG_DEBUG_INFO_BTF is not set\n")
    kernel = Kernel("k", "5.10.1", "5.10.1-kernlab", tmp_path, tmp_path, "", 0, 0.0)
    with pytest.raises(BadInput, match=r"Linux 5\.10\.1-kernlab has no BTF") as caught:
        bpf.vmlinux_h(kernel)
    assert caught.value.next_step == "kernlab build 5.10.1 --set CONFIG_DEBUG_INFO_BTF=y"


def test_numbers_of_an_enum() -> None:
    types = "enum other {\n\tA = 3,\n};\n\nenum bpf_map_type {\n\tHASH = 1,\n\tARRAY = 2,\n};\n"
    assert numbers(types, "bpf_map_type") == {1: "HASH", 2: "ARRAY"}
    assert numbers(types, "nix") == {}
